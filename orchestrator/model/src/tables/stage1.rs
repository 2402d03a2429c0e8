//! Stage 1 of the mappings that a look has seen, as far as stage 2 maps them.

use super::TableRange;
use crate::lines::{Area, Word};
use crate::record::look::MOST_PAGES;
use crate::record::registers::register;
use crate::steps::Look;
use s2lab_mmu::{
    Fault, MemoryType, PAGE_SIZE, PageMem, Stage1, Stage1Leaf, Stage2, Stage2Leaf, ThroughStage2, combine,
};
use s2lab_protocol::{Bar, MapKind, Mapping};

/// Stage 1 of one mapping of a BAR by the guest's user space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage1Table {
    pub device: Word,
    pub map: MapKind,
    /// The BAR at its IPA.
    pub bar: Bar,
    /// The ranges in which stage 2 maps the BAR, ascending.
    pub ranges: Vec<Stage1Range>,
}

/// Neighbouring addresses that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage1Range {
    /// The guest's virtual addresses, without the last.
    pub va: (u64, u64),
    pub mapped: Mapped,
}

/// The result of stage 1 for a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    To {
        /// One of the leaves: all have its level and its attributes.
        leaf: Stage1Leaf,
        /// The IPA of the first byte.
        ipa: u64,
        /// The type of both stages together; None: left open by the architecture, or not the BAR.
        effective: Option<MemoryType>,
        /// False: the guest's tables lead to another place than the guest has said.
        is_bar: bool,
    },
    /// Stage 1 maps nothing.
    Not,
    /// A table is not among the pages that can be read.
    Unreadable,
}

/// The context of one look.
struct Walker<'a> {
    stage1: Stage1,
    memory: ThroughStage2<'a>,
    /// The pages that may still be translated.
    budget: u64,
}

/// Returns the tables of all mappings of a look. `ranges` are those of stage 2.
pub(super) fn tables(
    look: &Look,
    stage2: &Stage2,
    ranges: &[TableRange],
    memory: &PageMem,
    missing: &mut Vec<String>,
) -> Vec<Stage1Table> {
    if look.mappings.is_empty() {
        return vec![];
    }
    let stage1 = match registers(look) {
        Ok(stage1) => stage1,
        Err(why) => {
            missing.push(format!("stage 1: {why}"));
            return vec![];
        }
    };
    let mut walker = Walker { stage1, memory: ThroughStage2::new(stage2, memory), budget: MOST_PAGES };
    let table = |mapping: &Mapping| {
        let table = walker.table(mapping, ranges);
        let device = &table.device;
        if table.ranges.iter().any(|range| range.mapped == Mapped::Unreadable) {
            missing.push(format!("parts of stage 1 of {device}, mapped {}, cannot be read", table.map));
        }
        if walker.budget == 0 {
            missing.push(format!("stage 1 of {device} is not whole: the mappings have too many pages"));
        }
        table
    };
    look.mappings.iter().map(table).collect()
}

fn registers(look: &Look) -> Result<Stage1, crate::record::look::LookError> {
    let bits = |name| register(&look.registers, name);
    // TTBR1_EL1 is the guest kernel's; the mappings of user space need TTBR0_EL1 only.
    let other = look.registers.get("TTBR1_EL1").copied().unwrap_or_default();
    let stage1 =
        Stage1::new(bits("TTBR0_EL1")?, other, bits("TCR_EL1")?, bits("MAIR_EL1")?, bits("SCTLR_EL1")?);
    Ok(stage1.under(bits("HCR_EL2")?))
}

impl Walker<'_> {
    fn table(&mut self, mapping: &Mapping, of_stage2: &[TableRange]) -> Stage1Table {
        let Mapping { device, map, va, bar, .. } = mapping;
        let area = Area::device(device);
        let end = bar.start.saturating_add(bar.size);
        let mut ranges: Vec<Stage1Range> = vec![];
        for range in of_stage2.iter().filter(|range| range.area == area) {
            let mut ipa = range.leaves.first.ipa.max(bar.start);
            let to = range.leaves.end().min(end);
            while ipa < to && self.budget > 0 {
                self.budget -= 1;
                let va = va.wrapping_add(ipa - bar.start);
                let (mapped, bytes) = self.translate(va, ipa, &range.leaves.first);
                let bytes = bytes.clamp(1, to - ipa);
                ipa += bytes;
                add(&mut ranges, Stage1Range { va: (va, va.saturating_add(bytes)), mapped });
            }
        }
        Stage1Table { device: Word::new(device), map: *map, bar: *bar, ranges }
    }

    /// Translates `va`, which should lead to `ipa`. Returns also the number of bytes that are alike.
    fn translate(&self, va: u64, ipa: u64, stage2: &Stage2Leaf) -> (Mapped, u64) {
        let page = PAGE_SIZE as u64;
        let leaf = match self.stage1.translate(&self.memory, va) {
            Ok(leaf) => leaf,
            Err(Fault::NoMemory { .. }) => return (Mapped::Unreadable, page - va % page),
            Err(_) => return (Mapped::Not, page - va % page),
        };
        let rest = leaf.size.saturating_sub(va.wrapping_sub(leaf.va) % leaf.size.max(1));
        let found = leaf.ipa_of(va).unwrap_or(leaf.ipa);
        let is_bar = found == ipa;
        let effective = is_bar.then(|| combine(leaf.attr, stage2.attr)).flatten();
        (Mapped::To { leaf, ipa: found, effective, is_bar }, rest)
    }
}

/// Adds a range, or extends the last one.
fn add(ranges: &mut Vec<Stage1Range>, next: Stage1Range) {
    match ranges.last_mut() {
        Some(last) if last.continues_with(&next) => last.va.1 = next.va.1,
        _ => ranges.push(next),
    }
}

impl Stage1Range {
    fn continues_with(&self, next: &Stage1Range) -> bool {
        self.va.1 == next.va.0
            && match (&self.mapped, &next.mapped) {
                (
                    Mapped::To { leaf, ipa, effective, is_bar },
                    Mapped::To { leaf: other, ipa: then, effective: also, is_bar: too },
                ) => {
                    let of = |leaf: &Stage1Leaf| {
                        (leaf.level, leaf.attr, leaf.user, leaf.write, leaf.exec, leaf.af, leaf.sh)
                    };
                    of(leaf) == of(other)
                        && (effective, is_bar) == (also, too)
                        && ipa.checked_add(self.va.1 - self.va.0) == Some(*then)
                }
                (one, other) => one == other,
            }
    }
}
