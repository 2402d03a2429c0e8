//! The whole tables of a look: every range of stage 2, and stage 1 of the mappings that were looked
//! at. A report has only the first ranges of a look; `s2lab tables` has all of them.

mod moves;
mod rows;
mod stage1;
#[cfg(test)]
mod tests;

pub use moves::{Comparison, LookComparison, MappingMove, Move, moves};
pub use rows::Row;
pub use stage1::{Mapped, Stage1Range, Stage1Table};

use crate::lines::{Area, Place, Text, Word};
use crate::record::Surroundings;
use crate::record::look::{LookError, Pages, few, page};
use crate::record::registers::{register, stage2};
use crate::regions::RegionName;
use crate::scenario::Size;
use crate::steps::Look;
use s2lab_mmu::{AnomalyKind, PageMem, Stage2, Stage2Leaf, Walk, controls, ranges};

/// The most pages that are named because they cannot be read; more are counted.
const MOST_NAMED: usize = 8;

/// The tables of one guest at one moment, as far as they can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookTables {
    pub look: Word,
    pub guest: Word,
    /// What could not be read, and is missing below.
    pub missing: Vec<String>,
    /// None: the registers or the surroundings in the log are not those of a look.
    pub stage2: Option<Stage2Table>,
    pub mappings: Vec<Stage1Table>,
}

/// The stage 2 of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage2Table {
    /// The size of a table and of a page.
    pub granule: Size,
    pub ipa_bits: u32,
    pub start_level: i8,
    pub vmid: u16,
    /// The physical address of the start table.
    pub base: u64,
    /// All ranges, ascending by IPA.
    pub ranges: Vec<TableRange>,
    /// Everything that changes the meaning of the tables, or that a correct hypervisor does not
    /// write.
    pub remarks: Vec<Text>,
}

/// Neighbouring leaves that are alike, and whose addresses in the host are neighbours too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRange {
    pub area: Area,
    /// The place in a device; RAM has none.
    pub place: Option<Place>,
    pub leaves: s2lab_mmu::Range,
}

impl LookTables {
    /// Decodes a look, with those of its pages that can be read.
    pub fn of(look: &Look, around: &Surroundings, pages: &(impl Pages + ?Sized)) -> LookTables {
        let (memory, mut missing) = readable(look, pages);
        let (mut table, mut mappings) = (None, vec![]);
        match few(look, around).and_then(|()| stage2(&look.registers)) {
            Ok(stage2) => {
                let found = table.insert(Stage2Table::of(&stage2, around, &memory, &mut missing));
                found.remarks.extend(meaning(look));
                mappings = stage1::tables(look, &stage2, &found.ranges, &memory, &mut missing);
            }
            Err(why) => missing.push(why.to_string()),
        }
        let (look, guest) = (Word::new(&look.name), Word::new(&look.guest));
        LookTables { look, guest, missing, stage2: table, mappings }
    }
}

/// Returns the pages of a look that are what their names say, and why the others are not.
fn readable(look: &Look, pages: &(impl Pages + ?Sized)) -> (PageMem, Vec<String>) {
    let (mut memory, mut missing, mut others) = (PageMem::default(), vec![], 0);
    for (&address, sha256) in &look.pages {
        let kept = page(address, sha256, pages);
        match kept.and_then(|bytes| memory.insert(address, &bytes).map_err(LookError::from)) {
            Ok(()) => {}
            Err(why) if missing.len() < MOST_NAMED => missing.push(why.to_string()),
            Err(_) => others += 1,
        }
    }
    if others > 0 {
        missing.push(format!("{others} more pages cannot be read"));
    }
    (memory, missing)
}

/// Returns the register bits that give the tables another meaning.
fn meaning(look: &Look) -> Vec<Text> {
    let bits = |name| register(&look.registers, name);
    let (Ok(hcr), Ok(vtcr), Ok(sctlr)) = (bits("HCR_EL2"), bits("VTCR_EL2"), bits("SCTLR_EL1")) else {
        return vec![];
    };
    controls(hcr, vtcr, sctlr).iter().map(|control| Text::new(&control.to_string())).collect()
}

impl Stage2Table {
    fn of(
        stage2: &Stage2,
        around: &Surroundings,
        memory: &PageMem,
        missing: &mut Vec<String>,
    ) -> Stage2Table {
        let walk = stage2.walk(memory);
        let remarks = remarks(&walk, around, missing);
        let regions = RegionName::all(around, stage2.granule());
        let of = |leaf: &Stage2Leaf| RegionName::of_leaf(leaf, &regions);
        let groups = walk.leaves.chunk_by(|one, next| of(one) == of(next));
        let ranges = groups.flat_map(|leaves| {
            let region = leaves.first().map(of);
            let found = move |range: s2lab_mmu::Range| {
                let region = region.unwrap_or_else(RegionName::unknown);
                let (area, place) = (region.kind().area(), region.kind().place(around, &range));
                TableRange { area, place, leaves: range }
            };
            ranges(leaves).map(found)
        });
        Stage2Table {
            granule: Size(stage2.granule().size()),
            ipa_bits: stage2.ipa_bits(),
            start_level: stage2.start_level(),
            vmid: stage2.vmid(),
            base: stage2.base(),
            ranges: ranges.collect(),
            remarks,
        }
    }
}

/// Returns the anomalies. A table in the host's RAM that is not among the pages is missing.
fn remarks(walk: &Walk, around: &Surroundings, missing: &mut Vec<String>) -> Vec<Text> {
    let mut remarks = vec![];
    for anomaly in &walk.anomalies {
        match anomaly.kind {
            AnomalyKind::TableOutsideMemory { table }
                if around.ram.iter().any(|ram| ram.contains(&table)) =>
            {
                let (ipa, level) = (anomaly.ipa, anomaly.level);
                missing.push(format!("the table of level {level} from IPA {ipa:#x} on cannot be read"));
            }
            AnomalyKind::TooManyTables | AnomalyKind::TooManyLeaves => {
                missing.push(format!("stage 2 is not whole: {anomaly}"));
            }
            _ => remarks.push(Text::new(&anomaly.to_string())),
        }
    }
    if let Some(more @ 1..) = walk.anomaly_count.checked_sub(walk.anomalies.len()) {
        remarks.push(Text::new(&format!("and {more} more anomalies")));
    }
    remarks
}
