//! The TLB invalidations of a step, as QEMU's plugin has recorded them.

use super::Observed;
use crate::hex;
use s2lab_mmu::{Invalidation, Tlbi};
use serde::{Deserialize, Serialize};

/// The most runs in one observation. KVM's loops make a handful.
const MOST_RUNS: usize = 512;

/// The TLBI instructions between the begin of a step that removes a device's BARs from its guest's
/// stage 2 and the step's answer: those of stage 2 and of whole VMIDs, in the order in which their
/// CPUs came to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalidated {
    pub guest: String,
    pub device: String,
    pub runs: Vec<TlbiRun>,
    /// The reason why instructions may be missing from `runs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}

impl Observed for Invalidated {
    fn is_due(&self) -> bool {
        false
    }
}

/// One or two instructions, repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlbiRun {
    pub first: TracedTlbi,
    /// The instruction that follows each time, always with the same operand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<TracedTlbi>,
    /// The difference of the first instruction's operand from one time to the next.
    #[serde(with = "hex")]
    pub step: u64,
    pub times: u32,
}

/// A TLBI instruction with the registers of its CPU, before it was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedTlbi {
    /// The instruction word.
    #[serde(with = "hex")]
    pub word: u64,
    /// The content of Xt.
    #[serde(with = "hex")]
    pub operand: u64,
    /// The exception level.
    pub el: u8,
    /// The index of the host's vCPU.
    pub vcpu: u32,
    /// VTTBR_EL2, with the VMID.
    #[serde(with = "hex")]
    pub vttbr: u64,
    /// HCR_EL2.
    #[serde(with = "hex")]
    pub hcr: u64,
}

impl TracedTlbi {
    /// Returns the translations that it removes, see [`Tlbi::decode`].
    pub(crate) fn decode(&self, lpa2: bool) -> Option<Invalidation> {
        let word = u32::try_from(self.word).ok()?;
        Tlbi { word, operand: self.operand, el: self.el, hcr: self.hcr }.decode(lpa2)
    }

    /// Returns true if nothing but the operand differs.
    fn is_alike(&self, other: &Self) -> bool {
        Self { operand: other.operand, ..*self } == *other
    }
}

impl TlbiRun {
    /// Returns the instructions as runs, and false if there are too many runs to keep.
    pub fn of(mut rest: &[TracedTlbi]) -> (Vec<TlbiRun>, bool) {
        let mut runs = vec![];
        while !rest.is_empty() {
            if runs.len() == MOST_RUNS {
                return (runs, false);
            }
            let (one, two) = (Self::longest(rest, 1), Self::longest(rest, 2));
            let Some(run) = [two, one].into_iter().flatten().max_by_key(Self::instructions) else { break };
            rest = rest.get(run.instructions()..).unwrap_or_default();
            runs.push(run);
        }
        (runs, true)
    }

    /// Returns the longest run at the begin of `all` that repeats one or two instructions.
    fn longest(all: &[TracedTlbi], period: usize) -> Option<TlbiRun> {
        let (first, then) = (*all.first()?, if period == 2 { Some(*all.get(1)?) } else { None });
        let step = all.get(period).map_or(0, |next| next.operand.wrapping_sub(first.operand));
        let continues = |time: usize, part: &[TracedTlbi]| {
            let operand = first.operand.wrapping_add(step.wrapping_mul(time as u64));
            part.first().is_some_and(|one| one.is_alike(&first) && one.operand == operand)
                && part.get(1).copied() == then
        };
        let parts = all.chunks_exact(period).enumerate();
        let times = parts.take_while(|(time, part)| continues(*time, part)).count();
        let step = if times > 1 { step } else { 0 };
        Some(TlbiRun { first, then, step, times: u32::try_from(times).unwrap_or(u32::MAX) })
    }

    /// Returns the number of instructions.
    pub(crate) fn instructions(&self) -> usize {
        (self.times as usize).saturating_mul(1 + usize::from(self.then.is_some()))
    }

    /// Yields the instructions.
    pub(crate) fn expanded(&self) -> impl Iterator<Item = TracedTlbi> {
        (0..u64::from(self.times)).flat_map(|time| {
            let operand = self.first.operand.wrapping_add(self.step.wrapping_mul(time));
            std::iter::once(TracedTlbi { operand, ..self.first }).chain(self.then)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// IPAS2E1IS and VMALLE1IS.
    const IPAS: u64 = 0xd50c_8021;
    const VMALL: u64 = 0xd508_831f;

    fn traced(word: u64, operand: u64) -> TracedTlbi {
        TracedTlbi { word, operand, el: 2, vcpu: 0, vttbr: 1 << 48, hcr: 1 }
    }

    #[test]
    fn the_loops_of_kvm_are_a_run_each() {
        let pages = (0..256).flat_map(|page| [traced(IPAS, 0x8000_0000 + page), traced(VMALL, 0)]);
        let tables = [traced(IPAS, 0x8000_0000), traced(VMALL, 0)].repeat(2);
        let all: Vec<_> = pages.chain(tables).collect();
        let (runs, whole) = TlbiRun::of(&all);
        let times: Vec<_> = runs.iter().map(|run| (run.step, run.times)).collect();
        assert_eq!((times, whole), (vec![(1, 256), (0, 2)], true));
        let expanded: Vec<_> = runs.iter().flat_map(TlbiRun::expanded).collect();
        assert_eq!(expanded, all);
    }

    #[test]
    fn more_runs_than_are_kept_are_not_whole() {
        let all: Vec<_> = (0..2048u64).map(|at| traced(IPAS, at * at * at)).collect();
        let (runs, whole) = TlbiRun::of(&all);
        assert_eq!((runs.len(), whole), (MOST_RUNS, false));
    }

    proptest! {
        #[test]
        fn runs_lose_nothing(codes in prop::collection::vec((0u64..3, 0u64..4, 0u32..2), 0..64)) {
            let traced = |(word, operand, vcpu)| TracedTlbi { vcpu, ..traced(word, operand) };
            let all: Vec<_> = codes.into_iter().map(traced).collect();
            let (runs, whole) = TlbiRun::of(&all);
            prop_assert!(whole);
            prop_assert_eq!(runs.iter().map(TlbiRun::instructions).sum::<usize>(), all.len());
            prop_assert_eq!(runs.iter().flat_map(TlbiRun::expanded).collect::<Vec<_>>(), all);
        }
    }
}
