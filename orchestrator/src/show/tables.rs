//! The tables of looks in columns, like those of the kernel's ptdump
//! (arch/arm64/kvm/ptdump.c, `stage2_page_tables` in debugfs).

pub mod json;

use s2lab_mmu::{Exec, Shareability, Stage1Leaf, Stage2Leaf};
use s2lab_model::{
    escape,
    lines::{Place, effective_name},
    plan::Key,
    tables::{
        Comparison, LookComparison, LookTables, Mapped, MappingMove, Move, Row, Stage1Range, Stage1Table,
        Stage2Table,
    },
};

/// Returns the tables of a look under a headline.
pub fn look(of: &str, tables: &LookTables, raw: bool) -> String {
    let LookTables { look, guest, missing, stage2, mappings } = tables;
    let mut lines = vec![format!("{of}  look {look}  guest {guest}")];
    lines.extend(missing.iter().map(|what| not_readable(what)));
    if let Some(table) = stage2 {
        lines.push(marker(table, raw));
        lines.extend(table.remarks.iter().map(|remark| format!("remark: {remark}")));
        lines.extend(table.rows(raw).iter().map(row));
    }
    for mapping in mappings {
        lines.push(mapped(mapping));
        lines.extend(mapping.ranges.iter().map(|range| stage1(range, raw)));
    }
    lines.join("\n") + "\n"
}

/// Returns the tables as they are now, for a person in the host's shell.
pub fn now(key: &Key, tables: &LookTables) -> String {
    look(key.as_str(), tables, false)
}

/// Returns what differs between two cells, look by look.
pub fn comparison(old: &Key, new: &Key, of: &Comparison) -> String {
    let mut lines = vec![format!("--- {old}"), format!("+++ {new}")];
    let name = |look, guest| format!("look {look}  guest {guest}");
    for one in &of.looks {
        lines.push(name(&one.look, &one.guest));
        lines.extend(differences(one));
    }
    for (only, whose) in [(&of.only_old, old), (&of.only_new, new)] {
        let only = only.iter().map(|(look, guest)| format!("{}  only in {whose}", name(look, guest)));
        lines.extend(only);
    }
    lines.join("\n") + "\n"
}

fn differences(of: &LookComparison) -> Vec<String> {
    let mut lines: Vec<String> = of.mappings.iter().flat_map(mapping_moved).collect();
    lines.extend(of.moves.iter().flat_map(moved));
    if !of.whole {
        lines.push("parts are not readable; the rest was compared".into());
    } else if of.is_same() {
        lines.push("same".into());
    }
    if !of.ram.is_empty() {
        lines.push(format!("ram varies from run to run; {} ranges differ", of.ram.len()));
        lines.extend(of.ram.iter().flat_map(moved));
    }
    lines
}

fn moved(of: &Move) -> impl Iterator<Item = String> {
    let side = |sign: &str, of: &Option<Row>| of.as_ref().map(|of| format!("{sign} {}", row(of)));
    [side("-", &of.old), side("+", &of.new)].into_iter().flatten()
}

fn mapping_moved(of: &MappingMove) -> Vec<String> {
    let MappingMove { device, map, old, new } = of;
    let line = |sign: &str, types: &String| format!("{sign} {device} mapped {map}  {types}");
    old.iter().map(|types| line("-", types)).chain(new.iter().map(|types| line("+", types))).collect()
}

/// Returns the line about something that could not be read. It may quote a log from anywhere.
pub fn not_readable(what: &str) -> String {
    format!("not readable: {}", escape::line(what))
}

/// The line before the ranges. ptdump's has the IPA bits and the start level.
fn marker(table: &Stage2Table, raw: bool) -> String {
    let Stage2Table { granule, ipa_bits, start_level, vmid, base, .. } = table;
    let base = if raw { format!("  table {base:#x}") } else { String::new() };
    format!("---[ IPA bits {ipa_bits} start lvl {start_level} ]---  granule {granule}  VMID {vmid}{base}")
}

