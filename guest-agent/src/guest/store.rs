//! Runs of stores to a BAR.

mod instructions;

use super::machine::{Loads, Machine, Stores};
use super::span::{Placed, Run};
use super::{Guest, load};
use crate::{agent::Answers, fault};
use instructions::{barrier, complete, instruction};
use s2lab_protocol::ask::{Store, Stored};
use s2lab_protocol::{Failure, StoreResult, pattern};
use std::time::Duration;

impl<M: Machine> Answers<Store> for Guest<M> {
    fn answer(&mut self, ask: Store) -> Result<Stored, Failure> {
        let Store { width, by, manner, bytes, .. } = ask;
        check(&ask)?;
        let target = self.machine.map(&ask.device, &ask.address, ask.map)?;
        let run = Run::of(manner, bytes, target)?;
        let machine = &self.machine;
        let times = machine.on_cpus(manner.vcpus, |vcpu| stored(machine, &ask, run, vcpu))?;
        let nanos = times.into_iter().max().unwrap_or_default().as_nanos();
        let result = StoreResult {
            bar: target.bar,
            stores: by.stores(width, bytes),
            nanos: u64::try_from(nanos).unwrap_or(u64::MAX),
            first_difference: first_difference(machine, ask.seed, run)?,
        };
        Ok(Stored { map: target.map, width, by, manner: run.manner, bytes, result })
    }
}

/// Checks the values of a request, before anything is mapped.
pub(super) fn check(ask: &Store) -> Result<(), Failure> {
    Run::check(ask.manner, ask.width, ask.bytes)?;
    ask.by.misfit(ask.width).map_or(Ok(()), |misfit| Err(fault::invalid(misfit.why)))
}

/// Stores what is the vCPU's, and returns the time of the stores alone.
fn stored(machine: &impl Machine, spec: &Store, run: Run, vcpu: u32) -> Result<Duration, Failure> {
    let stores = Stores::of(spec);
    let mut words = vec![];
    let mut time = Duration::ZERO;
    for batch in run.batches(vcpu) {
        // The pattern is made before it is stored, so that only stores are timed.
        words.clear();
        words.extend(batch.pattern(spec.seed));
        time += machine.store(vcpu, stores, &batch.0, &words)?;
        batch.count();
    }
    Ok(time)
}

/// Stores words to rows, and waits until all stores are complete. It allocates nothing and makes no
/// system call, so that it also runs without an operating system.
///
/// # Safety
/// The rows are mapped, and aligned to the width.
pub(crate) unsafe fn store(stores: Stores, rows: &[Placed], words: &[u64]) {
    let store = instruction(stores.by, stores.width);
    let mut rest = words;
    for placed in rows {
        let Some((now, later)) = rest.split_at_checked(placed.words()) else { break };
        // SAFETY: the caller's: the place is aligned to the width and has the bytes of `now`, which
        // are a multiple of the width.
        unsafe { store(now, placed.place) };
        if placed.row.ends {
            barrier(stores.barrier);
        }
        rest = later;
    }
    complete();
}

/// Reads all of it back.
fn first_difference(machine: &impl Machine, seed: u64, run: Run) -> Result<Option<u64>, Failure> {
    for batch in run.in_order().batches(0) {
        let mut words = vec![0; batch.words()];
        machine.load(0, Loads::BACK, &batch.0, &mut words)?;
        let mut read = batch.0.iter().flat_map(Placed::offsets).zip(&words);
        let wrong = read.find(|(offset, word)| load::word(**word) != pattern(seed, *offset));
        batch.count();
        if let Some((offset, _)) = wrong {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
