//! A run of accesses to a BAR: its rows, its vCPUs and its progress.

use super::bar::Mapped;
use crate::fault;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use s2lab_protocol::{Bar, Failure, Manner, Row, WORD};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread::ScopedJoinHandle;

/// The most bytes of a batch. They go through RAM, so that a run needs little of it.
const BATCH: u64 = 64 * 1024;

/// The bytes of all runs. Heartbeats report them.
static MOVED: AtomicU64 = AtomicU64::new(0);

/// Returns the bytes that were stored, loaded or read back since the start. The number rises while
/// a run makes progress.
pub(crate) fn moved() -> u64 {
    MOVED.load(Ordering::Relaxed)
}

/// A row of a run, with its address.
pub(super) struct Placed {
    pub(super) row: Row,
    /// Aligned to the width of the accesses; all bytes of the row lie in the BAR.
    pub(super) place: NonNull<u8>,
}

impl Placed {
    /// Yields the offset of each word in the BAR.
    pub(super) fn offsets(&self) -> impl Iterator<Item = u64> + use<> {
        let Row { offset, bytes, .. } = self.row;
        (offset..offset + bytes).step_by(WORD as usize)
    }

    pub(super) fn words(&self) -> usize {
        (self.row.bytes / WORD) as usize
    }
}

/// Rows that are accessed without anything between them but barriers.
pub(super) struct Batch(pub(super) Vec<Placed>);

impl Batch {
    pub(super) fn words(&self) -> usize {
        self.0.iter().map(Placed::words).sum()
    }

    /// Counts the bytes as moved.
    pub(super) fn count(&self) {
        MOVED.fetch_add(self.words() as u64 * WORD, Ordering::Relaxed);
    }
}

/// A run of accesses, whose values fit each other and the BAR.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) manner: Manner,
    pub(super) bytes: u64,
    mapped: &'a Mapped,
}

impl<'a> Run<'a> {
    /// Checks the values of a request, before anything is mapped.
    pub(super) fn check(manner: Manner, width: u32, bytes: u64) -> Result<(), Failure> {
        match manner.misfit(width, bytes) {
            Some(misfit) => Err(fault::invalid(format_args!("{}: {}", misfit.key, misfit.why))),
            None => Ok(()),
        }
    }

    /// Returns the run of checked values on a BAR.
    pub(super) fn of(manner: Manner, bytes: u64, mapped: &'a Mapped) -> Result<Self, Failure> {
        let Bar { size, .. } = mapped.bar();
        let from = manner.from;
        mapped.at(from, bytes).map(|_| Run { manner, bytes, mapped }).ok_or_else(|| {
            fault::invalid(format_args!("{bytes} bytes from {from:#x} do not lie in a BAR of {size} bytes"))
        })
    }