fn row(row: &Row) -> String {
    let Row { ipa, leaf, area, place, pa } = row;
    let Stage2Leaf { level, attr, read, write, exec, af, .. } = *leaf;
    let flags = format!(
        "{} {} {} {} {}",
        flag(read, "R"),
        flag(write, "W"),
        executable(exec),
        flag(af, "AF"),
        flag(level < LAST_LEVEL, "BLK")
    );
    let place = place.as_ref().map(|place: &Place| format!(" {place}")).unwrap_or_default();
    let raw = pa.map(|pa| format!("  PA {pa:#018x}  desc {:#018x}", leaf.descriptor)).unwrap_or_default();
    let columns = format!("{} {level} {flags}  {attr:<13}  {:<11}", extent(*ipa), shareability(leaf.sh));
    format!("{columns}  {area}{place}{}{raw}", extras(leaf))
}

/// The level of pages.
const LAST_LEVEL: i8 = 3;

/// The words for what is seldom set.
fn extras(leaf: &Stage2Leaf) -> String {
    let software = format!("software {:#x}", leaf.software);
    let all = [(leaf.contiguous, "CONT"), (leaf.dbm, "DBM"), (leaf.software != 0, software.as_str())];
    all.iter().filter(|(is_set, _)| *is_set).map(|(_, word)| format!("  {word}")).collect()
}

fn mapped(table: &Stage1Table) -> String {
    let Stage1Table { device, map, bar, ranges } = table;
    let none = if ranges.is_empty() { ": stage 2 maps nothing of it" } else { "" };
    format!("---[ stage 1 of {device} mapped {map}, BAR {} at IPA {:#x} ]---{none}", bar.index, bar.start)
}

fn stage1(range: &Stage1Range, raw: bool) -> String {
    let extent = extent(range.va);
    let (leaf, ipa, effective, is_bar) = match &range.mapped {
        Mapped::To { leaf, ipa, effective, is_bar } => (leaf, ipa, effective, is_bar),
        Mapped::Not => return format!("{extent}   not mapped"),
        Mapped::Unreadable => return format!("{extent}   not readable"),
    };
    let Stage1Leaf { level, attr, user, write, exec, af, sh, .. } = leaf;
    let flags = format!(
        "{} {} {} {} {}",
        flag(*user, "U"),
        flag(*write, "W"),
        executable(*exec),
        flag(*af, "AF"),
        flag(level.is_some_and(|level| level < LAST_LEVEL), "BLK")
    );
    let level = level.map_or_else(|| "-".into(), |level| level.to_string());
    let effective = match is_bar {
        true => format!("effective {}", effective_name(*effective)),
        false => "not the BAR".into(),
    };
    let raw = match leaf.descriptor.filter(|_| raw) {
        Some(descriptor) => format!("  desc {descriptor:#018x}"),
        None => String::new(),
    };
    let columns = format!("{extent} {level} {flags}  {attr:<13}  {:<11}", shareability(*sh));
    format!("{columns}  IPA {ipa:#x}  {effective}{raw}")
}

/// Returns the addresses of a range and its size, as ptdump has them.
fn extent((from, to): (u64, u64)) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    let mut size = (to - from) >> 10;
    let mut unit = 0;
    while size != 0 && size.is_multiple_of(1024) && unit + 1 < UNITS.len() {
        size >>= 10;
        unit += 1;
    }
    let unit = UNITS.get(unit).copied().unwrap_or_default();
    format!("{from:#018x}-{to:#018x} {size:>9}{unit}")
}

/// Returns a word, or as many spaces.
fn flag(is_set: bool, word: &str) -> String {
    if is_set { word.to_owned() } else { " ".repeat(word.len()) }
}

/// Returns `X` or `NX`; `UX` and `PX` if only EL0 or only EL1 may execute it.
fn executable(exec: Exec) -> &'static str {
    match (exec.el0, exec.el1) {
        (true, true) => "X ",
        (true, false) => "UX",
        (false, true) => "PX",
        (false, false) => "NX",
    }
}

fn shareability(sh: Option<Shareability>) -> String {
    sh.map_or_else(|| "no SH".into(), |sh| format!("SH {sh}"))
}
