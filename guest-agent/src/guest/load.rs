//! Runs of loads from a BAR.

mod instructions;

use super::{
    Guest,
    span::{Batch, Run},
};
use crate::agent::Answers;
use instructions::{barrier, instruction};
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{Load, Loaded};

impl Answers<Load> for Guest {
    fn answer(&mut self, ask: Load) -> Result<Loaded, Failure> {
        let Load { width, manner, bytes, .. } = ask;
        Run::check(manner, width, bytes)?;
        let mapped = self.map(&ask.device, &ask.address, ask.map)?;
        let run = Run::of(manner, bytes, mapped)?;
        let mut digests = vec![0u64; Load::parts(bytes).count()];
        for of_vcpu in run.on_vcpus(|vcpu| loaded(width, run, vcpu))? {
            digests.iter_mut().zip(of_vcpu).for_each(|(sum, digest)| *sum = sum.wrapping_add(digest));
        }
        let loads = bytes / u64::from(width.min(16));
        Ok(Loaded { bar: mapped.bar(), map: mapped.map(), width, manner: run.manner, bytes, loads, digests })
    }
}

/// Loads what is the vCPU's, and returns its share of the digest of each part.
fn loaded(width: u32, run: Run<'_>, vcpu: u32) -> Vec<u64> {
    let mut digests = vec![0u64; Load::parts(run.bytes).count()];
    let mut words = vec![];
    for batch in run.batches(vcpu) {
        words.clear();
        words.resize(batch.words(), 0);
        load(width, run, &batch, &mut words);
        let offsets = batch.0.iter().flat_map(|placed| placed.offsets());
        for (offset, word) in offsets.zip(&words) {
            let part = Load::part(run.bytes, offset - run.manner.from);
            if let Some(digest) = usize::try_from(part).ok().and_then(|part| digests.get_mut(part)) {
                *digest = digest.wrapping_add(Load::digest([(offset, u64::from_le(*word))]));
            }
        }
        batch.count();
    }
    digests
}

/// Loads the words of a batch.
fn load(width: u32, run: Run<'_>, batch: &Batch, words: &mut [u64]) {
    let load = instruction(width);
    let mut rest = words;
    for placed in &batch.0 {
        let Some((now, later)) = rest.split_at_mut_checked(placed.words()) else { return };
        // SAFETY: the place is aligned to the width, has the bytes of `now`, and they are a
        // multiple of the width.
        unsafe { load(placed.place, now) };
        if placed.row.ends {
            barrier(run.manner.barrier);
        }
        rest = later;
    }
}

#[cfg(test)]
mod tests;
