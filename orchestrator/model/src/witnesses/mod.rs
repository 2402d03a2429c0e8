//! The witnesses of what the looks saw, each compared with the walk. One file each, and one row in
//! [`ALL`].

pub(crate) mod behaviour;
mod bytes;
mod faults;
mod placement;
mod ptdump;
mod smaps;
mod taint;
mod tlbi;
mod vmid;
mod vmm;
mod walk;

use crate::finding::Finding;
use crate::lines::{Testimony, Text};
use crate::record::Record;
use crate::record::look::{DecodedLook, GuestTables};

/// Every witness, in the order in which reports name them.
pub(crate) static ALL: &[&dyn Witness] = &[
    &walk::Walk,
    &placement::Placement,
    &smaps::Smaps,
    &bytes::Bytes,
    &behaviour::Behaviour,
    &taint::Taint,
    &vmid::Vmid,
    &tlbi::Tlbi,
    &vmm::Vmm,
    &faults::Faulting,
    &ptdump::Ptdump,
    // A new one comes last: reports keep the order.
];

/// The reason of a witness of BARs that has seen none.
const NO_LEAF: &str = "no leaf of a BAR was seen";

/// A source of facts about what a look saw.
pub(crate) trait Witness: Sync {
    /// Returns the word for it in reports.
    fn name(&self) -> &'static str;

    /// Returns true if the witness exists in this attempt.
    fn applies(&self, _record: &Record) -> bool {
        true
    }

    /// Returns true if it depends on QEMU or on the machine if the witness speaks. Its testimony is
    /// then a variable fact of the environment, unless it contradicts.
    fn is_variable(&self) -> bool {
        false
    }

    /// Returns its testimony on an attempt that came to its end, and a finding for each
    /// contradiction.
    fn hear(&self, scene: &Scene<'_>) -> Hearing;

    /// Returns its findings against the kernel, also of an attempt that stopped early.
    fn early(&self, _record: &Record) -> Vec<Finding> {
        vec![]
    }
}

/// The testimonies on an attempt: each witness by its name and what it said, in a fixed order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Testimonies {
    /// Those that a report compares.
    pub fixed: Vec<(&'static str, Testimony)>,
    /// Those that depend on QEMU or on the machine.
    pub variable: Vec<(&'static str, Testimony)>,
}

/// Hears all witnesses that apply.
pub(crate) fn testimonies(
    record: &Record,
    mut hear: impl FnMut(&'static dyn Witness) -> Testimony,
) -> Testimonies {
    let mut all = Testimonies::default();
    for witness in ALL.iter().filter(|witness| witness.applies(record)) {
        let testimony = hear(*witness);
        let is_variable = witness.is_variable() && testimony != Testimony::Contradicts;
        let list = if is_variable { &mut all.variable } else { &mut all.fixed };
        list.push((witness.name(), testimony));
    }
    all
}

/// The subject of the witnesses.
pub(crate) struct Scene<'a> {
    pub(crate) record: &'a Record,
    pub(crate) looks: &'a [DecodedLook],
}

impl<'a> Scene<'a> {
    /// Yields the looks whose tables could be read.
    fn readable(&self) -> impl Iterator<Item = (&'a DecodedLook, &'a GuestTables)> {
        self.looks.iter().filter_map(|look| look.seen.as_ref().ok().map(|seen| (look, seen)))
    }
}

/// A testimony, and a finding for each contradiction.
#[derive(Debug)]
pub(crate) struct Hearing {
    pub(crate) testimony: Testimony,
    pub(crate) findings: Vec<Finding>,
}

impl Hearing {
    /// Makes a testimony. A witness without findings agrees if it `spoke`; otherwise it was silent
    /// for the given reason.
    fn new(findings: Vec<Finding>, spoke: bool, else_silent: &str) -> Hearing {
        Hearing::unless_silent(findings, (!spoke).then_some(else_silent))
    }

    /// Makes a testimony. A witness without findings was silent for the reason, or agrees without one.
    fn unless_silent(findings: Vec<Finding>, silent: Option<&str>) -> Hearing {
        let testimony = match (findings.is_empty(), silent) {
            (false, _) => Testimony::Contradicts,
            (true, None) => Testimony::Agrees,
            (true, Some(why)) => Testimony::Silent(Text::new(why)),
        };
        Hearing { testimony, findings }
    }
}

#[cfg(test)]
mod tests {
    use super::ALL;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_words_and_distinct() {
        let names: BTreeSet<_> = ALL.iter().map(|witness| witness.name()).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase())), "{names:?}");
    }
}
