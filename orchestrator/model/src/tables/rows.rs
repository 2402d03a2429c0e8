//! The rows of a printed table.

use super::{Stage2Table, TableRange};
use crate::lines::{Area, Place};
use s2lab_mmu::Stage2Leaf;

/// Neighbouring leaves in one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The IPAs, without the last.
    pub ipa: (u64, u64),
    /// One of the leaves: all have its level, its size and its attributes.
    pub leaf: Stage2Leaf,
    pub area: Area,
    /// The place in a device; RAM has none.
    pub place: Option<Place>,
    /// The address in the host of the first byte. None: the leaves are anywhere in the region.
    pub pa: Option<u64>,
}

impl Stage2Table {
    /// Returns the rows of the table. `raw`: with addresses in the host, so that neighbours there
    /// alone are in one row.
    pub fn rows(&self, raw: bool) -> Vec<Row> {
        let mut rows: Vec<Row> = vec![];
        for range in &self.ranges {
            match rows.last_mut() {
                Some(row) if !raw && row.continues_with(range) => row.ipa.1 = range.leaves.end(),
                _ => rows.push(Row::of(range, raw)),
            }
        }
        rows
    }
}

impl Row {
    fn of(range: &TableRange, raw: bool) -> Row {
        let TableRange { area, place, leaves } = range;
        let pa = raw.then_some(leaves.first.pa);
        let ipa = (leaves.first.ipa, leaves.end());
        Row { ipa, leaf: leaves.first, area: area.clone(), place: place.clone(), pa }
    }

    /// Returns true if a range of memory without places follows the row, and is like it.
    fn continues_with(&self, range: &TableRange) -> bool {
        let leaf = &range.leaves.first;
        self.ipa.1 == leaf.ipa
            && (self.place.is_none() && range.place.is_none())
            && self.area == range.area
            && self.is_like(leaf)
    }

    /// Returns true if the leaf has the level, the size and the attributes of the row.
    pub(super) fn is_like(&self, leaf: &Stage2Leaf) -> bool {
        let of = |leaf: &Stage2Leaf| (leaf.level, leaf.size, leaf.attributes(), leaf.attr, leaf.sh);
        of(&self.leaf) == of(leaf)
    }

    /// Returns the part of the row with these IPAs, which are inside of it.
    #[must_use]
    pub(super) fn part(&self, ipa: (u64, u64)) -> Row {
        let (skip, bytes) = (ipa.0 - self.ipa.0, ipa.1 - ipa.0);
        let place = self.place.clone().map(|place| {
            let start = place.bytes.0.saturating_add(skip);
            Place { bytes: (start, start.saturating_add(bytes)), ..place }
        });
        Row { ipa, place, pa: self.pa.map(|pa| pa.saturating_add(skip)), ..self.clone() }
    }
}
