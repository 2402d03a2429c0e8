//! Runs of loads from a BAR.

mod instructions;

use super::Guest;
use super::machine::{Loads, Machine};
use super::span::{Placed, Run};
use crate::agent::Answers;
use instructions::{barrier, instruction};
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{Load, Loaded};

impl<M: Machine> Answers<Load> for Guest<M> {
    fn answer(&mut self, ask: Load) -> Result<Loaded, Failure> {
        let Load { width, manner, bytes, .. } = ask;
        Run::check(manner, width, bytes)?;
        let target = self.machine.map(&ask.device, &ask.address, ask.map)?;
        let run = Run::of(manner, bytes, target)?;
        let mut digests = vec![0u64; Load::parts(bytes).count()];
        let machine = &self.machine;
        for of_vcpu in machine.on_cpus(manner.vcpus, |vcpu| loaded(machine, width, run, vcpu))? {
            digests.iter_mut().zip(of_vcpu).for_each(|(sum, digest)| *sum = sum.wrapping_add(digest));
        }
        let loads = bytes / u64::from(width.min(16));
        Ok(Loaded { bar: target.bar, map: target.map, width, manner: run.manner, bytes, loads, digests })
    }
}

/// Loads what is the vCPU's, and returns its share of the digest of each part.
fn loaded(machine: &impl Machine, width: u32, run: Run, vcpu: u32) -> Result<Vec<u64>, Failure> {
    let loads = Loads { width, barrier: run.manner.barrier };
    let mut digests = vec![0u64; Load::parts(run.bytes).count()];
    let mut words = vec![];
    for batch in run.batches(vcpu) {
        words.clear();
        words.resize(batch.words(), 0);
        machine.load(vcpu, loads, &batch.0, &mut words)?;
        for (offset, loaded) in batch.0.iter().flat_map(Placed::offsets).zip(&words) {
            let part = Load::part(run.bytes, offset - run.manner.from);
            if let Some(digest) = usize::try_from(part).ok().and_then(|part| digests.get_mut(part)) {
                *digest = digest.wrapping_add(Load::digest([(offset, word(*loaded))]));
            }
        }
        batch.count();
    }
    Ok(digests)
}

/// Returns the value of a loaded word of the pattern, which is little-endian.
pub(super) fn word(loaded: u64) -> u64 {
    u64::from_le(loaded)
}

/// Loads words from rows. It allocates nothing and makes no system call, so that it also runs
/// without an operating system.
///
/// # Safety
/// The rows are mapped, and aligned to the width.
pub(crate) unsafe fn load(loads: Loads, rows: &[Placed], words: &mut [u64]) {
    let load = instruction(loads.width);
    let mut rest = words;
    for placed in rows {
        let Some((now, later)) = rest.split_at_mut_checked(placed.words()) else { return };
        // SAFETY: the caller's: the place is aligned to the width and has the bytes of `now`, which
        // are a multiple of the width.
        unsafe { load(placed.place, now) };
        if placed.row.ends {
            barrier(loads.barrier);
        }
        rest = later;
    }
}

#[cfg(test)]
mod tests;
