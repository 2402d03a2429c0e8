//! The tables of a look in full: each range of stage 2 with its region, and stage 1 of the mappings
//! of the guest. A report has the first of them; this is for a person at a run.

use crate::lines::{Area, Range};
use crate::record::Record;
use crate::record::look::{DecodedLook, GuestTables, LookError, Pages, SeenMapping, decode};
use crate::regions::{RegionName, range};
use crate::steps::Look;
use s2lab_mmu::{Granule, ranges};
use std::collections::BTreeMap;

/// The tables of one guest at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookTables {
    /// The name of the look.
    pub look: String,
    pub guest: String,
    /// The registers by their architectural names.
    pub registers: BTreeMap<String, u64>,
    /// An error: the log or `raw/` lacks something.
    pub seen: Result<Tables, LookError>,
}

/// The decoded tables of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    pub granule: Granule,
    pub ipa_bits: u32,
    pub start_level: i8,
    /// All ranges of stage 2, ascending by IPA.
    pub ranges: Vec<RangeInHost>,
    pub mappings: Vec<Stage1Mapping>,
    /// Everything in the tables that a correct hypervisor does not write.
    pub anomalies: Vec<String>,
}

/// A range of stage 2, and its place in the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeInHost {
    pub range: Range,
    /// The physical address of the first leaf.
    pub pa: u64,
    /// The descriptor of the first leaf.
    pub descriptor: u64,
}

/// A BAR in the guest's user space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage1Mapping {
    /// The guest virtual address of the BAR's first byte, if the log has it.
    pub va: Option<u64>,
    pub seen: SeenMapping,
}

/// Decodes each look of an attempt, in the log's order.
pub fn of_record(record: &Record, pages: &(impl Pages + ?Sized)) -> Vec<LookTables> {
    let looks = record.all::<Look>();
    looks.zip(decode(record, pages)).map(|(look, decoded)| of_look(record, look.data, decoded)).collect()
}

fn of_look(record: &Record, look: &Look, decoded: DecodedLook) -> LookTables {
    let seen = decoded.seen.map(|seen| Tables {
        granule: seen.granule,
        ipa_bits: seen.ipa_bits,
        start_level: seen.start_level,
        ranges: all_ranges(record, look, &seen),
        mappings: seen.mappings.into_iter().map(|seen| Stage1Mapping { va: va(look, &seen), seen }).collect(),
        anomalies: seen.anomalies,
    });
    LookTables { look: decoded.name, guest: decoded.guest, registers: look.registers.clone(), seen }
}

fn va(look: &Look, seen: &SeenMapping) -> Option<u64> {
    let same = |mapping: &&s2lab_protocol::Mapping| {
        (&mapping.device, mapping.map, mapping.bar.start) == (&seen.device, seen.map, seen.ipa)
    };
    look.mappings.iter().find(same).map(|mapping| mapping.va)
}

fn all_ranges(record: &Record, look: &Look, seen: &GuestTables) -> Vec<RangeInHost> {
    let guest = record.planned.resolved.guests.get(&look.guest);
    let regions = RegionName::of_look(guest, seen);
    let mut all: Vec<_> = regions
        .iter()
        .flat_map(|region| {
            let kind = region.kind();
            ranges(kind.leaves(seen)).map(move |found| RangeInHost {
                range: range(kind, &record.session.around, &found),
                pa: found.first.pa,
                descriptor: found.first.descriptor,
            })
        })
        .collect();
    all.sort_by_key(|entry| entry.range.ipa);
    all
}

impl Tables {
    /// The ranges without their places in the host: neighbours that differ in nothing else are one.
    pub fn folded(&self) -> Vec<Range> {
        let mut folded: Vec<Range> = vec![];
        for RangeInHost { range, .. } in &self.ranges {
            match folded.last_mut().filter(|last| continues(last, range)) {
                Some(last) => {
                    last.ipa.1 = range.ipa.1;
                    last.leaves.count += range.leaves.count;
                }
                None => folded.push(range.clone()),
            }
        }
        folded
    }

    /// The folded ranges that do not vary from run to run: all but RAM.
    pub fn stable(&self) -> Vec<Range> {
        self.folded().into_iter().filter(|range| range.area != Area::Ram).collect()
    }
}

/// Returns true if `next` begins where `last` ends, and is like it. A range with a place in its
/// region is as long as it can be.
fn continues(last: &Range, next: &Range) -> bool {
    let mut like = next.leaves.clone();
    like.count = last.leaves.count;
    let placed = last.place.is_some() || next.place.is_some();
    !placed && last.area == next.area && last.ipa.1 == next.ipa.0 && last.leaves == like
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::Story;
    use crate::record::Run;

    fn tables(story: &Story) -> Vec<LookTables> {
        let run = Run::fold(story.lines()).unwrap();
        of_record(&run.cells[0].attempts[0], &|digest: &str| story.pages.get(digest).cloned())
    }

    /// Each leaf is in exactly one range, whichever way the ranges are folded.
    #[test]
    fn the_ranges_are_all_leaves() {
        let story = Story::after();
        let run = Run::fold(story.lines()).unwrap();
        let record = &run.cells[0].attempts[0];
        let pages = |digest: &str| story.pages.get(digest).cloned();
        for (decoded, tables) in decode(record, &pages).iter().zip(of_record(record, &pages)) {
            let (seen, tables) = (decoded.seen.as_ref().unwrap(), tables.seen.unwrap());
            let leaves = seen.devices.values().flatten().chain(&seen.ram).chain(&seen.unknown);
            let mut due: Vec<_> = leaves.map(|leaf| (leaf.ipa, leaf.size)).collect();
            due.sort_unstable();
            assert!(!due.is_empty());
            let all = tables.ranges.iter().map(|entry| entry.range.clone()).collect();
            for ranges in [all, tables.folded()] {
                let of_range = |range: &Range| {
                    let (first, size) = (range.ipa.0, range.leaves.size.0);
                    (0..range.leaves.count).map(move |n| (first + n * size, size)).collect::<Vec<_>>()
                };
                assert_eq!(ranges.iter().flat_map(of_range).collect::<Vec<_>>(), due);
            }
        }
    }

    #[test]
    fn a_look_has_its_mappings_and_registers() {
        let looks = tables(&Story::after());
        let names: Vec<_> = looks.iter().map(|look| (&*look.look, &*look.guest)).collect();
        assert_eq!(names, [("stored", "g0"), ("again", "g0")]);
        let first = &looks[0];
        assert!(first.registers.contains_key("VTTBR_EL2"));
        let seen = first.seen.as_ref().unwrap();
        assert_eq!(seen.mappings.len(), 1);
        assert!(seen.mappings[0].va.is_some());
        assert!(seen.stable().iter().all(|range| range.area == Area::device("nic")));
    }

    #[test]
    fn pages_that_are_missing_leave_the_other_looks_readable() {
        let story = Story::after();
        let run = Run::fold(story.lines()).unwrap();
        let looks = of_record(&run.cells[0].attempts[0], &|_: &str| None);
        assert_eq!(looks.len(), 2);
        assert!(looks.iter().all(|look| matches!(look.seen, Err(LookError::NoPage { .. }))));
    }
}
