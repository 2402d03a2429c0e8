//! Physical addresses that are neither RAM of the host nor a BAR.

use super::{RegionKind, bar};
use crate::cell::ResolvedCell;
use crate::lines::{Area, Promised};
use crate::record::Surroundings;
use crate::record::look::GuestTables;
use crate::scenario::{Guest, Promise};
use s2lab_mmu::{Granule, MemoryType, Stage2Leaf};
use std::ops::Range;

/// The leaves of no other region. No guest was given them, and no expectation names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unknown;

impl RegionKind for Unknown {
    fn places(&self, _: &Surroundings, _: Granule) -> Vec<Range<u64>> {
        vec![]
    }

    fn leaves<'s>(&self, seen: &'s GuestTables) -> &'s [Stage2Leaf] {
        &seen.unknown
    }

    fn is_given(&self, _: &Guest) -> bool {
        false
    }

    fn refuses(&self, _: &str) -> Option<&'static str> {
        Some("about a region that no guest was given")
    }

    fn promise(&self, _: MemoryType, _: &ResolvedCell) -> Option<Promise> {
        None
    }

    fn missing(&self, _: &[Stage2Leaf], _: &Surroundings) -> Option<&'static str> {
        None
    }

    /// Returns a line for each attribute set, and none without leaves.
    fn promised(&self, seen: &GuestTables) -> Vec<Promised> {
        if seen.unknown.is_empty() {
            return vec![];
        }
        bar::attributes(&seen.unknown, &Area::Unknown).into_iter().map(Promised::Region).collect()
    }

    fn area(&self) -> Area {
        Area::Unknown
    }

    fn varies(&self) -> bool {
        false
    }
}
