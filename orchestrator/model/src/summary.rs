//! The summary of a run: the only input of every output. It holds data; an output makes the words
//! of it, and escapes what comes from a guest.

use crate::comparison::Comparison;
use crate::escape;
use crate::event::{CellEnd, KernelOrigin, SeriesOrigin, Stage};
use crate::finding::{Finding, lead};
use crate::judge::{JudgedCell, JudgedMutants, JudgedRun, difference};
use crate::measures::Measure;
use crate::night::{KnownFailure, Night};
use crate::plan::Key;
use crate::record::{Environment, Record, StageSpan, environment};
use crate::report::{Report, Standing};
use crate::scenario::Promise;
use crate::verdict::{Interrupt, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A run, judged and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// The version of s2lab that carried it out.
    pub s2lab: String,
    /// The time at which it began, by RFC 3339.
    pub started: String,
    /// The run's folder.
    pub folder: PathBuf,
    /// The lab folder, see [`crate::event::Plan`].
    pub lab: Option<String>,
    /// The commit of the lab folder's repository, see [`crate::event::Plan`].
    pub lab_commit: Option<String>,
    /// The seed of the order in which the cells were carried out.
    pub shuffle: Option<u32>,
    /// The night that the run is.
    pub night: Option<Night>,
    /// The mutants, if the run is one on mutants.
    pub mutants: Option<JudgedMutants>,
    /// The comparison that the run is for.
    pub comparison: Option<Comparison>,
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
    /// The digest of the resolved cell.
    pub digest: String,
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
    /// The begin of the last attempt, in milliseconds since the run began.
    pub started_ms: Option<u64>,
    pub elapsed_ms: Option<u64>,
    /// The last attempt came to its end, so that its time is that of the whole cell.
    pub complete: bool,
    /// The stages of the last attempt.
    pub stages: Vec<StageSpan>,
    pub kernel: KernelSummary,
    /// The facts about the conditions of the last attempt.
    pub environment: Environment,
    /// The kind of the machine that emulated the host, see [`crate::event::Event::Machine`].
    pub machine: Option<String>,
    /// The patches that are applied to the kernel's source.
    pub series: Option<SeriesOrigin>,
    /// The report; None: there is no verdict, or no attempt.
    pub report: Option<Report>,
    /// The reason why the run did not come to the cell.
    pub not_run: Option<String>,
    /// The arguments of s2lab that run this cell alone.
    pub repeat: Vec<String>,
    /// The folder of its consoles and logs.
    pub logs: PathBuf,
    /// The guests of the scenario, by name. Each has a console.
    pub guests: Vec<String>,
    /// The measures of all attempts.
    pub measures: Vec<Measure>,
    /// The cell is a negative control: it passes if its expectations are unmet.
    pub control: bool,
    /// The known failure that tolerates the verdict.
    pub tolerated: Option<KnownFailure>,
    /// None: there is nothing to compare with, or it is not compared yet. A negative control has
    /// none.
    pub standing: Option<Standing>,
    /// The accepted report, if it differs from this one.
    pub accepted: Option<Report>,
}

