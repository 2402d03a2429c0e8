//! The differences between two tables, range by range.

use super::{LookTables, Mapped, Row, Stage1Table};
use crate::lines::{Area, Word, effective_name};
use s2lab_protocol::MapKind;
use std::collections::{BTreeMap, BTreeSet};

/// The differences between the looks of two cells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The looks that both have, in the order of the old one.
    pub looks: Vec<LookComparison>,
    /// The looks, each with its guest, that only the old one has.
    pub only_old: Vec<(Word, Word)>,
    pub only_new: Vec<(Word, Word)>,
}

/// The differences between two looks of the same name at guests of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookComparison {
    pub look: Word,
    pub guest: Word,
    /// The differences of all that is not RAM.
    pub moves: Vec<Move>,
    /// The differences of RAM, which vary from run to run.
    pub ram: Vec<Move>,
    pub mappings: Vec<MappingMove>,
    /// False: parts of a side could not be read, and may be alike.
    pub whole: bool,
}

/// A mapping with other types. Its addresses vary from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingMove {
    pub device: Word,
    pub map: MapKind,
    /// The types of stage 1 and of both stages together, in words; none: not mapped.
    pub old: BTreeSet<String>,
    pub new: BTreeSet<String>,
}

impl Comparison {
    /// Compares the looks of two cells. `raw`: also the addresses in the host.
    pub fn of(old: &[LookTables], new: &[LookTables], raw: bool) -> Comparison {
        let name = |tables: &LookTables| (tables.look.clone(), tables.guest.clone());
        let only = |these: &[LookTables], those: &[LookTables]| {
            let others: BTreeSet<_> = those.iter().map(name).collect();
            these.iter().map(name).filter(|name| !others.contains(name)).collect()
        };
        let both = old.iter().filter_map(|old| {
            let new = new.iter().find(|new| name(new) == name(old))?;
            Some(LookComparison::of(old, new, raw))
        });
        Comparison { looks: both.collect(), only_old: only(old, new), only_new: only(new, old) }
    }

    /// Returns true if nothing differs but RAM.
    pub fn is_same(&self) -> bool {
        self.only_old.is_empty() && self.only_new.is_empty() && self.looks.iter().all(LookComparison::is_same)
    }
}

impl LookComparison {
    fn of(old: &LookTables, new: &LookTables, raw: bool) -> LookComparison {
        let rows = |of: &LookTables| of.stage2.as_ref().map(|table| table.rows(raw)).unwrap_or_default();
        let (ram, moves) = moves(&rows(old), &rows(new)).into_iter().partition(Move::is_of_ram);
        let (look, guest) = (old.look.clone(), old.guest.clone());
        let mappings = mappings(&old.mappings, &new.mappings);
        let whole = old.missing.is_empty() && new.missing.is_empty();
        LookComparison { look, guest, moves, ram, mappings, whole }
    }

    /// Returns true if both sides are whole, and nothing differs but RAM.
    pub fn is_same(&self) -> bool {
        self.whole && self.moves.is_empty() && self.mappings.is_empty()
    }
}

fn mappings(old: &[Stage1Table], new: &[Stage1Table]) -> Vec<MappingMove> {
    let of = |tables: &[Stage1Table]| -> BTreeMap<(Word, MapKind), BTreeSet<String>> {
        tables.iter().map(|table| ((table.device.clone(), table.map), table.types())).collect()
    };
    let (old, new) = (of(old), of(new));
    let all: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let moved = all.into_iter().filter(|mapping| old.get(mapping) != new.get(mapping));
    let of = |mapping: &(Word, MapKind)| {
        let [old, new] = [&old, &new].map(|side| side.get(mapping).cloned().unwrap_or_default());
        let (device, map) = mapping.clone();
        MappingMove { device, map, old, new }
    };
    moved.map(of).collect()
}

impl Stage1Table {
    /// Returns each combination of types in words.
    fn types(&self) -> BTreeSet<String> {
        let words = |mapped: &Mapped| match mapped {
            Mapped::To { leaf, effective, is_bar: true, .. } => {
                format!("stage 1 {}, effective {}", leaf.attr, effective_name(*effective))
            }
            Mapped::To { .. } => "leads elsewhere".into(),
            Mapped::Not => "not mapped by stage 1".into(),
            Mapped::Unreadable => "not readable".into(),
        };
        self.ranges.iter().map(|range| words(&range.mapped)).collect()
    }
}

/// A range of IPAs that two tables map differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The part of the old table's row; None: not mapped.
    pub old: Option<Row>,
    /// The part of the new table's row; None: not mapped.
    pub new: Option<Row>,
}

impl Move {
    /// Returns true if no side maps anything else.
    fn is_of_ram(&self) -> bool {
        self.old.iter().chain(&self.new).all(|row| row.area == Area::Ram)
    }
}

/// Returns what differs, ascending by IPA. The rows of each side ascend and do not overlap.
pub fn moves(old: &[Row], new: &[Row]) -> Vec<Move> {
    let ends = |row: &Row| [row.ipa.0, row.ipa.1];
    let borders: BTreeSet<u64> = old.iter().chain(new).flat_map(ends).collect();
    let mut moves = vec![];
    let (mut old, mut new) = (Side::of(old), Side::of(new));
    for (&from, &to) in borders.iter().zip(borders.iter().skip(1)) {
        let (old, new) = (old.part(from, to), new.part(from, to));
        if !is_same(old.as_ref(), new.as_ref()) {
            moves.push(Move { old, new });
        }
    }
    moves
}

/// The rows of one side that are not over yet.
struct Side<'a> {
    rows: std::iter::Peekable<std::slice::Iter<'a, Row>>,
}

impl<'a> Side<'a> {
    fn of(rows: &'a [Row]) -> Self {
        Self { rows: rows.iter().peekable() }
    }

    /// Returns the part of the row with these IPAs, which are inside of one row or of none.
    fn part(&mut self, from: u64, to: u64) -> Option<Row> {
        while self.rows.next_if(|row| row.ipa.1 <= from).is_some() {}
        let row = self.rows.peek().filter(|row| row.ipa.0 <= from)?;
        Some(row.part((from, to)))
    }
}

fn is_same(old: Option<&Row>, new: Option<&Row>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return old.is_none() && new.is_none() };
    let of = |row: &Row| (row.area.clone(), row.place.clone(), row.pa);
    of(old) == of(new) && old.is_like(&new.leaf)
}
