//! The counts of a step: accesses to a device's BAR, its stage-2 faults and its TLB invalidations.

use super::{Look, Observed, TlbiRun, TracedTlbi};
use crate::hex;
use crate::lines::{LineError, Text, Word, columns, line};
use crate::record::{Record, registers};
use s2lab_mmu::InvalidationScope;
use s2lab_protocol::Bar;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::{fmt, str::FromStr};

/// The most runs of faults in one observation.
const MOST_RUNS: usize = 512;
/// ESR_EL2.EC of an instruction abort from a lower level (DDI 0487, ESR_EL2).
const INSTRUCTION_ABORT: u64 = 0x20;

/// Accesses by width in bytes, at one moment or in a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub stores: BTreeMap<u32, u64>,
    pub loads: BTreeMap<u32, u64>,
    /// The accesses whose place is not known.
    pub unplaced: u64,
}

impl Counts {
    /// Returns the accesses since another moment. Widths without any are left out.
    pub fn since(&self, begin: &Counts) -> Counts {
        let of = |end: &BTreeMap<u32, u64>, begin: &BTreeMap<u32, u64>| {
            let since = |(&width, &number): (&u32, &u64)| {
                let before = begin.get(&width).copied().unwrap_or_default();
                (width, number.wrapping_sub(before))
            };
            end.iter().map(since).filter(|(_, number)| *number > 0).collect()
        };
        Counts {
            stores: of(&self.stores, &begin.stores),
            loads: of(&self.loads, &begin.loads),
            unplaced: self.unplaced.wrapping_sub(begin.unplaced),
        }
    }
}

/// A fault of a guest's stage 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage2Fault {
    pub hpfar: u64,
    pub esr: u64,
}

impl Stage2Fault {
    /// Returns the IPA of the page: HPFAR_EL2.FIPA, bits 47:4 (DDI 0487, HPFAR_EL2).
    fn ipa(self) -> u64 {
        (self.hpfar >> 4 & ((1 << 44) - 1)) << 12
    }

    fn is_instruction(self) -> bool {
        self.esr >> 26 & 0x3f == INSTRUCTION_ABORT
    }
}

/// Faults at IPAs that have the same distance from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRun {
    #[serde(with = "hex")]
    pub ipa: u64,
    #[serde(with = "hex")]
    pub step: u64,
    pub times: u32,
    /// Instruction aborts; otherwise data aborts.
    pub instruction: bool,
}

impl FaultRun {
    /// Returns the faults by IPA, as runs, and false if there are too many runs to keep.
    pub fn of(all: &[Stage2Fault]) -> (Vec<FaultRun>, bool) {
        let mut sorted: Vec<_> = all.iter().map(|fault| (fault.is_instruction(), fault.ipa())).collect();
        sorted.sort_unstable();
        let mut runs: Vec<FaultRun> = vec![];
        for (instruction, ipa) in sorted {
            if let Some(run) = runs.last_mut().filter(|run| run.instruction == instruction)
                && run.takes(ipa)
            {
                continue;
            }
            if runs.len() == MOST_RUNS {
                return (runs, false);
            }
            runs.push(FaultRun { ipa, step: 0, times: 1, instruction });
        }
        (runs, true)
    }

    /// Adds a fault, if it continues the run.
    fn takes(&mut self, ipa: u64) -> bool {
        if self.times == 1 {
            self.step = ipa - self.ipa;
        }
        let continues = ipa == self.ipa + self.step * u64::from(self.times);
        self.times += u32::from(continues);
        continues
    }

    /// Returns the number of its faults in the BAR.
    fn within(&self, bar: &Bar) -> u64 {
        let times = 0..u64::from(self.times);
        let ipas = times.map(|time| self.ipa.wrapping_add(self.step.wrapping_mul(time)));
        ipas.filter(|ipa| is_in(*ipa, bar)).count() as u64
    }
}

fn is_in(ipa: u64, bar: &Bar) -> bool {
    ipa.checked_sub(bar.start).is_some_and(|offset| offset < bar.size)
}

