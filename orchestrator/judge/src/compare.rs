//! The comparison.

use crate::{
    answer::Answer,
    deviations::{self, Version},
    memory::{Ram, Unfinished},
    par,
    walk::{self, Memory, Walked},
};
use s2lab_judge_records::{Access, Head, Question, Regime};
use s2lab_mmu::PhysMem;
use std::{collections::BTreeMap, fmt};

/// Devices of QEMU's `virt`: those below RAM, and PCIe (QEMU 10.0, hw/arm/virt.c, `base_memmap`,
/// `extended_memmap`).
const DEVICES: [std::ops::Range<u64>; 2] = [0..0x4000_0000, 0x40_0000_0000..0x100_0000_0000];
/// The most differences that are kept.
const KEPT: usize = 20;

/// A question with both answers.
pub(crate) struct Case<'a> {
    pub(crate) regime: &'a Regime,
    /// ID_AA64MMFR0_EL1.
    pub(crate) features: u64,
    pub(crate) access: Access,
    pub(crate) address: u64,
    pub(crate) ours: Walked,
    pub(crate) cpus: Answer,
    pub(crate) mem: &'a dyn PhysMem,
}

impl Case<'_> {
    /// Returns true if both answers are the same as far as the architecture defines them.
    pub(crate) fn is_same(&self) -> bool {
        match (&self.ours.answer, &self.cpus) {
            (Answer::Translation { page, of: None, .. }, Answer::Translation { page: other, .. }) => {
                page == other && !self.is_defined()
            }
            (ours, cpus) => ours == cpus,
        }
    }

    /// Returns true if the architecture defines the values of both attributes (DDI 0487, MAIR_EL1,
    /// and D8, "Stage 2 memory type and Cacheability attributes").
    fn is_defined(&self) -> bool {
        let second = match (self.regime.hcr & FWB != 0, self.mem_attr()) {
            (true, mem_attr) => matches!(mem_attr, 0..=3 | 5..=7),
            (false, mem_attr) => !matches!(mem_attr, 4 | 8 | 12),
        };
        second && par::memory(self.stage1_field()).is_some()
    }

    /// Returns MemAttr of stage 2's leaf.
    pub(crate) fn mem_attr(&self) -> u8 {
        self.ours.stage2.map_or(0, |leaf| (leaf.descriptor >> 2 & 0b1111) as u8)
    }

    /// Returns the field of MAIR_EL1 that stage 1's leaf selects.
    pub(crate) fn stage1_field(&self) -> u8 {
        match self.ours.stage1.and_then(|leaf| leaf.descriptor) {
            Some(descriptor) => (self.regime.mair >> (8 * (descriptor >> 2 & 0b111))) as u8,
            None if self.regime.hcr & DC != 0 => 0xff,
            None => 0,
        }
    }
}

pub(crate) const FWB: u64 = 1 << 46;
pub(crate) const DC: u64 = 1 << 12;

/// Two answers that are not the same, without a known reason.
#[derive(Debug, Clone)]
pub struct Difference {
    pub regime: Regime,
    pub question: Question,
    pub ours: Walked,
    /// None: an answer that the architecture does not have.
    pub cpus: Option<Answer>,
}

/// The result.
#[derive(Debug, Default)]
pub struct Findings {
    pub regimes: usize,
    pub questions: usize,
    /// The number of questions by the kind of the walk's answer.
    pub kinds: BTreeMap<String, usize>,
    /// The number of differences by the name of their deviation.
    pub deviations: BTreeMap<&'static str, usize>,
    /// The number of questions whose walk leads to a device, which is not RAM and has words too.
    pub devices: usize,
    /// The number of all other differences.
    pub unexplained: usize,
    /// The first of them.
    pub differences: Vec<Difference>,
}

/// Compares all answers in the RAM of a judge that has come to its end.
pub fn compare(ram: &Ram, qemu: Version) -> Result<Findings, Unfinished> {
    let (regimes, questions) = ram.records()?;
    let features = ram.head(Head::Features0)?;
    let mut findings = Findings { regimes: regimes.len(), questions: questions.len(), ..Findings::default() };
    for question in questions {
        let regime = usize::try_from(question.regime()).ok().and_then(|n| regimes.get(n));
        let (Some(regime), Some(access)) = (regime, question.access()) else {
            return Err(Unfinished::Counts { regimes: question.regime(), questions: question.asked });
        };
        let ours = walk::answer(regime, access, question.address, &Memory::plain(ram));
        if DEVICES.iter().any(|device| device.contains(&ours.last)) {
            findings.devices += 1;
            continue;
        }
        *findings.kinds.entry(kind(&ours.answer)).or_default() += 1;
        let cpus = par::answer(&question);
        let address = question.address;
        let case = cpus.map(|cpus| Case { regime, features, access, address, ours, cpus, mem: ram });
        if case.as_ref().is_some_and(Case::is_same) {
            continue;
        }
        let known = case.and_then(|case| {
            deviations::all()
                .iter()
                .find(|known| known.mended.is_none_or(|mended| qemu < mended) && (known.explains)(&case))
        });
        match known {
            Some(known) => *findings.deviations.entry(known.name).or_default() += 1,
            None => {
                findings.unexplained += 1;
                if findings.differences.len() < KEPT {
                    findings.differences.push(Difference { regime: *regime, question, ours, cpus });
                }
            }
        }
    }
    Ok(findings)
}

fn kind(answer: &Answer) -> String {
    match answer {
        Answer::Translation { of: None, .. } => "translation, type not defined".to_owned(),
        Answer::Translation { .. } => "translation".to_owned(),
        other => other.to_string(),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { regime, question, ours, cpus } = self;
        let access = question.access();
        writeln!(f, "{access:?} of {:#x}", question.address)?;
        match cpus {
            Some(cpus) => writeln!(f, "  CPU   {cpus} ({:#x})", question.answer)?,
            None => writeln!(f, "  CPU   unknown answer {:#x}", question.answer)?,
        }
        writeln!(f, "  walk  {}; last read at {:#x}", ours.answer, ours.last)?;
        if let Some(leaf) = ours.stage1 {
            writeln!(f, "  stage 1 {leaf:x?}")?;
        }
        if let Some(leaf) = ours.stage2 {
            writeln!(f, "  stage 2 {leaf:x?}")?;
        }
        write!(f, "  {regime:x?}")
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} questions in {} regimes", self.questions, self.regimes)?;
        writeln!(f, "  {:7}  not compared: the walk leads to a device", self.devices)?;
        for (kind, count) in &self.kinds {
            writeln!(f, "  {count:7}  {kind}")?;
        }
        for (name, count) in &self.deviations {
            writeln!(f, "  {count:7}  known: {name}")?;
        }
        write!(f, "  {:7}  not known", self.unexplained)?;
        for difference in &self.differences {
            write!(f, "\n{difference}")?;
        }
        Ok(())
    }
}
