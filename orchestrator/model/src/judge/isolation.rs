//! Promise I17: a guest's stage 2 maps only what the guest was given, and the tables have their
//! decoded meaning. It is judged at every look, for every scenario. Each rule is linear or n log n
//! in the number of leaves.

mod rules;
mod walked;

#[cfg(test)]
mod tests;

use crate::finding::{Finding, Subject, Weight};
use crate::record::kept::{self, Kept, KeptMemory};
use crate::record::look::{DecodedLook, GuestTables};
use crate::record::{Record, virt};
use crate::regions::RegionName;
use crate::scenario::Promise;
use s2lab_mmu::Stage2Leaf;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// The most foreign leaves that are shown as evidence.
const MOST_LEAVES: usize = 4;

/// The target of a leaf that its guest was not given. The first name counts if there are several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Kept(Kept),
    /// A table of this guest's stage 2.
    Table(String),
    /// A table of the stage 2 of the guest that was looked at, which this other guest can reach.
    Reached(String),
    /// Memory of this other guest.
    Ram(String),
    /// This device's BAR, which the guest has at another IPA.
    BarAgain(String),
    /// A BAR of this device, where the guest has other things than PCI.
    BarElsewhere(String),
    /// A page that the guest can write to at another IPA, or at this one.
    Again,
    /// RAM at an IPA where the guest has none.
    Outside,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Kept(kept) => kept.fmt(f),
            What::Table(guest) => write!(f, "a stage-2 table of {guest}"),
            What::Reached(guest) => write!(f, "a stage-2 table of this guest, mapped by {guest}"),
            What::Ram(guest) => write!(f, "RAM of {guest}"),
            What::BarAgain(device) => write!(f, "the BAR of {device} at a second IPA"),
            What::BarElsewhere(device) => write!(f, "a BAR of {device} where the guest has no PCI memory"),
            What::Again => f.write_str("a writable page at a second IPA"),
            What::Outside => f.write_str("RAM of the host where the guest has none"),
        }
    }
}

/// A leaf that must not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign {
    leaf: Stage2Leaf,
    what: What,
}

/// The inputs of the rules for a look.
pub(super) struct Scene<'a> {
    guest: &'a str,
    /// The step of the look.
    step: usize,
    seen: &'a GuestTables,
    record: &'a Record,
    kept: &'a KeptMemory,
    /// The guest's RAM by the plan.
    ram: Range<u64>,
}

impl<'a> Scene<'a> {
    fn of(
        record: &'a Record,
        look: &'a DecodedLook,
        seen: &'a GuestTables,
        kept: &'a KeptMemory,
    ) -> Scene<'a> {
        let memory = record.planned.resolved.guests.get(&look.guest).map_or(0, |guest| guest.memory.0);
        Scene { guest: &look.guest, step: look.step, seen, record, kept, ram: virt::ram(memory) }
    }

    /// Yields every leaf, with any target.
    fn leaves(&self) -> impl Iterator<Item = &'a Stage2Leaf> {
        let GuestTables { ram, devices, gicv, unknown, .. } = self.seen;
        ram.iter().chain(devices.values().flatten()).chain(gicv).chain(unknown)
    }

    /// Returns the foreign leaves, each once, the most severe first.
    fn foreign(&self) -> Vec<Foreign> {
        let mut found: BTreeMap<_, Foreign> = BTreeMap::new();
        for foreign in rules::ALL.iter().flat_map(|rule| rule(self)) {
            // A leaf of another guest may have the same IPA.
            let other = if let What::Reached(guest) = &foreign.what { Some(guest.clone()) } else { None };
            let known = found.entry((other, foreign.leaf.ipa)).or_insert_with(|| foreign.clone());
            if foreign.what < known.what {
                *known = foreign;
            }
        }
        let mut found: Vec<_> = found.into_values().collect();
        // The sort is stable: within one kind the IPAs ascend.
        found.sort_by(|a, b| a.what.cmp(&b.what));
        found
    }
}

/// Returns the physical addresses that a leaf maps.
fn mapped(leaf: &Stage2Leaf) -> Range<u64> {
    leaf.pa..leaf.pa.saturating_add(leaf.size)
}

/// The result of I17 for one look.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    /// True if the look saw only what its guest was given.
    pub(crate) own: bool,
    findings: Vec<Finding>,
}

/// Returns the result of I17 for each look, in the order of the looks. Judgement and report share
/// it.
pub(crate) fn of_looks(record: &Record, looks: &[DecodedLook]) -> Vec<Isolation> {
    let kept = KeptMemory::of(&record.session.around);
    looks.iter().map(|look| of_look(record, look, &kept)).collect()
}

fn of_look(record: &Record, look: &DecodedLook, kept: &KeptMemory) -> Isolation {
    let Ok(seen) = &look.seen else { return Isolation::default() };
    let foreign = Scene::of(record, look, seen, kept).foreign();
    let given = record.planned.resolved.guests.get(&look.guest);
    let all_given = seen.unknown.is_empty() && RegionName::not_given(given, seen).is_empty();
    let place = Subject::look(look);
    let of_leaves = not_given(&foreign, &place).into_iter();
    let of_tables = walked::controls(seen, &place).into_iter().chain(walked::contiguous(seen, &place));
    let findings = of_leaves.chain(of_tables).chain(walked::stores(record, look, seen, &place)).collect();
    Isolation { own: all_given && foreign.is_empty(), findings }
}

/// Returns the findings of I17. `of_looks` is the result of [`of_looks`].
pub(super) fn findings(record: &Record, looks: &[DecodedLook], of_looks: &[Isolation]) -> Vec<Finding> {
    let of_each = of_looks.iter().flat_map(|look| look.findings.iter().cloned());
    let all = account(record).into_iter().chain(of_each).chain(walked::bases(looks));
    all.map(|finding| finding.breaking(Promise::ISOLATION)).collect()
}

/// Returns the finding of a host whose account of its kernel differs from QEMU's: its reserved
/// memory is then unknown.
fn account(record: &Record) -> Option<Finding> {
    let why = kept::account(&record.session.around).err()?;
    let expected = "code and data in the image that QEMU has loaded, and at most a third of it between them";
    Some(Finding::new(Weight::Lab, Subject::cell(), "the host's account of its kernel", expected, why))
}

/// Returns one finding for a look: the first foreign page, and the number of the others by kind.
fn not_given(foreign: &[Foreign], place: &Subject) -> Option<Finding> {
    let first = foreign.first()?;
    let Foreign { leaf, what } = first;
    let mut found = format!("IPA {:#x} -> PA {:#x}: {what}", leaf.ipa, leaf.pa);
    if foreign.len() > 1 {
        found.push_str(&format!("; {} more leaves", foreign.len() - 1));
    }
    let mut kinds: BTreeMap<&What, usize> = BTreeMap::new();
    foreign.iter().for_each(|foreign| *kinds.entry(&foreign.what).or_default() += 1);
    let leaves = foreign.iter().take(MOST_LEAVES).map(|Foreign { leaf, what }| {
        let access = format!("{}{}", if leaf.read { "r" } else { "-" }, if leaf.write { "w" } else { "-" });
        let (ipa, pa, size) = (leaf.ipa, leaf.pa, leaf.size);
        format!("IPA {ipa:#x} -> PA {pa:#x}, {size:#x} bytes, {}, {access}: {what}", leaf.attr)
    });
    let detail = leaves.chain(kinds.iter().map(|(what, n)| format!("{n} x {what}")));
    let (what, expected) = (format!("isolation at {place}"), "only what the guest was given");
    Some(Finding::new(Weight::Tables, place.clone(), what, expected, found).with(detail))
}