/// The counts of a step that names a device, for the device's BAR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub device: String,
    pub accesses: Counts,
    /// The faults of all guests, of all their memory.
    pub faults: Vec<FaultRun>,
    /// The TLBI instructions of EL2, of all guests.
    pub tlbis: Vec<TlbiRun>,
    /// The reason why counts are wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}

impl Observed for Counted {
    fn is_due(&self) -> bool {
        false
    }
}

impl Counted {
    /// Returns the line of the report.
    pub(crate) fn line(&self, at: usize, record: &Record) -> CountLine {
        let mut values = vec![];
        for (verb, numbers) in [("stores", &self.accesses.stores), ("loads", &self.accesses.loads)] {
            values.extend(numbers.iter().map(|(width, number)| format!("{number} {verb} of {width} B")));
        }
        let (mut data, mut instruction, mut invalidations) = (0, 0, 0);
        if let Some(bar) = bar(record, &self.device) {
            for run in &self.faults {
                let faults = run.within(&bar);
                if run.instruction { instruction += faults } else { data += faults }
            }
            let all = self.tlbis.iter().flat_map(TlbiRun::expanded);
            let lpa2 = has_lpa2(record);
            invalidations = all.filter(|tlbi| is_about(tlbi, &bar, lpa2)).count();
        }
        values.push(format!("{data} data aborts, {instruction} instruction aborts"));
        values.push(format!("{invalidations} stage-2 invalidations"));
        CountLine { step: at, device: Word::new(&self.device), values: Text::new(&values.join(", ")) }
    }

    /// Returns the reason why the numbers cannot be taken as they are.
    pub(crate) fn trouble(&self) -> Option<String> {
        let unplaced = (self.accesses.unplaced > 0)
            .then(|| format!("{} accesses to unknown places", self.accesses.unplaced));
        self.incomplete.clone().or(unplaced)
    }
}

/// Returns the BAR of the device in its guest, as the guest's agent has reported it: at a look, or
/// for an access.
fn bar(record: &Record, device: &str) -> Option<Bar> {
    let mappings = record.all::<Look>().flat_map(|look| &look.data.mappings);
    let mapped = mappings.filter(|mapping| mapping.device == device).map(|mapping| mapping.bar).next();
    let accesses = record.observations.iter().filter_map(|observed| observed.data.access());
    mapped.or_else(|| accesses.filter(|access| access.device == device).map(|access| access.bar).next())
}

/// Returns true if the guests' tables have FEAT_LPA2's format, in which the base of a range has
/// another unit. KVM decides it for all guests (Linux 6.8 arch/arm64/kvm/hyp/pgtable.c,
/// kvm_get_vtcr).
fn has_lpa2(record: &Record) -> bool {
    let mut looks = record.all::<Look>().filter_map(|look| registers::stage2(&look.registers).ok());
    looks.next().is_some_and(|stage2| stage2.lpa2())
}

/// Returns true if the operand of the instruction has an IPA of the BAR.
fn is_about(traced: &TracedTlbi, bar: &Bar, lpa2: bool) -> bool {
    match traced.decode(lpa2).map(|invalidation| invalidation.scope) {
        Some(InvalidationScope::Ipas(ipas)) => ipas.overlaps(bar.start, bar.size),
        _ => false,
    }
}

const COUNT: &str = "count step ";

/// `count step 0 nic  131072 stores of 8 B, ...`: the counts of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountLine {
    pub step: usize,
    pub device: Word,
    pub values: Text,
}

impl CountLine {
    /// Returns true for the begin of such a line.
    pub(crate) fn is_begun(text: &str) -> bool {
        text.starts_with(COUNT)
    }
}

impl fmt::Display for CountLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{COUNT}{} {}  {}", self.step, self.device, self.values)
    }
}

