//! Tables of made-up machines, whose pages another writer made.

use super::*;
use crate::judge::fixture::{BAR_PA, DEVICE_BLOCK, KEY, Machine, NC_BLOCK, Pages, RAM_PAGE, Story};
use crate::record::Run;
use proptest::prelude::*;
use std::collections::BTreeMap;

const PAGE: u64 = 4096;
const BLOCK: u64 = 2 << 20;
const BAR_IPA: u64 = crate::judge::fixture::BAR_IPA;
/// The first IPA of RAM that no fixture maps, and an address of the host's RAM.
const RAM_IPA: u64 = 0x4800_0000;
const RAM_PA: u64 = 0x7000_0000;

fn around() -> Surroundings {
    let run = Run::fold(Story::after().lines()).unwrap();
    run.cells[0].attempts[0].session.around.clone()
}

fn decoded(machine: &Machine) -> LookTables {
    let (look, pages) = machine.look("stored");
    of(&look, &pages)
}

fn of(look: &Look, pages: &Pages) -> LookTables {
    LookTables::of(look, &around(), &|digest: &str| pages.get(digest).cloned())
}

fn rows(tables: &LookTables, raw: bool) -> Vec<Row> {
    tables.stage2.as_ref().unwrap().rows(raw)
}

/// The lines of the rows, without RAM that the fixture always has.
fn lines(rows: &[Row]) -> Vec<String> {
    let line = |row: &Row| {
        let place = row.place.as_ref().map(|place| format!(" {place}")).unwrap_or_default();
        let pa = row.pa.map(|pa| format!(" {pa:#x}")).unwrap_or_default();
        let (from, to) = row.ipa;
        format!("{from:#x}..{to:#x} level {} {} {}{place}{pa}", row.leaf.level, row.leaf.attr, row.area)
    };
    let ours = rows.iter().filter(|row| row.ipa.0 >= RAM_IPA);
    ours.map(line).collect()
}

#[test]
fn neighbours_are_one_row_and_raw_rows_follow_the_host() {
    // Two pages that are neighbours for the guest, in another order in the host.
    let pages =
        [(0, 1), (1, 0), (2, 2)].map(|(ipa, pa)| (RAM_IPA + ipa * PAGE, RAM_PA + pa * PAGE, 3, RAM_PAGE));
    let machine = Machine { blocks: 2, more: pages.into(), ..Machine::with(NC_BLOCK) };
    let tables = decoded(&machine);
    assert_eq!((tables.look.to_string(), tables.guest.to_string()), ("stored".into(), "g0".into()));
    assert_eq!(tables.missing, Vec::<String>::new());
    let table = tables.stage2.as_ref().unwrap();
    assert_eq!((table.granule, table.ipa_bits, table.start_level, table.vmid), (Size(4096), 40, 1, 3));
    assert_eq!(
        lines(&rows(&tables, false)),
        [
            "0x48000000..0x48003000 level 3 Normal-WB ram",
            "0x8080000000..0x8080400000 level 2 Normal-NC nic +0x0..0x400000",
        ]
    );
    assert_eq!(
        lines(&rows(&tables, true)),
        [
            "0x48000000..0x48001000 level 3 Normal-WB ram 0x70001000",
            "0x48001000..0x48002000 level 3 Normal-WB ram 0x70000000",
            "0x48002000..0x48003000 level 3 Normal-WB ram 0x70002000",
            "0x8080000000..0x8080400000 level 2 Normal-NC nic +0x0..0x400000 0x8000000000",
        ]
    );
}

