//! A guest's physical address space at a look, as a report has it: regions with the blocks of
//! alike leaves in them.

use s2lab_model::{
    lines::{Isolation, Leaves, Place, Promised, Range, Region, Table, Word},
    report::Report,
    scenario,
    steps::{LookLine, StepLine},
};
use s2lab_os::size::Size;
use std::collections::BTreeMap;

/// The most looks of a report that are shown.
const MOST_LOOKS: usize = 32;

/// The spaces of a guest that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) guest: Word,
    /// The looks at which the guest had this space.
    pub(super) looks: Vec<Word>,
    /// The regions, by their first address.
    pub(super) regions: Vec<Mapped>,
    /// The number of ranges that the report leaves out.
    pub(super) left_out: usize,
}

/// A region of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapped {
    /// `nic`, `nic BAR 0`, `ram`.
    pub(super) name: String,
    /// The IPAs, without the last. None: RAM of unknown place.
    pub(super) ipa: Option<(u64, u64)>,
    pub(super) blocks: Vec<Block>,
}

/// Leaves that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// The IPAs, without the last. None: they are anywhere in the region.
    pub(super) ipa: Option<(u64, u64)>,
    /// The type by its name, which is the name of a colour too.
    pub(super) of: String,
    /// The number of leaves; 0: none is mapped, or all of RAM.
    pub(super) count: u64,
    /// All that the report says of it, in one line.
    pub(super) line: String,
}

impl Space {
    /// Returns the spaces in a report, up to [`MOST_LOOKS`]. Looks at which a guest had the same are
    /// one.
    pub(super) fn all(report: &Report) -> Vec<Space> {
        let mut spaces: Vec<Space> = vec![];
        for (look, lines) in looks(&report.tables.lines, as_look).take(MOST_LOOKS) {
            let promised = looks(&report.promised.lines, promised_look).find(|(of, _)| *of == look);
            let promised = promised.map(|(_, lines)| lines);
            let space = Space::of(look, lines, promised.unwrap_or_default());
            match spaces.iter_mut().find(|known| known.is_alike(&space)) {
                Some(known) => known.looks.extend(space.looks),
                None => spaces.push(space),
            }
        }
        spaces
    }

    fn of(look: &LookLine, tables: &[Table], promised: &[Promised]) -> Space {
        let mut devices: BTreeMap<String, Mapped> = BTreeMap::new();
        let mut left_out = 0;
        for line in tables {
            match line {
                Table::Range(range) => Mapped::add(&mut devices, range),
                Table::MoreRanges(n) => left_out += n,
                Table::Look(_) | Table::Ram(_) | Table::MoreRam(_) => {}
            }
        }
        let mut regions: Vec<_> = devices.into_values().chain(ram(tables, promised)).collect();
        regions.sort_by_key(|region| region.ipa);
        Space { guest: look.guest.clone(), looks: vec![look.name.clone()], regions, left_out }
    }

    /// Returns true if both are one guest's and look the same. RAM varies as the guest runs; only
    /// its types count.
    pub(super) fn is_alike(&self, other: &Space) -> bool {
        let seen = |space: &Space| {
            let regions = space.regions.iter().map(|Mapped { name, ipa, blocks }| {
                let of = |block: &Block| {
                    (block.ipa, block.of.clone(), block.ipa.is_some().then(|| block.line.clone()))
                };
                (name.clone(), *ipa, blocks.iter().map(of).collect::<Vec<_>>())
            });
            (space.guest.clone(), regions.collect::<Vec<_>>(), space.left_out)
        };
        seen(self) == seen(other)
    }

    /// Returns true if both are of one guest at one of the same looks.
    pub(super) fn is_of(&self, other: &Space) -> bool {
        self.guest == other.guest && self.looks.iter().any(|look| other.looks.contains(look))
    }
}

