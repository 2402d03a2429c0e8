//! The summary of a run: the only input of every output. It holds data; an output makes the words
//! of it, and escapes what comes from a guest.

use crate::event::{CellEnd, Stage};
use crate::finding::{Finding, Weight};
use crate::judge::{JudgedCell, JudgedRun, difference};
use crate::plan::Key;
use crate::report::Standing;
use crate::scenario::Promise;
use crate::verdict::{Interrupt, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A run, judged and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// The run's folder.
    pub folder: PathBuf,
    /// The lab folder, see [`crate::event::Plan`].
    pub lab: Option<String>,
    /// The cells, in the plan's order.
    pub cells: Vec<CellSummary>,
    pub interrupted: Option<Interrupt>,
    /// The log has the run's end, regular or not. Without it the run is LOST as a whole.
    pub whole: bool,
    /// There is a lab folder, so each cell has a standing.
    pub compared: bool,
    /// Accepted reports whose cell the lab does not have; only `check` looks for them.
    pub orphaned: Vec<Key>,
    /// The exit code of the run, see [`crate::verdict::run_exit`].
    pub exit: u8,
}

/// A cell by its last attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellSummary {
    pub key: Key,
    /// None: the run was interrupted before the cell was judged, or did not come to it.
    pub verdict: Option<Verdict>,
    /// The alternative of the expectations that was applied: `wc-honoured`; none for a scenario
    /// without.
    pub label: Option<String>,
    /// Each device with the types that stage 2 gave it.
    pub seen: BTreeMap<String, BTreeSet<String>>,
    /// The weightiest first; what differs between attempts before all.
    pub findings: Vec<Finding>,
    /// The promises that the scenario holds up.
    pub promises: Vec<Promise>,
    /// The early end of the last attempt.
    pub stopped: Option<Stopped>,
    /// The verdict of each attempt, in their order; None: interrupted.
    pub attempts: Vec<Option<Verdict>>,
    pub elapsed_ms: Option<u64>,
    /// The reason why the run did not come to the cell.
    pub not_run: Option<String>,
    /// The arguments of s2lab that run this cell alone.
    pub repeat: Vec<String>,
    /// The folder of its consoles and logs.
    pub logs: PathBuf,
    /// None: there is nothing to compare with, or it is not compared yet.
    pub standing: Option<Standing>,
}

/// The end of an attempt that did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    pub stage: Stage,
    pub what: String,
    /// A hint what to do about it.
    pub hint: Option<String>,
}

impl RunSummary {
    /// `logs` has the folder of a cell's logs by its key; `standings`: none without a lab folder.
    pub fn of(
        run: &JudgedRun,
        folder: &Path,
        logs: impl Fn(&Key) -> PathBuf,
        standings: Option<BTreeMap<Key, Standing>>,
    ) -> Self {
        let compared = standings.is_some();
        let mut standings = standings.unwrap_or_default();
        let cells = run.cells.iter().map(|cell| {
            let summary = CellSummary::of(cell, logs(&cell.planned.key));
            CellSummary { standing: standings.remove(&summary.key), ..summary }
        });
        Self {
            folder: folder.to_owned(),
            lab: run.lab.clone(),
            cells: cells.collect(),
            interrupted: run.interrupted,
            whole: run.ended || run.interrupted.is_some(),
            compared,
            orphaned: vec![],
            exit: run.exit,
        }
    }
}

impl CellSummary {
    pub fn of(cell: &JudgedCell, logs: PathBuf) -> Self {
        let last = cell.attempts.last();
        let judgement = last.map(|attempt| &attempt.judgement);
        let differing = (cell.verdict == Some(Verdict::Flaky)).then(|| difference(cell));
        let findings = judgement.map(|judgement| judgement.findings.clone()).unwrap_or_default();
        let stopped = match last.map(|attempt| &attempt.record.end) {
            Some(Some(CellEnd::Stopped { stage, what, hint, .. })) => {
                Some(Stopped { stage: *stage, what: what.clone(), hint: hint.clone() })
            }
            _ => None,
        };
        Self {
            key: cell.planned.key.clone(),
            verdict: cell.verdict.clone(),
            label: judgement.and_then(|judgement| judgement.label.clone()),
            seen: last.map(|attempt| attempt.account.types.clone()).unwrap_or_default(),
            findings: differing.into_iter().chain(findings).collect(),
            promises: cell.planned.resolved.promises.iter().copied().collect(),
            stopped,
            attempts: cell.verdicts().map(Option::<&Verdict>::cloned).collect(),
            elapsed_ms: last.and_then(|attempt| attempt.record.elapsed_ms()),
            not_run: cell.not_run.clone(),
            repeat: cell.planned.repeat.clone(),
            logs,
            standing: None,
        }
    }

    pub fn passed(&self) -> bool {
        self.verdict.as_ref().is_some_and(Verdict::passed)
    }

    pub fn skipped(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Skip(_)))
    }

    /// The finding that a single line names: the weightiest. Where a witness and the tables
    /// contradict each other over a region, the tables' finding names the type, and is taken.
    pub fn lead(&self) -> Option<&Finding> {
        let first = self.findings.first()?;
        let same = |finding: &&Finding| finding.weight == Weight::Tables && finding.subject == first.subject;
        let at_a_look = first.weight == Weight::Kernel && first.subject.look.is_some();
        self.findings.iter().filter(|_| at_a_look).find(same).or(Some(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StopCause;
    use crate::judge::fixture::{Story, traits};
    use crate::kernel::Trait;

    fn of(story: &Story) -> CellSummary {
        CellSummary::of(&story.run().cells[0], "logs".into())
    }

    #[test]
    fn a_cell_that_passes() {
        let cell = of(&Story::before());
        assert_eq!((cell.key.as_str(), cell.elapsed_ms), ("vfio-pci-bar@test", Some(260)));
        let types = BTreeSet::from(["Device-nGnRE".to_owned()]);
        assert_eq!(cell.seen, BTreeMap::from([("nic".to_owned(), types)]));
        assert_eq!(cell.label.as_deref(), Some("before the series"));
        assert_eq!(cell.attempts, [Some(Verdict::Pass { as_: cell.label.clone() })]);
        assert_eq!(cell.lead(), None);
    }

    /// The flags of VMAs weigh more than a type, and say less.
    #[test]
    fn the_type_of_a_region_leads() {
        let mut wrong = Story::before();
        wrong.cell.resolved.traits = traits(&[Trait::WcConveyed, Trait::WcHonoured]);
        let cell = of(&wrong);
        assert!(cell.findings[0].what.starts_with("VMAs over nic"), "{:?}", cell.findings[0]);
        let lead = cell.lead().unwrap();
        assert_eq!(lead.what, "stage2 of nic at look stored, guest g0");
        assert_eq!((&*lead.expected, &*lead.found), ("Normal-NC", "Device-nGnRE"));
    }

    #[test]
    fn what_stops_a_cell_leads() {
        let cell = of(&Story::after().stopped(StopCause::Kernel));
        assert_eq!(cell.lead(), cell.findings.first());
    }
}
