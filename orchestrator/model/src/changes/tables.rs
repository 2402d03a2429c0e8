//! Changes of the stage-2 tables: the leaves of each region.

use super::Change;
use super::intervals::{Interval, Span, intervals, merged};
use super::shape::{END, KIND, Looks};
use super::statements::{Place, Statements};
use super::words::{became, bytes, further};
use crate::lines::{Leaves, Part, Range, Table};
use crate::report::Compared;
use crate::scenario::Size;
use crate::steps::LookLine;
use std::collections::{BTreeMap, BTreeSet};

/// The most spans that a statement has one by one.
const MOST_SPANS: usize = 4;
/// The level of pages.
const PAGES: i8 = 3;
/// The bits of a descriptor that have words of their own: DBM, contiguous, software.
const IN_WORDS: u64 = 1 << 51 | 1 << 52 | 0b1111 << 55;

/// A part of the guest's address space in which places count from one beginning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Region {
    /// `nic`, `nic BAR 0`, `unknown region`.
    name: String,
    /// The places are IPAs.
    by_ipa: bool,
}

#[derive(Default)]
struct Look<'a> {
    regions: BTreeMap<Region, Vec<(Span, &'a Range)>>,
    /// The ranges that are not shown.
    more: usize,
}

pub(super) fn changes(compared: &Compared) -> Vec<Change> {
    let Compared { old, new, same_kernel } = compared;
    let (before, now) = (looks(&old.tables), looks(&new.tables));
    let known = Looks::of(compared);
    let mut statements = Statements::new(KIND);
    for place in before.keys().chain(now.keys()).collect::<BTreeSet<_>>() {
        match (before.get(place), now.get(place)) {
            (Some(old), Some(new)) => look(old, new, *same_kernel, place, &mut statements),
            _ if known.is_one_sided(place) => {}
            (Some(_), None) => statements.add("tables", format!(": gone{END}"), place),
            _ => statements.add("tables", format!(": new{END}"), place),
        }
    }
    let beyond = further(KIND, "[tables]", old.tables.further.as_ref(), new.tables.further.as_ref());
    statements.changes().into_iter().chain(beyond).collect()
}

fn looks(part: &Part<Table>) -> BTreeMap<Place, Look<'_>> {
    let mut all: BTreeMap<Place, Look<'_>> = BTreeMap::new();
    let mut at: Option<&LookLine> = None;
    for line in &part.lines {
        if let Table::Look(line) = line {
            at = Some(line);
        }
        let look = all.entry(Place::of(at)).or_default();
        match line {
            Table::Range(range) => {
                let (region, span) = region(range);
                look.regions.entry(region).or_default().push((span, range));
            }
            Table::MoreRanges(more) => look.more = look.more.saturating_add(*more),
            Table::Look(_) | Table::Ram(_) | Table::MoreRam(_) => {}
        }
    }
    all
}

fn region(range: &Range) -> (Region, Span) {
    match &range.place {
        None => (Region { name: range.area.to_string(), by_ipa: true }, range.ipa),
        Some(place) => {
            let bar = place.bar.map(|bar| format!(" BAR {bar}")).unwrap_or_default();
            (Region { name: format!("{}{bar}", range.area), by_ipa: false }, place.bytes)
        }
    }
}

/// Adds the statements about one look.
fn look(old: &Look<'_>, new: &Look<'_>, same_kernel: bool, place: &Place, statements: &mut Statements) {
    for region in old.regions.keys().chain(new.regions.keys()).collect::<BTreeSet<_>>() {
        let old = old.regions.get(region).map(Vec::as_slice).unwrap_or_default();
        let new = new.regions.get(region).map(Vec::as_slice).unwrap_or_default();
        let leaves = format!("{}'s leaves", region.name);
        [&region.name, &leaves].into_iter().for_each(|subject| statements.exists(subject, place));
        let Some(intervals) = intervals(old, new) else {
            if old != new {
                statements.add(&region.name, format!(": its ranges differ{END}"), place);
            }
            continue;
        };
        let attributes = same_kernel && attributes(old) == attributes(new);
        for (subject, predicate) in Comparison::of(region, &intervals, attributes).statements() {
            statements.add(&subject, format!("{predicate}{END}"), place);
        }
    }
    if old.more != new.more {
        statements.add("tables", format!(": {} further ranges became {}{END}", old.more, new.more), place);
    }
}

/// Returns the attributes in words. If they differ, the promised part says so.
fn attributes(ranges: &[(Span, &Range)]) -> BTreeSet<String> {
    ranges.iter().map(|(_, range)| range.leaves.attributes.to_string()).collect()
}

/// The size and the level of leaves.
type Grain = (Size, i8);

/// The intervals of a region by what differs in them.
struct Comparison<'a> {
    region: &'a Region,
    /// The bytes that both sides map.
    common: u128,
    grains: BTreeMap<(Grain, Grain), Vec<Span>>,
    /// By the old and the new value.
    values: BTreeMap<(String, String), Vec<Span>>,
    mapped: Vec<Span>,
    unmapped: Vec<Span>,
}