impl Mapped {
    /// Adds the leaves of a device, or of no region.
    fn add(to: &mut BTreeMap<String, Mapped>, range: &Range) {
        let Range { area, place, ipa, leaves } = range;
        let bar = place.as_ref().and_then(|place| place.bar);
        let name = bar.map_or_else(|| area.to_string(), |bar| format!("{area} BAR {bar}"));
        let (from, to_ipa) = *ipa;
        let block = Block {
            ipa: Some(*ipa),
            of: leaves.attributes.stage2.to_string(),
            count: leaves.count,
            line: format!("{}{}, IPA {from:#x}..{to_ipa:#x}", bytes(place.as_ref()), in_words(leaves)),
        };
        let new = || Mapped { name: name.clone(), ipa: Some(*ipa), blocks: vec![] };
        let region = to.entry(name.clone()).or_insert_with(new);
        region.ipa = region.ipa.map(|(start, end)| (start.min(from), end.max(to_ipa)));
        region.blocks.push(block);
    }
}

/// The place in a BAR, before the leaves.
fn bytes(place: Option<&Place>) -> String {
    place.map(|Place { bytes: (from, to), .. }| format!("+{from:#x}..{to:#x}: ")).unwrap_or_default()
}

/// `1 x 2M level 2, Normal-NC  rw  never-exec  SH inner  AF`
fn in_words(leaves: &Leaves) -> String {
    let Leaves { count, size, level, attributes, contiguous, .. } = leaves;
    let contiguous = if *contiguous { ", contiguous" } else { "" };
    let attributes = attributes.to_string().replace("  ", " ");
    format!("{count} x {size} level {level}, {attributes}{contiguous}")
}

/// Returns a guest's RAM. The report has its place if the guest maps only its own, its types always,
/// and how many leaves of each kind are mapped.
fn ram(tables: &[Table], promised: &[Promised]) -> Option<Mapped> {
    let ipa = promised.iter().find_map(|line| match line {
        Promised::Isolation(Isolation::Own { memory: scenario::Size(size), start, .. }) => {
            Some((*start, start.checked_add(*size)?))
        }
        _ => None,
    });
    let mut blocks: Vec<Block> = promised.iter().filter_map(ram_type).collect();
    for block in &mut blocks {
        let mapped = tables.iter().filter_map(|line| match line {
            Table::Ram(leaves) if *leaves.attributes.stage2 == *block.of => {
                Some(leaves.count.saturating_mul(leaves.size.0))
            }
            _ => None,
        });
        let mapped = mapped.fold(0, u64::saturating_add);
        block.line = format!("{}, {} mapped at this look, which varies", block.line, Size(mapped));
    }
    (!blocks.is_empty()).then(|| Mapped { name: "ram".into(), ipa, blocks })
}

fn ram_type(line: &Promised) -> Option<Block> {
    let Promised::Region(Region::Ram { stage2, sh }) = line else { return None };
    let sh = sh.map_or_else(|| "no SH".into(), |sh| format!("SH {sh}"));
    Some(Block { ipa: None, of: stage2.to_string(), count: 0, line: format!("stage2 {stage2} {sh}") })
}

/// Returns the lines that follow each look, up to the next one.
fn looks<'a, L>(
    lines: &'a [L],
    as_step: fn(&'a L) -> Option<Step<'a>>,
) -> impl Iterator<Item = (&'a LookLine, &'a [L])> {
    let steps = lines.iter().enumerate().filter_map(move |(at, line)| Some((at, as_step(line)?)));
    let steps: Vec<_> = steps.collect();
    let ends: Vec<_> = steps.iter().skip(1).map(|(at, _)| *at).chain([lines.len()]).collect();
    steps.into_iter().zip(ends).filter_map(|((at, step), end)| match step {
        Step::Look(look) => Some((look, lines.get(at + 1..end)?)),
        Step::Other => None,
    })
}

/// A line at which a look's lines end.
enum Step<'a> {
    Look(&'a LookLine),
    Other,
}

fn as_look(line: &Table) -> Option<Step<'_>> {
    match line {
        Table::Look(look) => Some(Step::Look(look)),
        _ => None,
    }
}

fn promised_look(line: &Promised) -> Option<Step<'_>> {
    match line {
        Promised::Step(StepLine::Look(look)) => Some(Step::Look(look)),
        Promised::Step(_) => Some(Step::Other),
        _ => None,
    }
}