/// The kernel under test, as far as the log has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelSummary {
    /// The release that the host reported.
    pub release: Option<String>,
    /// The SHA-256 of its Image, in hexadecimal.
    pub image: Option<String>,
    /// The SHA-256 of its configuration, in hexadecimal.
    pub config: Option<String>,
    /// The version of its package.
    pub package: Option<String>,
    /// The description of a kernel from the command line, or of one with patches.
    pub about: Option<String>,
    /// The commit of a repository that it is built from.
    pub commit: Option<String>,
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
            let standing = standings.remove(&summary.key).filter(|_| !summary.control);
            let tolerated = tolerated(run.night.as_ref(), &summary);
            CellSummary { standing, tolerated, ..summary }.on(run.kernels.get(&cell.planned.kernel))
        });
        Self {
            s2lab: run.s2lab.clone(),
            started: run.started.clone(),
            folder: folder.to_owned(),
            lab: run.lab.clone(),
            lab_commit: run.lab_commit.clone(),
            shuffle: run.shuffle,
            night: run.night.clone(),
            mutants: run.mutants.clone(),
            comparison: run.comparison.clone(),
            cells: cells.collect(),
            interrupted: run.interrupted,
            whole: run.ended || run.interrupted.is_some(),
            compared,
            orphaned: vec![],
            exit: run.exit,
        }
    }

    /// Returns true if every report is as accepted, or differs only in what may differ.
    pub fn is_as_accepted(&self) -> bool {
        let fine = |cell: &CellSummary| cell.control || cell.standing.as_ref().is_some_and(Standing::is_fine);
        self.orphaned.is_empty() && self.cells.iter().all(fine)
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
            digest: cell.planned.resolved.digest(),
            verdict: cell.verdict.clone(),
            label: judgement.and_then(|judgement| judgement.label.clone()),
            seen: last.map(|attempt| attempt.account.types.clone()).unwrap_or_default(),
            findings: cell.damage.clone().into_iter().chain(differing).chain(findings).collect(),
            promises: cell.planned.resolved.promises.iter().copied().collect(),
            stopped,
            attempts: cell.verdicts().map(Option::<&Verdict>::cloned).collect(),
            started_ms: last.map(|attempt| attempt.record.started_ms),
            elapsed_ms: last.and_then(|attempt| attempt.record.elapsed_ms()),
            complete: last.is_some_and(|attempt| attempt.record.end == Some(CellEnd::Complete)),
            stages: last.map(|attempt| attempt.record.stages.clone()).unwrap_or_default(),
            kernel: last.map(|attempt| KernelSummary::of(&attempt.record)).unwrap_or_default(),
            environment: last.map(|attempt| attempt.record.environment()).unwrap_or_default(),
            machine: last.and_then(|attempt| attempt.record.session.machine.clone()),
            series: None,
            report: Report::of_cell(cell),
            not_run: cell.not_run.clone(),
            repeat: cell.planned.repeat.clone(),
            logs,
            guests: cell.planned.resolved.guests.keys().cloned().collect(),
            measures: Measure::all(cell.attempts.iter().map(|attempt| &attempt.record)),
            control: cell.planned.resolved.inverted,
            tolerated: None,
            standing: None,
            accepted: None,
        }
    }

    /// Adds the origin of the kernel.
    fn on(mut self, origin: Option<&KernelOrigin>) -> Self {
        if let Some(KernelOrigin { about, commit, series }) = origin {
            self.kernel.about = Some(about.clone());
            self.kernel.commit.clone_from(commit);
            self.series.clone_from(series);
        }
        self
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
        lead(&self.findings)
    }

    /// Returns the finding of [`CellSummary::lead`] as one line.
    pub fn lead_line(&self) -> Option<String> {
        let Finding { what, expected, found, .. } = self.lead()?;
        Some(match &self.stopped {
            Some(Stopped { stage, what, .. }) if what == found => {
                escape::line(&format!("{stage} failed: {what}"))
            }
            _ => escape::line(&format!("{what}: expected {expected}, found {found}")),
        })
    }
}

/// Returns the known failure that tolerates the verdict of a cell.
fn tolerated(night: Option<&Night>, cell: &CellSummary) -> Option<KnownFailure> {
    night?.tolerates(&cell.key, cell.verdict.as_ref()?).cloned()
}

impl KernelSummary {
    fn of(record: &Record) -> Self {
        let facts = &record.session.environment.variable;
        let known = |name| facts.get(name).filter(|value| *value != environment::UNKNOWN).cloned();
        Self {
            release: record.session.host.as_ref().map(|host| host.release.clone()),
            image: known(environment::KERNEL_IMAGE),
            config: known(environment::KERNEL_CONFIG),
            package: known(environment::KERNEL_PACKAGE),
            about: None,
            commit: None,
        }
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
        assert_eq!((cell.key.as_str(), cell.elapsed_ms), ("vfio-pci-bar@test", Some(270)));
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
    fn a_cell_has_its_report_its_stages_and_its_kernel() {
        let cell = of(&Story::after());
        assert_eq!(cell.report, Some(Story::after().report()));
        assert_eq!(cell.started_ms, Some(20));
        let host_boot = StageSpan { stage: Stage::HostBoot, started_ms: 40, ended_ms: Some(120) };
        assert_eq!((&*cell.stages, host_boot.elapsed_ms()), (&[host_boot][..], Some(80)));
        let (release, image) = (Some("6.12.95".into()), Some("sha256:aa".into()));
        assert_eq!(cell.kernel, KernelSummary { release, image, ..KernelSummary::default() });
    }

    #[test]
    fn the_origin_of_a_kernel_is_that_of_the_plan() {
        let series = SeriesOrigin {
            patches: 2,
            digest: "5e".into(),
            subject: Some("[PATCH 0/2] KVM: arm64: x".into()),
            message_id: Some("1@localhost".into()),
            files: vec![],
        };
        let origin = KernelOrigin {
            about: "a tree".into(),
            commit: Some("c0ffee".into()),
            series: Some(series.clone()),
        };
        let mut story = Story::after();
        let of = |story: &Story| {
            let run = RunSummary::of(&story.run(), Path::new("run"), |_| PathBuf::new(), None);
            assert_eq!((&*run.s2lab, &*run.started), ("0.1.0", "2026-11-22T15:00:00Z"));
            run.cells.into_iter().next().map(|cell| (cell.kernel.about, cell.kernel.commit, cell.series))
        };
        assert_eq!(of(&story), Some((None, None, None)));
        story.kernels.insert("test".into(), origin.clone());
        assert_eq!(of(&story), Some((Some(origin.about), origin.commit, Some(series))));
    }

    #[test]
    fn what_stops_a_cell_leads() {
        let cell = of(&Story::after().stopped(StopCause::Kernel));
        assert_eq!(cell.lead(), cell.findings.first());
    }
}
