//! Judgement of a whole run: attempt by attempt, cell by cell, and at last as a whole.

use super::{Account, Judgement, LookResults, agreement, attempts, damage, isolation, judge};
use crate::comparison::Comparison;
use crate::event::{Attempts, KernelOrigin, Plan, PlannedCell};
use crate::finding::Finding;
use crate::mutants::{self, MutantCell, MutantRun, PlannedMutant, Unmutated};
use crate::night::Night;
use crate::record::look::{Pages, decode};
use crate::record::{Cell, LogError, Record, Run, after_reset, host_look};
use crate::verdict::{Interrupt, NOTHING_TESTED, Verdict, run_exit};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A run with the judgement of each of its cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedRun {
    /// The version of s2lab that carried it out.
    pub s2lab: String,
    /// The time at which it began, by RFC 3339.
    pub started: String,
    /// The lab folder, see [`crate::event::Plan`].
    pub lab: Option<String>,
    /// The commit of the lab folder's repository, see [`crate::event::Plan`].
    pub lab_commit: Option<String>,
    /// The origins of kernels, see [`crate::event::Plan`].
    pub kernels: BTreeMap<String, KernelOrigin>,
    /// The seed of the order, see [`crate::event::Plan`].
    pub shuffle: Option<u32>,
    /// The night that the run is, see [`crate::event::Plan`].
    pub night: Option<Night>,
    /// The mutants, if the run is one on mutants.
    pub mutants: Option<JudgedMutants>,
    /// The comparison that the run is for, see [`crate::event::Plan`].
    pub comparison: Option<Comparison>,
    /// The cells in the plan's order.
    pub cells: Vec<JudgedCell>,
    pub interrupted: Option<Interrupt>,
    /// True if the log has the run's end. Without it, and not interrupted, the run is LOST.
    pub ended: bool,
    /// The damage of the log after which nothing was read.
    pub damage: Option<LogError>,
    /// The exit code of the run, see [`run_exit`] and [`crate::mutants::exit`].
    pub exit: u8,
}

/// The kernels of a run on mutants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedMutants {
    /// Those without a mistake.
    pub unmutated: Vec<Unmutated>,
    /// The mutants in the plan's order.
    pub mutants: Vec<MutantRun>,
}

impl JudgedMutants {
    fn of(planned: &[PlannedMutant], cells: &[JudgedCell]) -> Self {
        let cells = cells.iter().map(|cell| MutantCell {
            key: &cell.planned.key,
            verdict: cell.verdict.as_ref(),
            findings: cell.attempts.last().map(|last| last.judgement.findings.as_slice()).unwrap_or_default(),
        });
        let (unmutated, mutants) = mutants::outcome(planned, &cells.collect::<Vec<_>>());
        Self { unmutated, mutants }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedCell {
    pub planned: Arc<PlannedCell>,
    /// The verdict. None: the run was interrupted before the cell could be judged, or did not come
    /// to it.
    pub verdict: Option<Verdict>,
    pub attempts: Vec<JudgedAttempt>,
    /// The reason why the run did not come to the cell, if it has one.
    pub not_run: Option<String>,
    /// The damage of the log, if it came before the cell's end.
    pub damage: Option<Finding>,
}

impl JudgedCell {
    /// The verdict on each attempt, in their order.
    pub fn verdicts(&self) -> impl ExactSizeIterator<Item = Option<&Verdict>> {
        self.attempts.iter().map(|attempt| attempt.judgement.verdict.as_ref())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedAttempt {
    pub record: Record,
    pub judgement: Judgement,
    /// The report's lines about the looks. The looks themselves are not kept.
    pub account: Account,
}

/// Decodes and judges every attempt of a run. A log that stops before the end of an uninterrupted
/// run is LOST as a whole, even if each of its cells was judged: attempts may be missing.
pub fn judge_run(run: Run, pages: &(impl Pages + ?Sized)) -> JudgedRun {
    conclude(run, |_| vec![], pages)
}

/// Judges the attempts that are not judged yet, each cell, and the run. `judged` returns the judged
/// attempts at the cell of that place.
pub(super) fn conclude(
    run: Run,
    mut judged: impl FnMut(usize) -> Vec<JudgedAttempt>,
    pages: &(impl Pages + ?Sized),
) -> JudgedRun {
    let interrupted = run.interrupted.as_deref().map(Interrupt::of_signal);
    let course = run.plan.course();
    let Plan { s2lab, started, lab, lab_commit, kernels, shuffle, night, mutants, compare, .. } = run.plan;
    let cells = run.cells.into_iter().enumerate().map(|(place, Cell { planned, attempts, not_run, .. })| {
        let mut all = judged(place);
        all.extend(attempts.into_iter().map(|record| attempt(record, interrupted.is_some(), pages)));
        let verdict = cell_verdict(course, not_run.as_deref(), &all, interrupted.is_some());
        JudgedCell { planned, verdict, attempts: all, not_run, damage: None }
    });
    let mut cells: Vec<_> = cells.collect();
    if let Some(damage) = &run.damage {
        damage::hold(&mut cells, damage);
    }
    agreement::hold(&mut cells);
    let comparison = compare.map(|plan| Comparison::of(plan, &cells));
    let ended = run.ended;
    let lost = (!ended).then_some(Verdict::Lost);
    let counting = cells.iter().filter_map(|cell| counting(night.as_ref(), cell));
    let mutants = mutants.map(|planned| JudgedMutants::of(&planned, &cells));
    let exit = match run_exit(counting.chain(&lost), interrupted) {
        // A run that left cells out did not succeed, whatever the reason.
        0 if cells.iter().any(|cell| cell.not_run.is_some()) => NOTHING_TESTED,
        0 => comparison.as_ref().map_or(0, Comparison::exit),
        exit => exit,
    };
    let exit = match &mutants {
        Some(JudgedMutants { unmutated, mutants }) if ended => mutants::exit(unmutated, mutants, interrupted),
        _ => exit,
    };
    JudgedRun {
        s2lab,
        started,
        lab,
        lab_commit,
        kernels,
        shuffle,
        night,
        mutants,
        comparison,
        cells,
        interrupted,
        ended,
        damage: run.damage,
        exit,
    }
}

/// Returns the verdict that counts for the exit code: a tolerated one counts as a pass.
fn counting<'a>(night: Option<&Night>, cell: &'a JudgedCell) -> Option<&'a Verdict> {
    let verdict = cell.verdict.as_ref()?;
    match night.and_then(|night| night.tolerates(&cell.planned.key, verdict)) {
        Some(_) => Some(&Verdict::PASS),
        None => Some(verdict),
    }
}

/// Returns the verdict on a cell by its attempts, or None if the run did not come to it.
pub(super) fn cell_verdict(
    course: Attempts,
    not_run: Option<&str>,
    attempts: &[JudgedAttempt],
    interrupted: bool,
) -> Option<Verdict> {
    match not_run {
        Some(_) => None,
        None => attempts::verdict(course, attempts, interrupted),
    }
}

/// Decodes and judges one attempt. If it has ended, `interrupted` has no effect.
pub(super) fn attempt(record: Record, interrupted: bool, pages: &(impl Pages + ?Sized)) -> JudgedAttempt {
    let looks = decode(&record, pages);
    let isolation = isolation::of_looks(&record, &looks);
    let resets = after_reset::decode(&record, pages);
    let hosts = host_look::decode(&record, pages);
    let shown = LookResults { looks, isolation, resets, hosts };
    let judgement = judge(&record, &shown, interrupted);
    let account = Account::of(&record, &shown);
    JudgedAttempt { record, judgement, account }
}
