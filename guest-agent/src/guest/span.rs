//! A run of accesses to a BAR: its rows and its progress.

use super::machine::Target;
use crate::fault;
use s2lab_protocol::{Bar, Failure, Manner, Row, WORD, pattern};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes of a batch. They go through RAM, so that a run needs little of it.
pub(crate) const BATCH: u64 = 64 * 1024;

/// The bytes of all runs. Heartbeats report them.
static MOVED: AtomicU64 = AtomicU64::new(0);

/// Returns the bytes that were stored, loaded or read back since the start. The number rises while
/// a run makes progress.
pub(crate) fn moved() -> u64 {
    MOVED.load(Ordering::Relaxed)
}

/// A row of a run, with its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) row: Row,
    /// Aligned to the width of the accesses; all bytes of the row lie in the BAR.
    pub(crate) place: NonNull<u8>,
}

impl Placed {
    /// Yields the offset of each word in the BAR.
    pub(super) fn offsets(&self) -> impl Iterator<Item = u64> + use<> {
        let Row { offset, bytes, .. } = self.row;
        (offset..offset + bytes).step_by(WORD as usize)
    }

    pub(crate) fn words(&self) -> usize {
        (self.row.bytes / WORD) as usize
    }
}

/// Rows that are accessed without anything between them but barriers.
pub(super) struct Batch(pub(super) Vec<Placed>);

impl Batch {
    pub(super) fn words(&self) -> usize {
        self.0.iter().map(Placed::words).sum()
    }

    /// Yields the word that a store with `seed` leaves at each place of the batch.
    pub(super) fn pattern(&self, seed: u64) -> impl Iterator<Item = u64> {
        self.0.iter().flat_map(Placed::offsets).map(move |offset| pattern(seed, offset))
    }

    /// Counts the bytes as moved.
    pub(super) fn count(&self) {
        MOVED.fetch_add(self.words() as u64 * WORD, Ordering::Relaxed);
    }
}

/// A run of accesses, whose values fit each other and the BAR.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) manner: Manner,
    pub(super) bytes: u64,
    target: Target,
}

impl Run {
    /// Checks the values of a request, before anything is mapped.
    pub(super) fn check(manner: Manner, width: u32, bytes: u64) -> Result<(), Failure> {
        match manner.misfit(width, bytes) {
            Some(misfit) => Err(fault::invalid(format_args!("{}: {}", misfit.key, misfit.why))),
            None => Ok(()),
        }
    }

    /// Returns the run of checked values on a BAR.
    pub(super) fn of(manner: Manner, bytes: u64, target: Target) -> Result<Self, Failure> {
        let Bar { size, .. } = target.bar;
        let from = manner.from;
        target.at(from, bytes).map(|_| Run { manner, bytes, target }).ok_or_else(|| {
            fault::invalid(format_args!("{bytes} bytes from {from:#x} do not lie in a BAR of {size} bytes"))
        })
    }

    /// The same bytes in ascending order on one vCPU.
    pub(super) fn in_order(self) -> Run {
        Run { manner: Manner { from: self.manner.from, ..Manner::default() }, ..self }
    }

    /// Yields the batches of a vCPU in their order.
    pub(super) fn batches(self, vcpu: u32) -> impl Iterator<Item = Batch> {
        let placed = move |row: Row| Some(Placed { place: self.target.at(row.offset, row.bytes)?, row });
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
}

#[cfg(test)]
mod tests {
    use super::super::bar::{
        Mapped,
        tests::{ADDRESS, BAR_SIZE, fixture},
    };
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
        let target = mapped.target();
        for (from, bytes) in [(64, BAR_SIZE), (BAR_SIZE, 64), (64, u64::MAX - 63)] {
            assert!(Run::of(Manner { from, ..usual }, bytes, target).is_err(), "{from} {bytes}");
        }
    }

    #[test]
    fn the_batches_are_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mapped = Mapped::open(&fixture(folder.path()), "nic", ADDRESS, MapKind::Wc).unwrap();
        let target = mapped.target();
        let manner = Manner { from: 64, chunk: 8, ..Manner::default() };
        let run = Run::of(manner, BAR_SIZE - 64, target).unwrap();
        let offsets = |run: Run| {
            run.batches(0)
                .inspect(|batch| assert!(batch.words() as u64 * WORD <= BATCH))
                .flat_map(|batch| batch.0.into_iter().flat_map(|placed| placed.offsets()))
                .collect::<Vec<_>>()
        };
        assert!(offsets(run).into_iter().eq((64..BAR_SIZE).step_by(8)));
        assert_eq!(offsets(run.in_order()), offsets(run));
    }
}
