//! A whole run, judged.

use super::{Judgement, attempts, judge};
use crate::event::PlannedCell;
use crate::record::look::{Decoded, Pages, decode};
use crate::record::{Record, Run};
use crate::verdict::{Interrupt, NOTHING_TESTED, Verdict, run_exit};

/// A run with what is said of each of its cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedRun {
    /// In the plan's order.
    pub cells: Vec<JudgedCell>,
    pub interrupted: Option<Interrupt>,
    /// The log tells of the run's end. Without it, and not interrupted, the run is LOST.
    pub ended: bool,
    /// What the run exits with, see [`run_exit`].
    pub exit: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedCell {
    pub planned: PlannedCell,
    /// `None`: the run was interrupted before the cell could be judged, or did not come to it.
    pub verdict: Option<Verdict>,
    pub attempts: Vec<JudgedAttempt>,
    /// Why the run did not come to the cell, if it says so.
    pub not_run: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedAttempt {
    pub record: Record,
    pub looks: Vec<Decoded>,
    pub judgement: Judgement,
}

/// Decodes and judges every attempt of a run. A log that stops before the end of an uninterrupted run is LOST as a whole,
/// even if each of its cells was judged: attempts may be missing.
pub fn judge_run(run: Run, pages: &(impl Pages + ?Sized)) -> JudgedRun {
    let interrupted = run.interrupted.as_deref().map(Interrupt::of_signal);
    let course = run.plan.attempts;
    let cells: Vec<_> = run
        .cells
        .into_iter()
        .map(|cell| {
            let attempts: Vec<_> = cell
                .attempts
                .into_iter()
                .map(|record| {
                    let looks = decode(&record, pages);
                    let judgement = judge(&record, &looks, interrupted.is_some());
                    JudgedAttempt { record, looks, judgement }
                })
                .collect();
            let verdict = match &cell.not_run {
                Some(_) => None,
                None => attempts::verdict(course, &attempts, interrupted.is_some()),
            };
            JudgedCell { planned: cell.planned, verdict, attempts, not_run: cell.not_run }
        })
        .collect();
    let ended = run.ended;
    let lost = (!ended).then_some(Verdict::Lost);
    let verdicts = cells.iter().filter_map(|cell| cell.verdict.as_ref()).chain(&lost);
    let exit = match run_exit(verdicts, interrupted) {
        // Whatever kept a cell from being run, this is no run of which all is well.
        0 if cells.iter().any(|cell| cell.not_run.is_some()) => NOTHING_TESTED,
        exit => exit,
    };
    JudgedRun { cells, interrupted, ended, exit }
}