impl<'a> Comparison<'a> {
    fn of(region: &'a Region, intervals: &[Interval<'_>], attributes: bool) -> Self {
        let mut out = Self {
            region,
            common: 0,
            grains: BTreeMap::new(),
            values: BTreeMap::new(),
            mapped: vec![],
            unmapped: vec![],
        };
        for Interval { span, old, new } in intervals {
            match (old, new) {
                (Some(old), Some(new)) => {
                    out.common += length(*span);
                    let grain = |range: &Range| (range.leaves.size, range.leaves.level);
                    if grain(old) != grain(new) {
                        out.grains.entry((grain(old), grain(new))).or_default().push(*span);
                    }
                    let pairs = values(old, attributes).into_iter().zip(values(new, attributes));
                    for pair in pairs.filter(|(old, new)| old != new) {
                        out.values.entry(pair).or_default().push(*span);
                    }
                }
                (Some(_), None) => out.unmapped.push(*span),
                (None, _) => out.mapped.push(*span),
            }
        }
        out
    }

    /// Returns the statements, each with its subject.
    fn statements(&self) -> Vec<(String, String)> {
        let name = || self.region.name.clone();
        let mut out = vec![];
        for ((old, new), spans) in &self.grains {
            match self.is_everywhere(spans) {
                true => out.push((format!("{}'s leaves", name()), went(*old, *new))),
                false => out.extend(self.blocks(*old, *new, spans).map(|predicate| (name(), predicate))),
            }
        }
        for ((old, new), spans) in &self.values {
            let place = if self.is_everywhere(spans) { String::new() } else { self.within(spans) };
            out.push((name(), format!(": {}{place}", became(old, new))));
        }
        for (spans, words) in [(&self.mapped, "mapped now"), (&self.unmapped, "no longer mapped")] {
            if !spans.is_empty() {
                out.push((name(), format!(": {words}{}", self.within(spans))));
            }
        }
        out
    }

    fn is_everywhere(&self, spans: &[Span]) -> bool {
        spans.iter().map(|span| length(*span)).sum::<u128>() == self.common
    }

    /// Returns a predicate for each span, or one for all if they are many.
    fn blocks(&self, old: Grain, new: Grain, spans: &[Span]) -> impl Iterator<Item = String> {
        let spans = merged(spans);
        let first = spans.first().map(|span| self.start(*span)).unwrap_or_default();
        let one = |span: &Span| {
            let (of, to) = (leaves(old, *span), leaves(new, *span));
            format!(": the {} at {} became {}", of.definite(), self.start(*span), to.indefinite())
        };
        match spans.len() {
            0..=MOST_SPANS => spans.iter().map(one).collect::<Vec<_>>().into_iter(),
            n => vec![format!(": {n} ranges, the first at {first},{}", went(old, new))].into_iter(),
        }
    }

    fn within(&self, spans: &[Span]) -> String {
        let spans = merged(spans);
        let one = |span: &Span| format!("{}..{:#x}", self.start(*span), span.1);
        match spans.as_slice() {
            [first, ..] if spans.len() > MOST_SPANS => {
                format!(" in {} ranges, the first at {}", spans.len(), self.start(*first))
            }
            spans => format!(" in {}", spans.iter().map(one).collect::<Vec<_>>().join(", ")),
        }
    }

    /// The beginning of a span in words.
    fn start(&self, (from, _): Span) -> String {
        if self.region.by_ipa { format!("IPA {from:#x}") } else { format!("+{from:#x}") }
    }
}

fn length((from, to): Span) -> u128 {
    u128::from(to.saturating_sub(from))
}

/// ` went from 2M to 4K`
fn went(old: Grain, new: Grain) -> String {
    match (old, new) {
        ((old, level), (new, other)) if old == new => format!(" went from level {level} to level {other}"),
        ((old, _), (new, _)) => format!(" went from {old} to {new}"),
    }
}

/// Returns what the kernel chooses beside the grain, one text for each property.
fn values(range: &Range, with_attributes: bool) -> Vec<String> {
    let Leaves { contiguous, dbm, software, attributes, .. } = &range.leaves;
    let begin = range.place.as_ref().map_or(range.ipa.0, |place| place.bytes.0);
    let bit = |is_set: &bool, set: &str, clear: &str| (if *is_set { set } else { clear }).to_owned();
    let mut out = vec![
        format!("IPA {:#x}", range.ipa.0.wrapping_sub(begin)),
        bit(contiguous, "contiguous", "not contiguous"),
        bit(dbm, "DBM", "no DBM"),
        format!("software bits {software:#x}"),
        format!("other bits {:#x}", range.leaves.other_bits() & !IN_WORDS),
    ];
    if with_attributes {
        out.push(attributes.to_string().replace("  ", ", "));
    }
    out
}

/// A number of leaves.
struct Count {
    count: u128,
    grain: Grain,
}

fn leaves(grain @ (size, _): Grain, span: Span) -> Count {
    Count { count: length(span).div_ceil(u128::from(size.0.max(1))), grain }
}

impl Count {
    /// `2 MiB block`, `512 pages`, `3 blocks of 2 MiB`
    fn definite(&self) -> String {
        match (self.grain, self.count) {
            ((_, PAGES), 1) => "page".into(),
            ((_, PAGES), n) => format!("{n} pages"),
            ((size, _), 1) => format!("{} block", bytes(size)),
            ((size, _), n) => format!("{n} blocks of {}", bytes(size)),
        }
    }

    fn indefinite(&self) -> String {
        if self.count == 1 { format!("a {}", self.definite()) } else { self.definite() }
    }
}
