//! The nights before a night: what is remembered of them.

use super::morning::{Control, controls};
use super::{Date, may_be_tolerated};
use crate::finding::Weight;
use crate::plan::{Key, QemuChoice};
use crate::record::environment;
use crate::report::Report;
use crate::summary::{CellSummary, RunSummary};
use crate::verdict::Verdict;
use std::collections::{BTreeMap, BTreeSet};

/// The class of a cell's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultClass {
    /// It passed, or was skipped.
    Fine,
    /// The kernel failed.
    Failed,
    /// There is no result about the kernel.
    NoResult,
}

impl ResultClass {
    /// Returns the class of a verdict; None: the run did not come to the cell.
    pub fn of(verdict: Option<&Verdict>) -> Self {
        match verdict {
            Some(verdict) if may_be_tolerated(verdict) => Self::Failed,
            Some(Verdict::Pass { .. } | Verdict::Skip(_)) => Self::Fine,
            _ => Self::NoResult,
        }
    }
}

/// A cell of an earlier night.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastCell {
    pub class: ResultClass,
    /// The verdict's name; none: the run did not come to the cell.
    pub verdict: Option<String>,
    /// The failure, in words that are equal for equal failures; none: the kernel did not fail, or an
    /// earlier s2lab did not keep it.
    pub failure: Option<String>,
    /// An entry of `known.yaml` tolerated the failure.
    pub tolerated: bool,
    /// The release of the kernel.
    pub release: Option<String>,
    /// The version of the host's QEMU.
    pub qemu: Option<String>,
}

impl PastCell {
    pub fn of(cell: &CellSummary) -> Self {
        let class = ResultClass::of(cell.verdict.as_ref());
        Self {
            class,
            verdict: cell.verdict.as_ref().map(|verdict| verdict.name().to_owned()),
            failure: (class == ResultClass::Failed).then(|| failure(cell)),
            tolerated: cell.tolerated.is_some(),
            release: cell.kernel.release.clone(),
            qemu: cell.environment.variable.get(environment::QEMU).map(|fact| qemu_version(fact).to_owned()),
        }
    }
}

/// Returns the version in a fact about QEMU, which has the package after it.
pub fn qemu_version(fact: &str) -> &str {
    fact.split(' ').next().unwrap_or_default()
}

/// Returns the failure of a cell in words that are equal for equal failures. What is found at the
/// end of a cell that stops early has times and addresses, so it is left out.
pub(super) fn failure(cell: &CellSummary) -> String {
    let verdict = cell.verdict.as_ref().map(Verdict::name).unwrap_or_default();
    match cell.lead() {
        None => verdict.to_owned(),
        Some(lead) if lead.weight == Weight::Tables => {
            format!("{verdict} {}: {} instead of {}", lead.what, lead.found, lead.expected)
        }
        Some(lead) => format!("{verdict} {}", lead.what),
    }
}

/// An earlier night.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastNight {
    pub date: Date,
    /// Each cell was fine, or its failure was tolerated, and the negative control worked.
    pub good: bool,
    /// Its cells, without the negative control.
    pub cells: BTreeMap<Key, PastCell>,
}

impl PastNight {
    /// Returns the night that the run was, or None if it was none.
    pub fn of(run: &RunSummary) -> Option<Self> {
        let date = run.night.as_ref()?.date;
        let cells = run.cells.iter().filter(|cell| !cell.control);
        let cells: BTreeMap<_, _> = cells.map(|cell| (cell.key.clone(), PastCell::of(cell))).collect();
        let is_good = |cell: &PastCell| cell.class == ResultClass::Fine || cell.tolerated;
        let works = controls(run).iter().all(|(_, control)| *control == Control::Works);
        Some(Self { date, good: works && !cells.is_empty() && cells.values().all(is_good), cells })
    }
}

/// The earlier nights of a lab folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// The history cannot be read, so there may be more nights.
    pub unread: bool,
    /// The nights, the latest first.
    pub nights: Vec<PastNight>,
    /// The reports of the cells in the latest night in which each was fine, as far as they are kept.
    pub good: BTreeMap<Key, Report>,
}

/// The nights of a cell in a row in which it was not fine, up to the latest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Streak {
    /// The dates on which it failed.
    pub(super) failed: BTreeSet<Date>,
    /// The dates on which there was no result.
    pub(super) missing: BTreeSet<Date>,
    /// The dates on which its failure was tolerated.
    pub(super) tolerated: BTreeSet<Date>,
}

impl Past {
    /// Returns the results of a cell, the latest first.
    pub(super) fn trail(&self, key: &Key) -> impl Iterator<Item = (&PastNight, &PastCell)> {
        self.nights.iter().filter_map(|night| Some((night, night.cells.get(key)?)))
    }

    pub(super) fn streak(&self, key: &Key) -> Streak {
        let mut streak = Streak::default();
        for (night, cell) in self.trail(key).take_while(|(_, cell)| cell.class != ResultClass::Fine) {
            match cell.class {
                ResultClass::Failed => streak.failed.insert(night.date),
                _ => streak.missing.insert(night.date),
            };
            if cell.tolerated {
                streak.tolerated.insert(night.date);
            }
        }
        streak
    }

    /// Returns the latest night in which the cell was fine.
    pub fn last_good(&self, key: &Key) -> Option<(&PastNight, &PastCell)> {
        self.trail(key).find(|(_, cell)| cell.class == ResultClass::Fine)
    }

    /// Returns the latest version of each QEMU, by its word.
    pub(super) fn qemus(&self) -> BTreeMap<&'static str, &str> {
        let cells = self.nights.iter().rev().flat_map(|night| &night.cells);
        cells.filter_map(|(key, cell)| Some((QemuChoice::of(key)?.word(), cell.qemu.as_deref()?))).collect()
    }

    /// Returns the latest release of each kernel.
    pub(super) fn releases(&self) -> BTreeMap<&str, &str> {
        let cells = self.nights.iter().rev().flat_map(|night| &night.cells);
        cells.filter_map(|(key, cell)| Some((key.kernel(), cell.release.as_deref()?))).collect()
    }
}
