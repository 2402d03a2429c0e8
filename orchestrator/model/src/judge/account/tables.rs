//! The stage-2 tables of each look, in few lines.

use crate::lines::{Area, Leaves, Look, Place, Range, Table};
use crate::record::Record;
use crate::record::look::{DecodedLook, GuestTables};
use s2lab_mmu::{Stage2Leaf, ranges};
use std::collections::BTreeMap;

/// Ranges of devices that are shown of one look; more are counted.
const MOST_RANGES: usize = 46;
/// Kinds of RAM that are shown of one look; more are counted. With the look's own line, the ranges
/// and what is counted these are 64 lines.
const MOST_KINDS: usize = 15;

pub(super) fn lines(record: &Record, looks: &[DecodedLook]) -> Vec<Table> {
    let mut out = vec![];
    for look in looks {
        let Ok(seen) = &look.seen else { continue };
        out.push(Table::Look(Look::new(&look.name, &look.guest)));
        out.extend(devices(record, seen));
        out.extend(ram(&seen.ram));
    }
    out
}

/// The ranges of devices, and of what is neither a device nor RAM.
fn devices(record: &Record, seen: &GuestTables) -> Vec<Table> {
    let devices = seen.devices.iter().flat_map(|(device, leaves)| {
        ranges(leaves).map(move |range| (Area::device(device), Some(place(record, device, &range)), range))
    });
    let unknown = ranges(&seen.unknown).map(|range| (Area::Unknown, None, range));
    let mut all = devices.chain(unknown).map(|(area, place, range)| {
        let (ipa, leaves) = ((range.first.ipa, range.end()), Leaves::of(&range.first, range.count));
        Table::Range(Range { area, place, ipa, leaves })
    });
    let mut out: Vec<_> = all.by_ref().take(MOST_RANGES).collect();
    out.extend(Some(all.count()).filter(|more| *more > 0).map(Table::MoreRanges));
    out
}

/// The place of a range in its device, for where the device lies in the host says nothing.
fn place(record: &Record, device: &str, range: &s2lab_mmu::Range) -> Place {
    let main = record.session.around.bar(device);
    let bars = record.session.around.placed.get(device).map(Vec::as_slice).unwrap_or_default();
    let (pa, end) = (range.first.pa, range.first.pa.saturating_add(range.size()));
    let bar = bars.iter().find(|bar| bar.start < end && pa < bar.start.saturating_add(bar.size));
    let other = bar.map(|bar| bar.index).filter(|index| Some(*index) != main.map(|main| main.index));
    // A page around a BAR that is smaller than a page begins before it.
    let start = bar.map_or(0, |bar| bar.start).min(pa);
    Place { bar: other, bytes: (pa - start, end - start) }
}

/// The kinds of leaves of RAM by level and attribute bits, and how many there are of each.
fn ram(leaves: &[Stage2Leaf]) -> Vec<Table> {
    let mut kinds: BTreeMap<(i8, u64), (&Stage2Leaf, u64)> = BTreeMap::new();
    for leaf in leaves {
        kinds.entry((leaf.level, leaf.attributes())).or_insert((leaf, 0)).1 += 1;
    }
    let more = kinds.len().saturating_sub(MOST_KINDS);
    let shown = kinds.into_values().take(MOST_KINDS);
    let mut out: Vec<_> = shown.map(|(leaf, count)| Table::Ram(Leaves::of(leaf, count))).collect();
    out.extend(Some(more).filter(|more| *more > 0).map(Table::MoreRam));
    out
}
