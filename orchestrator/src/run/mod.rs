//! A run: it runs a plan, cell by cell, into an event log.

pub mod cell;
mod conclusion;
pub mod console;
mod consoles;
pub mod folder;
pub mod judging;
pub mod log;
mod nonce;
pub mod operator;
pub mod retention;
pub mod session;
pub mod signals;
pub mod slots;
pub mod stages;
mod steps;
mod stuck;
mod watch;

use crate::{
    boot::files::BootFiles,
    cache::CacheError,
    host::{
        Launcher,
        deadlines::{Deadlines, Factor},
    },
};
use cell::Shared;
use folder::RunFolder;
use judging::Judging;
use log::EventLog;
use operator::Operator;
use s2lab_model::{
    event::{Attempts, CellEnd, Event, PlannedCell, Stage, StopCause},
    judge::JudgedCell,
    plan::Key,
    record::Record,
    verdict::Verdict,
};
use signals::Interruption;
use slots::Slots;
use stages::Stop;
use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
};
use tokio::task::{JoinError, JoinSet};

/// A run that is ready to begin.
pub struct Run {
    pub folder: RunFolder,
    pub log: EventLog,
    pub boot: BootFiles,
    pub slots: Slots,
    pub launcher: Launcher,
    pub interruption: Interruption,
    pub deadlines: Deadlines,
    /// The factor of the deadlines, for the reports.
    pub factor: Factor,
    /// The bytes that the run's file system must have left before a host boots. It is
    /// [`crate::boot::preflight::STATE_SPACE`], except in tests with less.
    pub least_space: u64,
    /// A person at the cells' hosts.
    pub operator: Option<Arc<Operator>>,
}

/// The order and number of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// The number of cells at a time.
    pub jobs: usize,
    /// The attempts of the plan.
    pub attempts: Attempts,
    /// Begin no cell after one that neither passed nor was skipped.
    pub fail_fast: bool,
}

/// The next attempt at a cell.
struct PendingAttempt {
    cell: PlannedCell,
    /// The number of the attempt, from 1.
    attempt: usize,
}

impl Run {
    /// Runs the cells, as many at a time as there are slots and jobs. `judging` gets each line of
    /// the log. It is asked after each attempt, when all of its events are in the log; without it
    /// each cell is attempted once. `ended` gets each cell after its last attempt.
    pub async fn carry_out(
        self,
        cells: Vec<PlannedCell>,
        course: Course,
        judging: Option<Judging>,
        mut ended: impl FnMut(JudgedCell),
    ) -> io::Result<()> {
        let judged = |key: &Key| judging.as_ref()?.cell(key);
        let run = Arc::new(self);
        let mut waiting: VecDeque<_> =
            cells.into_iter().map(|cell| PendingAttempt { cell, attempt: 1 }).collect();
        let mut running = JoinSet::new();
        let mut pending_by_task = HashMap::new();
        let mut stopped_by = None;
        loop {
            while running.len() < course.jobs.max(1) && run.interruption.signal().is_none() {
                let Some(pending) = waiting.pop_front() else { break };
                let (run, cell, attempt) = (Arc::clone(&run), pending.cell.clone(), pending.attempt);
                let task = running.spawn(async move { run.attempt(&cell, attempt).await });
                pending_by_task.insert(task.id(), pending);
            }
            let Some(done) = running.join_next_with_id().await else { break };
            let id = done.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
            let lost = || io::Error::other("a cell's task is not known");
            let PendingAttempt { cell, attempt } = pending_by_task.remove(&id).ok_or_else(lost)?;
            if let Err(error) = done {
                run.log.flush().await;
                let logged = judged(&cell.key);
                let logged = logged.as_ref().and_then(|judged| judged.attempts.get(attempt - 1));
                run.broke(&cell, error, logged.map(|attempt| &attempt.record));
            }
            if !run.log.flush().await {
                return Err(io::Error::other("the event log cannot be written"));
            }
            // A log that cannot be read now cannot be read at the end either, and that is an error
            // then.
            let another = judging.as_ref().and_then(|judging| judging.another(&cell.key, course.attempts));
            if run.interruption.signal().is_none() && another == Some(true) {
                waiting.push_front(PendingAttempt { cell, attempt: attempt + 1 });
                continue;
            }
            let Some(judged) = judged(&cell.key) else { continue };
            let fine = |verdict: &Verdict| matches!(verdict, Verdict::Pass { .. } | Verdict::Skip(_));
            if course.fail_fast && !judged.verdict.as_ref().is_some_and(fine) && stopped_by.is_none() {
                stopped_by = Some(cell.key);
                run.leave(&mut waiting, judged.verdict.as_ref(), &judged.planned.key);
            }
            ended(judged);
        }
        if let Some(signal) = run.interruption.signal() {
            run.log.event(Event::Interrupted { signal: signal.into() });
        } else {
            run.log.event(Event::RunEnded);
        }
        Ok(())
    }