    /// The same bytes in ascending order on one vCPU.
    pub(super) fn in_order(self) -> Run<'a> {
        Run { manner: Manner { from: self.manner.from, ..Manner::default() }, ..self }
    }

    /// Yields the batches of a vCPU in their order.
    pub(super) fn batches(self, vcpu: u32) -> impl Iterator<Item = Batch> {
        let placed = move |row: Row| Some(Placed { place: self.mapped.at(row.offset, row.bytes)?, row });
        let mut rows = self.manner.rows(self.bytes, vcpu).filter_map(placed).peekable();
        std::iter::from_fn(move || {
            let mut batch = vec![rows.next()?];
            let mut bytes = batch.iter().map(|placed| placed.row.bytes).sum::<u64>();
            while let Some(next) = rows.next_if(|next| bytes + next.row.bytes <= BATCH) {
                bytes += next.row.bytes;
                batch.push(next);
            }
            Some(Batch(batch))
        })
    }

    /// Does the work of each vCPU, all at the same time, and returns the results.
    pub(super) fn on_vcpus<T: Send>(self, work: impl Fn(u32) -> T + Sync) -> Result<Vec<T>, Failure> {
        if self.manner.vcpus == 1 {
            return Ok(vec![work(0)]);
        }
        let cpus = cpus(self.manner.vcpus)?;
        let line = Barrier::new(cpus.len());
        // Locked until it is known whether all threads will come to the line.
        let all_started = Mutex::new(false);
        let on = |vcpu: u32, cpu: usize| {
            let mut set = CpuSet::new();
            set.set(cpu);
            let pinned = sched_setaffinity(None, &set);
            if !*all_started.lock().unwrap_or_else(PoisonError::into_inner) {
                return Err(fault::system("start", "a thread for each vCPU", "one did not start"));
            }
            // Each thread gets there, also one that cannot run.
            line.wait();
            pinned.map_err(|why| fault::system("run", format_args!("on vCPU {cpu}"), why))?;
            Ok(work(vcpu))
        };
        std::thread::scope(|scope| {
            let mut started = all_started.lock().unwrap_or_else(PoisonError::into_inner);
            let start = |(vcpu, cpu)| std::thread::Builder::new().spawn_scoped(scope, move || on(vcpu, cpu));
            let threads: Result<Vec<_>, _> = (0..).zip(cpus).map(start).collect();
            *started = threads.is_ok();
            drop(started);
            let threads =
                threads.map_err(|why| fault::system("start", "a thread for each vCPU", why))?.into_iter();
            let joined = |thread: ScopedJoinHandle<'_, Result<T, Failure>>| {
                thread.join().unwrap_or_else(|_| Err(fault::system("run", "a thread", "it panicked")))
            };
            threads.map(joined).collect()
        })
    }
}

/// Returns the CPUs of this machine.
pub(super) fn all_cpus() -> Result<Vec<usize>, Failure> {
    let set = sched_getaffinity(None).map_err(|why| fault::system("read", "the vCPUs", why))?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Returns `count` CPUs of this machine.
fn cpus(count: u32) -> Result<Vec<usize>, Failure> {
    let mut there = all_cpus()?;
    there.truncate(count as usize);
    if there.len() < count as usize {
        return Err(fault::invalid(format_args!("{count} vCPUs; this guest has {}", there.len())));
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::super::bar::tests::{ADDRESS, BAR_SIZE, fixture};
    use super::*;
    use s2lab_protocol::MapKind;

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let usual = Manner::default();
        for (manner, width, bytes) in [
            (usual, 3, 64),
            (usual, 8, 8),
            (usual, 64, 0),
            (Manner { from: 8, ..usual }, 8, 64),
            (Manner { from: 64, ..usual }, 8, u64::MAX),
            (Manner { chunk: 0, ..usual }, 8, 64),
            (Manner { vcpus: u32::MAX, ..usual }, 8, 64),
        ] {
            assert!(Run::check(manner, width, bytes).is_err(), "{manner:?} {width} {bytes}");
        }
        let folder = tempfile::tempdir().unwrap();
        let mapped = Mapped::open(&fixture(folder.path()), "nic", ADDRESS, MapKind::Wc).unwrap();
        for (from, bytes) in [(64, BAR_SIZE), (BAR_SIZE, 64), (64, u64::MAX - 63)] {
            assert!(Run::of(Manner { from, ..usual }, bytes, &mapped).is_err(), "{from} {bytes}");
        }
    }

    #[test]
    fn a_guest_cannot_use_vcpus_that_it_does_not_have() {
        let failure = cpus(u32::MAX).unwrap_err();
        assert!(failure.message.contains("this guest has"), "{}", failure.message);
    }

    #[test]
    fn the_batches_are_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mapped = Mapped::open(&fixture(folder.path()), "nic", ADDRESS, MapKind::Wc).unwrap();
        let manner = Manner { from: 64, chunk: 8, ..Manner::default() };
        let run = Run::of(manner, BAR_SIZE - 64, &mapped).unwrap();
        let offsets = |run: Run<'_>| {
            run.batches(0)
                .inspect(|batch| assert!(batch.words() as u64 * WORD <= BATCH))
                .flat_map(|batch| batch.0.into_iter().flat_map(|placed| placed.offsets()))
                .collect::<Vec<_>>()
        };
        assert!(offsets(run).into_iter().eq((64..BAR_SIZE).step_by(8)));
        assert_eq!(offsets(run.in_order()), offsets(run));
    }
}
