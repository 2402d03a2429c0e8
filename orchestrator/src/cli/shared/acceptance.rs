//! The reports of a run that a person may accept.

use crate::cli::{
    context::{Context, own_lab},
    exit,
    failure::Failure,
    shared::{cells::lab_cells, judged::Judged, runs::open},
};
use crate::{
    lab::shown,
    review::{accept, accepted, orphans},
    show::{answer::AcceptedCell, standings::reason},
};
use s2lab_model::{
    diff::unified,
    plan::Key,
    report::{Gap, Outcome, Report, Standing, comparable},
    review::{Decision, Group, groups},
    summary::{CellSummary, RunSummary},
};
use std::{collections::BTreeSet, path::PathBuf};

/// A run beside the accepted reports of the user's lab folder.
pub(crate) struct Acceptance {
    pub(crate) summary: RunSummary,
    /// The folder of the accepted reports.
    reports: PathBuf,
    /// The cells of the lab folder.
    known: BTreeSet<Key>,
}

/// The reason why a report cannot be accepted.
pub(crate) struct Refusal {
    pub(crate) why: String,
    exit: u8,
}

/// The result for a cell that a person accepts.
pub(crate) enum Accepted {
    /// The report is already the accepted one.
    Same,
    /// The report is the accepted one now, in this file.
    Written(PathBuf),
    Refused(Refusal),
}

impl Accepted {
    /// Returns the result as a line.
    pub(crate) fn line(&self, key: &Key) -> String {
        match self {
            Accepted::Same => format!("{key}: as accepted"),
            Accepted::Written(path) => format!("{key}: accepted, {}", shown(path)),
            Accepted::Refused(Refusal { why, .. }) => format!("{key}: not accepted, {why}"),
        }
    }

    /// Returns the result for a document.
    pub(crate) fn answer(&self, key: &Key) -> AcceptedCell {
        let (result, file, why) = match self {
            Accepted::Same => ("as-accepted", None, None),
            Accepted::Written(path) => ("accepted", Some(shown(path)), None),
            Accepted::Refused(Refusal { why, .. }) => ("refused", None, Some(why.clone())),
        };
        AcceptedCell { key: key.to_string(), result, file, why }
    }

    pub(crate) fn exit(&self) -> u8 {
        match self {
            Accepted::Same | Accepted::Written(_) => exit::FINE,
            Accepted::Refused(refusal) => refusal.exit,
        }
    }
}

impl Acceptance {
    pub(crate) fn open(context: &Context, run: Option<&str>) -> Result<Self, Failure> {
        let lab = own_lab(context, "nothing can be accepted")?;
        let (reports, known) = (lab.reports(), lab_cells(&lab)?);
        let folder = open(context, run)?;
        let mut summary = Judged::read(&folder)?.summary(&folder, Some(&reports));
        // A negative control has no accepted report.
        summary.cells.retain(|cell| !cell.control);
        summary.orphaned = orphans(&reports, &known)?;
        summary.orphaned.retain(|key| summary.cells.iter().all(|cell| cell.key != *key));
        Ok(Self { summary, reports, known })
    }

    /// Returns the reason why the report of a cell that is not as accepted cannot be accepted.
    pub(crate) fn refusal(&self, cell: &CellSummary) -> Option<Refusal> {
        match &cell.standing {
            None | Some(Standing::Compared(Outcome::Same)) => None,
            Some(Standing::Missing(gap)) => Some(Refusal { why: reason(gap), exit: exit::LAB }),
            Some(_) if !self.known.contains(&cell.key) => {
                Some(Refusal { why: not_of_the_lab(&cell.key, &self.known), exit: exit::USAGE })
            }
            Some(_) => None,
        }
    }

    /// Returns the decision on a cell, or None if there is nothing to decide.
    pub(crate) fn decision(&self, cell: &CellSummary) -> Option<Decision> {
        let accepted = || accepted(&self.reports, &cell.key).ok().flatten();
        Decision::of(cell.standing.as_ref()?, cell.verdict.as_ref()?, cell.report.as_ref()?, accepted)
    }

    /// Returns the cells that can be accepted, those that are alike together.
    pub(crate) fn groups<'a>(&self, cells: impl IntoIterator<Item = &'a CellSummary>) -> Vec<Group> {
        let may = cells.into_iter().filter(|cell| self.refusal(cell).is_none());
        groups(may.filter_map(|cell| Some((cell.key.clone(), self.decision(cell)?))))
    }

    /// Returns the cells that are alike with a cell of the run, itself among them.
    pub(crate) fn alike(&self, cell: &CellSummary) -> Vec<&CellSummary> {
        let decision = self.decision(cell);
        let is_alike = |other: &&CellSummary| {
            other.key == cell.key || decision.is_some() && self.decision(other) == decision
        };
        self.summary.cells.iter().filter(is_alike).collect()
    }

    /// Returns a cell of the run.
    pub(crate) fn cell(&self, key: &str) -> Option<&CellSummary> {
        self.summary.cells.iter().find(|cell| cell.key == *key)
    }

    /// Returns the unified diff of what compares, from the accepted report of a cell to the new one.
    pub(crate) fn diff(&self, cell: &CellSummary) -> String {
        let text = |report: &Report| comparable(report).text();
        let old = accepted(&self.reports, &cell.key).ok().flatten();
        let old = old.as_ref().map(text).unwrap_or_default();
        let new = cell.report.as_ref().map(text).unwrap_or_default();
        unified(("accepted", &old), ("new", &new))
    }

    /// Makes the report of a cell the accepted one.
    pub(crate) fn accept(&self, cell: &CellSummary) -> Result<Accepted, Failure> {
        let CellSummary { key, standing, report, .. } = cell;
        Ok(match (standing, self.refusal(cell), report) {
            (Some(Standing::Compared(Outcome::Same)), ..) => Accepted::Same,
            (_, Some(refusal), _) => Accepted::Refused(refusal),
            (_, None, Some(report)) => Accepted::Written(accept(&self.reports, key, &report.text())?),
            (_, None, None) => Accepted::Refused(Refusal { why: reason(&Gap::NoReport), exit: exit::LAB }),
        })
    }
}

/// The reason that the lab folder cannot have an accepted report of the cell: `check` would find
/// no cell for it.
fn not_of_the_lab(key: &Key, known: &BTreeSet<Key>) -> String {
    let of_scenario = |cell: &&Key| cell.scenario() == key.scenario();
    match known.iter().any(|cell| of_scenario(&cell)) {
        true if known.iter().filter(of_scenario).any(|cell| cell.kernel() == key.kernel()) => {
            "the scenario does not have this point of its axes: add the value to `axes`".to_owned()
        }
        true => format!("kernel {} is not in the lab folder's images/kernels.yaml", key.kernel()),
        false => format!("the lab folder has no scenario {}: move its file to scenarios/", key.scenario()),
    }
}