impl FromStr for CountLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "count step N DEVICE  NUMBERS", |text| {
            let [subject, values] = columns(text)?;
            let (step, device) = subject.strip_prefix(COUNT)?.split_once(' ')?;
            Some(CountLine {
                step: step.parse().ok()?,
                device: device.parse().ok()?,
                values: values.parse().ok()?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BAR: Bar = Bar { index: 2, start: 0x80_0000_0000, size: 16 << 20, prefetchable: true };

    fn fault(ipa: u64) -> Stage2Fault {
        Stage2Fault { hpfar: ipa >> 12 << 4, esr: 0x24 << 26 | 0b111 }
    }

    #[test]
    fn a_step_has_the_difference() {
        let counts = |stores: [(u32, u64); 2], unplaced| Counts {
            stores: stores.into(),
            loads: [(8, 5)].into(),
            unplaced,
        };
        let since = counts([(8, 131_073), (16, 7)], 3).since(&counts([(8, 1), (16, 7)], 3));
        assert_eq!(since, Counts { stores: [(8, 131_072)].into(), loads: BTreeMap::new(), unplaced: 0 });
    }

    #[test]
    fn faults_of_a_loop_are_a_run() {
        let blocks = (0..8).rev().map(|block| fault(BAR.start + (block << 21)));
        let fetched = Stage2Fault { esr: 0x20 << 26 | 0b111, ..fault(BAR.start) };
        let all: Vec<_> = blocks.chain([fault(0x4000_0000), fetched, fault(0x4000_0000)]).collect();
        let (runs, whole) = FaultRun::of(&all);
        let run = |ipa, step, times, instruction| FaultRun { ipa, step, times, instruction };
        let expected =
            [run(0x4000_0000, 0, 2, false), run(BAR.start, 2 << 20, 8, false), run(BAR.start, 0, 1, true)];
        assert_eq!((runs.as_slice(), whole), (expected.as_slice(), true));
        assert_eq!(runs.iter().map(|run| run.within(&BAR)).collect::<Vec<_>>(), [0, 8, 1]);
        assert_eq!(run(BAR.start - 0x1000, 0x1000, 3, false).within(&BAR), 2);
        let wild: Vec<_> = (0..2048u64).map(|at| fault((at * at) << 12)).collect();
        assert!(!FaultRun::of(&wild).1);
    }

    #[test]
    fn an_invalidation_is_about_the_bar_by_its_operand() {
        let tlbi = |word, operand, el| TracedTlbi { word, operand, el, vcpu: 0, vttbr: 0, hcr: 1 };
        let page = BAR.start >> 12;
        for (one, about) in [
            (tlbi(0xd50c_8021, page, 2), true),
            (tlbi(0xd50c_8021, page + 4095, 2), true),
            (tlbi(0xd50c_8021, page + 4096, 2), false),
            (tlbi(0xd50c_8021, page, 1), false),
            // Two pages from the one before.
            (tlbi(0xd50c_8041, 1 << 46 | (page - 1), 2), true),
            (tlbi(0xd508_831f, 0, 2), false),
            (tlbi(0xd50c_8044, 0x6080_0080_0000, 2), false),
        ] {
            assert_eq!(is_about(&one, &BAR, false), about, "{one:?}");
        }
        // Debian's 6.12 on QEMU's `max`: 16 MiB, with VTCR_EL2.DS.
        assert!(is_about(&tlbi(0xd50c_8044, 0x6080_0080_0000, 2), &BAR, true));
    }

    proptest! {
        #[test]
        fn runs_of_faults_lose_nothing(pages in prop::collection::vec((0u64..24, any::<bool>()), 0..64)) {
            let of = |&(page, instruction): &(u64, bool)| {
                Stage2Fault { esr: if instruction { 0x20 } else { 0x24 } << 26, ..fault(page << 12) }
            };
            let (runs, whole) = FaultRun::of(&pages.iter().map(of).collect::<Vec<_>>());
            let mut found: Vec<_> = runs.iter().flat_map(|run| {
                (0..u64::from(run.times)).map(move |time| ((run.ipa + time * run.step) >> 12, run.instruction))
            }).collect();
            let mut pages = pages;
            pages.sort_unstable();
            found.sort_unstable();
            prop_assert!(whole && found == pages);
        }
    }
}
