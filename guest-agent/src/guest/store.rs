//! Runs of stores to a BAR.

mod instructions;

use super::{
    Guest,
    span::{Batch, Run},
};
use crate::{agent::Answers, fault};
use instructions::{barrier, complete, instruction};
use s2lab_protocol::ask::{Store, Stored};
use s2lab_protocol::{Failure, StoreResult, pattern};
use std::time::{Duration, Instant};

impl Answers<Store> for Guest {
    fn answer(&mut self, ask: Store) -> Result<Stored, Failure> {
        let Store { width, by, manner, bytes, .. } = ask;
        Run::check(manner, width, bytes)?;
        if let Some(misfit) = by.misfit(width) {
            return Err(fault::invalid(misfit.why));
        }
        let mapped = self.map(&ask.device, &ask.address, ask.map)?;
        let run = Run::of(manner, bytes, mapped)?;
        let times = run.on_vcpus(|vcpu| stored(&ask, run, vcpu))?;
        let nanos = times.into_iter().max().unwrap_or_default().as_nanos();
        let result = StoreResult {
            bar: mapped.bar(),
            stores: by.stores(width, bytes),
            nanos: u64::try_from(nanos).unwrap_or(u64::MAX),
            first_difference: first_difference(ask.seed, run),
        };
        Ok(Stored { map: mapped.map(), width, by, manner: run.manner, bytes, result })
    }
}

/// Stores what is the vCPU's, and returns the time of the stores alone.
fn stored(spec: &Store, run: Run<'_>, vcpu: u32) -> Duration {
    let mut words = vec![];
    let mut time = Duration::ZERO;
    for batch in run.batches(vcpu) {
        // The pattern is made before it is stored, so that only stores are timed.
        words.clear();
        let offsets = batch.0.iter().flat_map(|placed| placed.offsets());
        words.extend(offsets.map(|offset| pattern(spec.seed, offset)));
        let begin = Instant::now();
        store(spec, &batch, &words);
        complete();
        time += begin.elapsed();
        batch.count();
    }
    time
}

/// Stores the words of a batch.
fn store(spec: &Store, batch: &Batch, words: &[u64]) {
    let store = instruction(spec.by, spec.width);
    let mut rest = words;
    for placed in &batch.0 {
        let Some((now, later)) = rest.split_at_checked(placed.words()) else { return };
        // SAFETY: the place is aligned to the width, has the bytes of `now`, and they are a
        // multiple of the width.
        unsafe { store(now, placed.place) };
        if placed.row.ends {
            barrier(spec.manner.barrier);
        }
        rest = later;
    }
}

/// Reads all of it back.
fn first_difference(seed: u64, run: Run<'_>) -> Option<u64> {
    run.in_order().batches(0).find_map(|batch| {
        let words = batch.0.iter().flat_map(|placed| (0..).zip(placed.offsets()).map(move |of| (placed, of)));
        let wrong = words.into_iter().find(|(placed, (index, offset))| {
            // SAFETY: an aligned word of the row; volatile, for it is device memory.
            let found = unsafe { placed.place.cast::<u64>().add(*index).read_volatile() };
            u64::from_le(found) != pattern(seed, *offset)
        });
        batch.count();
        wrong.map(|(_, (_, offset))| offset)
    })
}

#[cfg(test)]
mod tests;
