//! The RAM of a guest: memory of the host.

use super::{RegionKind, distinct};
use crate::cell::ResolvedCell;
use crate::lines::{Area, Leaves, Promised, Region, Table, Text};
use crate::record::Surroundings;
use crate::record::look::GuestTables;
use crate::scenario::{Guest, Promise, probe_of};
use s2lab_mmu::{Granule, MemoryType, Stage2Leaf};
use std::collections::BTreeMap;
use std::ops::Range;

/// All RAM of the host that the guest has. KVM maps and ages it as the guest runs, so permissions,
/// access flags and the layout of the leaves vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ram;

impl RegionKind for Ram {
    fn places(&self, around: &Surroundings, _: Granule) -> Vec<Range<u64>> {
        around.ram.clone()
    }

    fn leaves<'s>(&self, seen: &'s GuestTables) -> &'s [Stage2Leaf] {
        &seen.ram
    }

    fn is_given(&self, _: &Guest) -> bool {
        true
    }

    fn refuses(&self, key: &str) -> Option<&'static str> {
        match key {
            "access" | "af" => Some("about a device's BAR: that of RAM changes while the guest runs"),
            _ if key == "effective" || probe_of(key).is_some() => Some("about a device's BAR, not about RAM"),
            _ => None,
        }
    }

    fn promise(&self, _: MemoryType, _: &ResolvedCell) -> Option<Promise> {
        Some(Promise::RAM)
    }

    fn missing(&self, _: &[Stage2Leaf], _: &Surroundings) -> Option<&'static str> {
        None
    }

    /// Returns a line for each type and shareability.
    fn promised(&self, seen: &GuestTables) -> Vec<Promised> {
        if seen.ram.is_empty() {
            return vec![Promised::Region(Region::NothingMapped(Area::Ram))];
        }
        let line = |leaf: &Stage2Leaf| Region::Ram { stage2: Text::new(&leaf.attr.to_string()), sh: leaf.sh };
        let lines = distinct(&seen.ram, |leaf| (leaf.attr, leaf.sh), line);
        lines.into_iter().map(Promised::Region).collect()
    }

    fn area(&self) -> Area {
        Area::Ram
    }

    fn varies(&self) -> bool {
        true
    }

    /// Yields the kinds of leaves by level and attribute bits, and the number of each.
    fn tables<'s>(
        &'s self,
        _: &'s Surroundings,
        leaves: &'s [Stage2Leaf],
    ) -> Box<dyn Iterator<Item = Table> + 's> {
        let mut kinds: BTreeMap<(i8, u64), (&Stage2Leaf, u64)> = BTreeMap::new();
        for leaf in leaves {
            kinds.entry((leaf.level, leaf.attributes())).or_insert((leaf, 0)).1 += 1;
        }
        Box::new(kinds.into_values().map(|(leaf, count)| Table::Ram(Leaves::of(leaf, count))))
    }
}
