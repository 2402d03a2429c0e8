//! The order of a run's attempts: what begins next, what is attempted again, what is left.

use super::{Course, Run, judging::Judging};
use s2lab_model::{
    comparison::Compare,
    event::{CellEnd, Event, PlannedCell, Stage, StopCause},
    judge::JudgedCell,
    plan::Key,
    record::Record,
    verdict::Verdict,
};
use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
};
use tokio::task::{Id, JoinError, JoinSet};

/// The next attempt at a cell.
pub(super) struct PendingAttempt {
    cell: PlannedCell,
    /// The number of the attempt, from 1.
    attempt: usize,
}

/// The attempts that wait, and those at work.
pub(super) struct Dispatcher {
    run: Arc<Run>,
    course: Course,
    judging: Option<Judging>,
    waiting: VecDeque<PendingAttempt>,
    running: JoinSet<()>,
    by_task: HashMap<Id, PendingAttempt>,
    /// The course has ended at a cell that did not pass.
    stopped: bool,
}

impl Dispatcher {
    pub(super) fn new(
        run: Arc<Run>,
        cells: Vec<PlannedCell>,
        course: Course,
        judging: Option<Judging>,
    ) -> Self {
        let waiting = match &course.compare {
            Some(compare) => boots(compare, &cells),
            None => cells.into_iter().map(|cell| PendingAttempt { cell, attempt: 1 }).collect(),
        };
        let (running, by_task) = (JoinSet::new(), HashMap::new());
        Self { run, course, judging, waiting, running, by_task, stopped: false }
    }

    /// Begins as many attempts as there are jobs.
    pub(super) fn begin(&mut self) {
        while self.running.len() < self.course.jobs.max(1) && self.run.interruption.signal().is_none() {
            let Some(pending) = self.waiting.pop_front() else { break };
            let (run, cell, attempt) = (Arc::clone(&self.run), pending.cell.clone(), pending.attempt);
            let task = self.running.spawn(async move { run.attempt(&cell, attempt).await });
            self.by_task.insert(task.id(), pending);
        }
    }

    /// Returns the next attempt that has ended, with all of its events in the log, or None if none
    /// is at work.
    pub(super) async fn next(&mut self) -> io::Result<Option<PendingAttempt>> {
        let Some(done) = self.running.join_next_with_id().await else { return Ok(None) };
        let id = done.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let lost = || io::Error::other("a cell's task is not known");
        let ended = self.by_task.remove(&id).ok_or_else(lost)?;
        if let Err(error) = done {
            self.run.log.flush().await;
            let logged = self.judged(&ended.cell.key);
            let logged = logged.as_ref().and_then(|judged| judged.attempts.get(ended.attempt - 1));
            broke(&self.run, &ended.cell, error, logged.map(|attempt| &attempt.record));
        }
        match self.run.log.flush().await {
            true => Ok(Some(ended)),
            false => Err(io::Error::other("the event log cannot be written")),
        }
    }

    /// Returns the judgement of a cell after its last attempt. Another attempt is put first.
    pub(super) fn judge(&mut self, PendingAttempt { cell, attempt }: PendingAttempt) -> Option<JudgedCell> {
        if self.course.compare.is_some() {
            return self.judge_boot(&cell.key);
        }
        // A log that cannot be read now cannot be read at the end either, and that is an error
        // then.
        let another =
            self.judging.as_ref().and_then(|judging| judging.another(&cell.key, self.course.attempts));
        if self.run.interruption.signal().is_none() && another == Some(true) {
            self.waiting.push_front(PendingAttempt { cell, attempt: attempt + 1 });
            return None;
        }
        let judged = self.judged(&cell.key)?;
        let fine = |verdict: &Verdict| matches!(verdict, Verdict::Pass { .. } | Verdict::Skip(_));
        if self.course.fail_fast && !judged.verdict.as_ref().is_some_and(fine) && !self.stopped {
            self.stopped = true;
            self.leave("--fail-fast", judged.verdict.as_ref(), &judged.planned.key);
        }
        Some(judged)
    }

    /// Returns the judgement of a cell of a comparison after its last boot. A boot that does not pass
    /// ends the comparison: it has no number.
    fn judge_boot(&mut self, key: &Key) -> Option<JudgedCell> {
        let judged = self.judged(key)?;
        let verdict = judged.attempts.last().and_then(|attempt| attempt.judgement.verdict.as_ref());
        if !verdict.is_some_and(Verdict::passed) && self.run.interruption.signal().is_none() {
            self.leave("nothing to compare with", verdict, key);
            self.waiting.clear();
        }
        let is_last = !self.waiting.iter().any(|pending| pending.cell.key == *key);
        is_last.then_some(judged)
    }

    fn judged(&self, key: &Key) -> Option<JudgedCell> {
        self.judging.as_ref()?.cell(key)
    }

    /// Logs the reason for the cells that will never begin.
    fn leave(&mut self, course: &str, verdict: Option<&Verdict>, key: &Key) {
        let (begun, left): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|pending| pending.attempt > 1);
        self.waiting = begun;
        let verdict = verdict.map_or("interrupted", Verdict::name);
        for pending in left {
            let why = format!("{course}: {key} was {verdict}");
            self.run.log.cell(&pending.cell.key).event(Event::NotRun { why });
        }
    }
}

/// Returns the boots of a comparison in their order.
fn boots(compare: &Compare, cells: &[PlannedCell]) -> VecDeque<PendingAttempt> {
    let boot = |(key, attempt): (&Key, u32)| {
        let cell = cells.iter().find(|cell| cell.key == *key)?.clone();
        Some(PendingAttempt { cell, attempt: attempt as usize })
    };
    compare.order().filter_map(boot).collect()
}

/// Logs the panic of a cell's task, which has no meaning for any other cell. The last argument
/// is the record of the attempt.
fn broke(run: &Run, cell: &PlannedCell, error: JoinError, logged: Option<&Record>) {
    let what = defect(error);
    let log = run.log.cell(&cell.key);
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

/// Returns the reason why a cell's task broke.
fn defect(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("s2lab has a defect: {}", text.unwrap_or("a panic without a word"))
        }
        Err(error) => format!("the cell's task ended: {error}"),
    }
}