#[test]
fn stage_1_is_shown_as_far_as_stage_2_maps_the_bar() {
    let tables = decoded(&Machine::with(DEVICE_BLOCK));
    let [mapping] = tables.mappings.as_slice() else { panic!("{:?}", tables.mappings) };
    assert_eq!((mapping.device.to_string(), mapping.map.name(), mapping.bar.index), ("nic".into(), "wc", 2));
    let [range] = mapping.ranges.as_slice() else { panic!("{:?}", mapping.ranges) };
    assert_eq!(range.va, (0xffff_8000_0000, 0xffff_8000_0000 + BLOCK));
    let Mapped::To { leaf, ipa, effective, is_bar } = &range.mapped else { panic!("{range:?}") };
    assert_eq!(
        (leaf.level, leaf.attr.to_string(), *ipa, *is_bar),
        (Some(3), "Normal-NC".into(), BAR_IPA, true)
    );
    assert_eq!(effective.map(|of| of.name()), Some("Device-nGnRE"));
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_shown() {
    let machine = Machine { more: vec![(RAM_IPA, RAM_PA, 3, RAM_PAGE)], ..Machine::with(NC_BLOCK) };
    let (look, pages) = machine.look("stored");
    let whole = of(&look, &pages);
    let bar = lines(&rows(&whole, false)).pop();
    // Without any one page, what it does not lead to is as it was.
    let mut still_there = 0;
    for (address, sha256) in &look.pages {
        let mut fewer = pages.clone();
        fewer.remove(sha256);
        let tables = of(&look, &fewer);
        let first = format!("the page of {address:#x}, {sha256}, is not in raw/");
        assert_eq!(tables.missing.first(), Some(&first));
        let (rows, all) = (rows(&tables, true), rows(&whole, true));
        assert!(
            rows.iter()
                .all(|row| all.iter().any(|known| known.ipa.0 <= row.ipa.0 && row.ipa.1 <= known.ipa.1))
        );
        still_there += usize::from(
            lines(&rows).iter().any(|line| bar.as_deref().is_some_and(|bar| line.starts_with(bar))),
        );
        let damaged = |digest: &str| {
            pages.get(digest).map(|page| if digest == sha256 { vec![1; 4096] } else { page.clone() })
        };
        let tables = LookTables::of(&look, &around(), &damaged);
        assert_eq!(
            tables.missing[0],
            format!("the page of {address:#x} in raw/ is not what its name says, {sha256}")
        );
    }
    assert!(still_there > 3, "{still_there}");
    // Nothing at all is there.
    let tables = of(&look, &Pages::new());
    let more = format!("{} more pages cannot be read", look.pages.len() - MOST_NAMED);
    assert!(tables.missing.len() > MOST_NAMED && tables.missing.contains(&more), "{:?}", tables.missing);
    assert_eq!(rows(&tables, false), []);
    let start = "the table of level 1 from IPA 0x0 on cannot be read";
    assert!(tables.missing.iter().any(|what| what == start), "{:?}", tables.missing);
    let stage1 = "parts of stage 1 of nic, mapped wc, cannot be read";
    let without = |level: u64| {
        let stage1 = look.pages.iter().filter(|(at, _)| (0x5810_0000..0x5820_0000).contains(*at));
        let (_, sha256) = stage1.clone().nth(level as usize).unwrap();
        let mut fewer = pages.clone();
        fewer.remove(sha256);
        of(&look, &fewer)
    };
    assert!(without(0).missing.iter().any(|what| what == stage1));
}

#[test]
fn registers_of_no_guest_are_an_error_and_not_a_table() {
    let (mut look, pages) = Machine::with(NC_BLOCK).look("stored");
    look.registers.remove("VTCR_EL2");
    let tables = of(&look, &pages);
    assert_eq!((tables.stage2, tables.missing), (None, vec!["register VTCR_EL2 is not in the log".into()]));
}

#[test]
fn names_from_a_log_stay_one_word() {
    let (mut look, pages) = Machine::with(NC_BLOCK).look("sto red\n\u{1b}[2J");
    look.guest = "g\n0".into();
    let tables = of(&look, &pages);
    assert_eq!(tables.guest.to_string(), "g\\n0");
    assert!(!tables.look.contains([' ', '\n', '\u{1b}']), "{}", tables.look);
}

#[test]
fn differences_are_shown_range_by_range() {
    let pages = |bits| {
        (0..BLOCK / PAGE).map(move |n| (BAR_IPA + BLOCK + n * PAGE, BAR_PA + BLOCK + n * PAGE, 3, bits))
    };
    let old = Machine { blocks: 3, ..Machine::with(NC_BLOCK) };
    let mut new = Machine { blocks: 1, ..Machine::with(NC_BLOCK) };
    new.more = pages(NC_BLOCK).collect();
    new.more.push((RAM_IPA, RAM_PA, 3, RAM_PAGE));
    let compared = Comparison::of(&[decoded(&old)], &[decoded(&new)], false);
    let [look] = compared.looks.as_slice() else { panic!("{compared:?}") };
    let side =
        |of: &Option<Row>| of.iter().flat_map(|row| lines(std::slice::from_ref(row))).collect::<String>();
    let moved: Vec<_> = look.moves.iter().map(|of| (side(&of.old), side(&of.new))).collect();
    let block = |from, to, place| format!("{from:#x}..{to:#x} level 2 Normal-NC nic {place}");
    assert_eq!(
        moved,
        [
            (
                block(0x80_8020_0000u64, 0x80_8040_0000u64, "+0x200000..0x400000"),
                "0x8080200000..0x8080400000 level 3 Normal-NC nic +0x200000..0x400000".to_owned()
            ),
            (block(0x80_8040_0000, 0x80_8060_0000, "+0x400000..0x600000"), String::new()),
        ]
    );
    let ram: Vec<_> = look.ram.iter().map(|of| (side(&of.old), side(&of.new))).collect();
    assert_eq!(ram, [(String::new(), "0x48000000..0x48001000 level 3 Normal-WB ram".to_owned())]);
    assert!(!compared.is_same() && look.mappings.is_empty());
}

#[test]
fn ram_alone_is_no_difference_and_types_are_one() {
    let more = vec![(RAM_IPA, RAM_PA, 3, RAM_PAGE)];
    let nc = decoded(&Machine::with(NC_BLOCK));
    let same = Comparison::of(
        std::slice::from_ref(&nc),
        &[decoded(&Machine { more, ..Machine::with(NC_BLOCK) })],
        false,
    );
    assert!(same.is_same() && same.looks[0].ram.len() == 1);
    let other = Comparison::of(std::slice::from_ref(&nc), &[decoded(&Machine::with(DEVICE_BLOCK))], false);
    let [mapping] = other.looks[0].mappings.as_slice() else { panic!("{other:?}") };
    let words = |types: &std::collections::BTreeSet<String>| types.iter().cloned().collect::<String>();
    assert_eq!(words(&mapping.old), "stage 1 Normal-NC, effective Normal-NC");
    assert_eq!(words(&mapping.new), "stage 1 Normal-NC, effective Device-nGnRE");
    // Only the address of a BAR in the host differs.
    let moved = |raw| {
        let table = |pa: u64| {
            let mut tables = nc.clone();
            let ranges = &mut tables.stage2.as_mut().unwrap().ranges;
            ranges.iter_mut().for_each(|range| range.leaves.first.pa += pa);
            [tables]
        };
        Comparison::of(&table(0), &table(BLOCK), raw).is_same()
    };
    assert_eq!([moved(false), moved(true)], [true, false]);
    // Another look, and another guest.
    let named = |name: &str| LookTables { look: Word::new(name), ..nc.clone() };
    let compared = Comparison::of(&[named("a"), named("b")], &[named("b"), named("c")], false);
    let names =
        |of: &[(Word, Word)]| of.iter().map(|(look, guest)| format!("{look} {guest}")).collect::<String>();
    assert_eq!((names(&compared.only_old), names(&compared.only_new)), ("a g0".into(), "c g0".into()));
    assert!(compared.looks.len() == 1 && !compared.is_same());
}

/// What could not be read may differ.
#[test]
fn tables_with_missing_parts_are_never_the_same() {
    let whole = decoded(&Machine::with(NC_BLOCK));
    let partly = LookTables { missing: vec!["a page".into()], ..whole.clone() };
    let is_same = |old: &LookTables, new: &LookTables| {
        Comparison::of(std::slice::from_ref(old), std::slice::from_ref(new), true).is_same()
    };
    assert!(is_same(&whole, &whole));
    assert!(!is_same(&whole, &partly) && !is_same(&partly, &whole) && !is_same(&partly, &partly));
}

/// The tables of a run, from its log alone.
#[test]
fn the_looks_of_a_recorded_run() {
    let story = Story::after();
    let run = Run::fold(story.lines()).unwrap();
    let cell = run.cells.iter().find(|cell| cell.planned.key.as_str() == KEY).unwrap();
    let attempt = &cell.attempts[0];
    let pages = |digest: &str| story.pages.get(digest).cloned();
    let of = |look: &Look| LookTables::of(look, &attempt.session.around, &pages);
    let looks: Vec<_> = attempt.all::<Look>().map(|look| of(look.data)).collect();
    assert_eq!(looks.len(), 2);
    assert!(looks.iter().all(|look| look.missing.is_empty() && look.mappings.len() == 1));
}

/// Leaves of pages and blocks, which do not overlap: RAM, a BAR and nothing known.
fn leaves() -> impl Strategy<Value = Vec<(u64, u64, u64, u64)>> {
    let bits = prop_oneof![Just(NC_BLOCK), Just(DEVICE_BLOCK), Just(RAM_PAGE & !2)];
    let base = prop_oneof![Just(RAM_PA), Just(BAR_PA), Just(0x9000_0000_u64 + (1 << 32))];
    let page = (0..64u64, 0..64u64, base.clone(), bits.clone());
    let block = (0..8u64, 0..8u64, base, bits);
    let pages = proptest::collection::vec(page, 0..40);
    let blocks = proptest::collection::vec(block, 0..6);
    (pages, blocks).prop_map(|(pages, blocks)| {
        let page = |(ipa, pa, base, bits)| (RAM_IPA + ipa * PAGE, (base + pa * PAGE, 3, bits));
        let block = |(ipa, pa, base, bits)| (RAM_IPA + (1 + ipa) * BLOCK, (base + pa * BLOCK, 2, bits));
        let all: BTreeMap<_, _> = pages.into_iter().map(page).chain(blocks.into_iter().map(block)).collect();
        all.into_iter().map(|(ipa, (pa, level, bits))| (ipa, pa, level, bits)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Every byte that is mapped is in exactly one row, with the attributes and, raw, the address
    /// of its leaf; no other byte is.
    #[test]
    fn rows_cover_exactly_the_leaves(more in leaves(), raw: bool) {
        let tables = decoded(&Machine { more: more.clone(), ..Machine::with(NC_BLOCK) });
        let rows = rows(&tables, raw);
        prop_assert!(rows.windows(2).all(|two| two[0].ipa.1 <= two[1].ipa.0));
        let ours = rows.iter().filter(|row| (RAM_IPA..BAR_IPA).contains(&row.ipa.0));
        let size = |level| if level == 3 { PAGE } else { BLOCK };
        let covered: u64 = ours.map(|row| row.ipa.1 - row.ipa.0).sum();
        prop_assert_eq!(covered, more.iter().map(|leaf| size(leaf.2)).sum::<u64>());
        for (ipa, pa, level, bits) in more {
            let row = rows.iter().find(|row| row.ipa.0 <= ipa && ipa + size(level) <= row.ipa.1);
            let row = row.unwrap();
            prop_assert_eq!((row.leaf.level as u64, row.leaf.size), (level, size(level)));
            prop_assert_eq!(row.leaf.attributes() & !3, bits & !3);
            if raw {
                prop_assert_eq!(row.pa.unwrap() + (ipa - row.ipa.0), pa);
            } else {
                prop_assert_eq!(row.pa, None);
            }
        }
    }

    /// A table moves nowhere from itself; what moved covers exactly the bytes that differ.
    #[test]
    fn moves_cover_exactly_the_differences(old in leaves(), new in leaves()) {
        let table = |more: &Vec<_>| rows(&decoded(&Machine { more: more.clone(), ..Machine::with(NC_BLOCK) }), true);
        let (old, new) = (table(&old), table(&new));
        prop_assert_eq!(moves(&old, &old), vec![]);
        let found = moves(&old, &new);
        let at = |rows: &[Row], ipa: u64| rows.iter().find(|row| row.ipa.0 <= ipa && ipa < row.ipa.1).map(|row| row.part((ipa, ipa + PAGE)));
        let same = |one: &Option<Row>, other: &Option<Row>| match (one, other) {
            (Some(one), Some(other)) => one.pa == other.pa && one.place == other.place && one.is_like(&other.leaf),
            _ => one.is_none() && other.is_none(),
        };
        for page in (RAM_IPA..RAM_IPA + 10 * BLOCK).step_by(PAGE as usize) {
            let (one, other) = (at(&old, page), at(&new, page));
            let covers = |of: &Option<Row>| of.as_ref().is_some_and(|row| row.ipa.0 <= page && page < row.ipa.1);
            let moved = found.iter().find(|of| covers(&of.old) || covers(&of.new));
            prop_assert_eq!(moved.is_some(), !same(&one, &other), "{:#x}", page);
            if let Some(of) = moved {
                prop_assert_eq!((covers(&of.old), covers(&of.new)), (one.is_some(), other.is_some()));
            }
        }
    }
}