    /// Logs the reason for the cells that will never begin.
    fn leave(&self, waiting: &mut VecDeque<PendingAttempt>, verdict: Option<&Verdict>, key: &Key) {
        let (begun, left): (VecDeque<_>, VecDeque<_>) =
            waiting.drain(..).partition(|pending| pending.attempt > 1);
        *waiting = begun;
        let verdict = verdict.map_or("interrupted", Verdict::name);
        for pending in left {
            let why = format!("--fail-fast: {key} was {verdict}");
            self.log.cell(&pending.cell.key).event(Event::NotRun { why });
        }
    }

    /// Logs the panic of a cell's task, which has no meaning for any other cell. The last argument
    /// is the record of the attempt.
    fn broke(&self, cell: &PlannedCell, error: JoinError, logged: Option<&Record>) {
        let what = match error.try_into_panic() {
            Ok(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                format!("s2lab has a defect: {}", text.unwrap_or("a panic without a word"))
            }
            Err(error) => format!("the cell's task ended: {error}"),
        };
        let log = self.log.cell(&cell.key);
        let session = logged.filter(|record| !record.session.ended).and_then(Record::session_id);
        let end_session = || session.into_iter().for_each(|id| log.session(id).event(Event::SessionEnded));
        if logged.is_some_and(|record| record.end.is_some()) {
            tracing::error!("{}, after its end: {what}", cell.key);
            return end_session();
        }
        if logged.is_none() {
            log.event(Event::CellStarted { session: None });
        }
        let hint = "stderr has the place; please report it to s2lab's developers".to_owned();
        let stage = logged.and_then(|record| record.stages.last()).map_or(Stage::Prepare, |span| span.stage);
        let cause = StopCause::Lab;
        log.event(Event::CellEnded { end: CellEnd::Stopped { stage, cause, what, hint: Some(hint) } });
        end_session();
    }

    /// Runs one attempt at a cell. If it cannot begin, the log has the reason too.
    async fn attempt(&self, cell: &PlannedCell, attempt: usize) {
        let log = self.log.cell(&cell.key);
        let not_begun = |stop: Stop| {
            log.event(Event::CellStarted { session: None });
            let Stop { cause, what, hint, .. } = stop;
            log.event(Event::CellEnded {
                end: CellEnd::Stopped { stage: Stage::Prepare, cause, what, hint },
            });
        };
        let Some(kernel) = self.boot.kernel(&cell.kernel) else {
            let why = self.boot.missing(&cell.kernel);
            let what = why.map_or_else(|| "the cache gave none".to_owned(), CacheError::to_string);
            let stop = Stop::lab(format!("kernel {}: {what}", cell.kernel));
            return not_begun(Stop { hint: why.and_then(CacheError::hint), ..stop });
        };
        let folder = match self.folder.attempt(&cell.key, attempt) {
            Ok(folder) => folder,
            Err(error) => return not_begun(Stop::disk(self.folder.path(), error)),
        };
        let slot = tokio::select! {
            slot = self.slots.take(|| tracing::warn!("waiting for a slot: another run uses this machine")) => slot,
            () = self.interruption.interrupted() => return,
        };
        let _slot = match slot {
            Ok(slot) => slot,
            Err(error) => return not_begun(Stop::lab(format!("cannot take a slot in the cache: {error}"))),
        };
        let raw = self.folder.raw();
        let shared = Shared {
            launcher: &self.launcher,
            boot: &self.boot,
            raw: &raw,
            deadlines: self.deadlines,
            factor: self.factor,
            least_space: self.least_space,
            operator: self.operator.as_deref(),
        };
        // Without its log a cell is worth nothing.
        let cancelled = async {
            tokio::select! {
                () = self.interruption.interrupted() => {}
                () = self.log.broken() => {}
            }
        };
        cell::run(&shared, cell, kernel, &folder, log.clone(), cancelled).await;
    }
}

/// Logs for each cell that the lab could not begin it, so that later readers get the same result.
pub fn give_up(log: &EventLog, cells: &[PlannedCell], what: &str, hint: Option<&str>) {
    for cell in cells {
        let log = log.cell(&cell.key);
        log.event(Event::CellStarted { session: None });
        let (stage, cause) = (Stage::Prepare, StopCause::Lab);
        let end = CellEnd::Stopped { stage, cause, what: what.into(), hint: hint.map(str::to_owned) };
        log.event(Event::CellEnded { end });
    }
    log.event(Event::RunEnded);
}
