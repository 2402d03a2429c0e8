//! A whole run, judged.

use super::{Judgement, judge};
use crate::event::PlannedCell;
use crate::record::look::{Decoded, Pages, decode};
use crate::record::{Record, Run};
use crate::verdict::{Interrupt, Verdict, run_exit};

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
    /// `None`: the run was interrupted before the cell could be judged.
    pub verdict: Option<Verdict>,
    pub attempts: Vec<JudgedAttempt>,
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
            let verdicts = attempts.iter().filter_map(|attempt| attempt.judgement.verdict.as_ref());
            let verdict = Verdict::of_attempts(verdicts);
            let verdict = verdict.or_else(|| interrupted.is_none().then_some(Verdict::Lost));
            JudgedCell { planned: cell.planned, verdict, attempts }
        })
        .collect();
    let ended = run.ended;
    let lost = (!ended).then_some(Verdict::Lost);
    let verdicts = cells.iter().filter_map(|cell| cell.verdict.as_ref()).chain(&lost);
    let exit = run_exit(verdicts, interrupted);
    JudgedRun { cells, interrupted, ended, exit }
}
