//! The stage-2 tables of each look, in few lines.

use crate::lines::Table;
use crate::record::Record;
use crate::record::look::{DecodedLook, GuestTables};
use crate::regions::RegionName;
use crate::steps::LookLine;

/// Ranges of leaves that are shown of one look; more are counted.
const MOST_RANGES: usize = 46;
/// Kinds of leaves of RAM that are shown of one look; more are counted. With the look's own line,
/// the ranges and what is counted these are 64 lines.
const MOST_KINDS: usize = 15;

pub(super) fn lines(record: &Record, looks: &[DecodedLook]) -> Vec<Table> {
    let mut out = vec![];
    for look in looks {
        let Ok(seen) = &look.seen else { continue };
        out.push(Table::Look(LookLine::new(&look.name, &look.guest)));
        let guest = record.planned.resolved.guests.get(&look.guest);
        let (vary, stay): (Vec<_>, Vec<_>) =
            RegionName::of_look(guest, seen).into_iter().partition(|region| region.kind().varies());
        out.extend(of_regions(record, seen, &stay, MOST_RANGES, Table::MoreRanges));
        out.extend(of_regions(record, seen, &vary, MOST_KINDS, Table::MoreRam));
    }
    out
}

/// Returns the first lines of the regions, at most `most`, and `more` with the number of the others.
fn of_regions(
    record: &Record,
    seen: &GuestTables,
    regions: &[RegionName<'_>],
    most: usize,
    more: fn(usize) -> Table,
) -> Vec<Table> {
    let mut all = regions.iter().flat_map(|region| {
        let kind = region.kind();
        kind.tables(&record.session.around, kind.leaves(seen))
    });
    let mut out: Vec<_> = all.by_ref().take(most).collect();
    out.extend(Some(all.count()).filter(|others| *others > 0).map(more));
    out
}
