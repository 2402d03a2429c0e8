//! The order of a run's attempts: what begins next, what is attempted again, what is left.

use super::{
    Course, Run,
    judging::Judging,
    queue::{PendingAttempt, Queue, Ticket},
    turns::Turns,
};
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
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{Id, JoinError, JoinSet},
};

/// The number of hosts at a time of a comparison.
const PAIR: usize = 2;

/// The report of a session that the log has the end of its present cell.
pub(super) struct CellOver {
    pub(super) ticket: Ticket,
    /// Gets true if the host may serve the next cell.
    pub(super) goes_on: oneshot::Sender<bool>,
}

/// An attempt that has ended, with all of its events in the log.
pub(super) struct Ended {
    /// None: the session has ended after its cells.
    pending: Option<PendingAttempt>,
    over: Option<CellOver>,
}

/// The sessions at work.
pub(super) struct Dispatcher {
    run: Arc<Run>,
    course: Course,
    judging: Option<Judging>,
    queue: Arc<Queue>,
    running: JoinSet<()>,
    by_task: HashMap<Id, Ticket>,
    /// Notified of each kernel that is there from then on.
    kernels: watch::Receiver<usize>,
    reports: mpsc::UnboundedReceiver<CellOver>,
    report: mpsc::UnboundedSender<CellOver>,
    /// The reason why no further cell begins: one did not pass.
    stopped: Option<String>,
}

impl Dispatcher {
    pub(super) fn new(
        run: Arc<Run>,
        cells: Vec<PlannedCell>,
        course: Course,
        judging: Option<Judging>,
    ) -> Self {
        let (waiting, isolate) = match &course.compare {
            Some(compare) => (boots(compare, &cells), true),
            None => {
                let first = |cell| PendingAttempt { cell, attempt: 1, turns: None };
                (cells.into_iter().map(first).collect(), course.isolate)
            }
        };
        let queue = Arc::new(Queue::new(waiting, isolate));
        let (report, reports) = mpsc::unbounded_channel();
        let (running, by_task) = (JoinSet::new(), HashMap::new());
        let kernels = run.boot.kernels().changes();
        Self { run, course, judging, queue, running, by_task, kernels, reports, report, stopped: None }
    }

    /// Begins as many sessions as there are jobs, and cells whose kernel is there. The boots of a comparison
    /// begin in pairs: none lasts into the next pair.
    fn begin(&mut self) {
        let jobs = match self.course.compare {
            Some(_) if !self.running.is_empty() => return,
            Some(_) => PAIR,
            None => self.course.jobs.max(1),
        };
        while self.running.len() < jobs && self.run.interruption.signal().is_none() {
            let Some(opening) = self.queue.open(|cell| self.run.may_begin(cell)) else { break };
            let (run, queue, report) = (Arc::clone(&self.run), Arc::clone(&self.queue), self.report.clone());
            let ticket = opening.ticket;
            let task = self.running.spawn(async move { run.session(opening, &queue, report).await });
            self.by_task.insert(task.id(), ticket);
        }
    }

    /// Begins what can begin, and returns the next attempt that has ended, or None if no session is at
    /// work and none will be.
    pub(super) async fn next(&mut self) -> io::Result<Option<Ended>> {
        let ended = loop {
            self.begin();
            let awaits_kernel = self.run.interruption.signal().is_none()
                && self.queue.awaits(|cell| self.run.may_begin(cell));
            if self.running.is_empty() && !awaits_kernel {
                return Ok(None);
            }
            tokio::select! {
                // A session reports before it ends.
                biased;
                Some(over) = self.reports.recv() => {
                    break Ended { pending: self.queue.take_present(over.ticket), over: Some(over) };
                }
                Some(done) = self.running.join_next_with_id() => break self.session_ended(done).await?,
                _ = self.kernels.changed(), if awaits_kernel => {}
                () = self.run.interruption.interrupted(), if awaits_kernel => {}
            }
        };
        match self.run.log.flush().await {
            true => Ok(Some(ended)),
            false => Err(io::Error::other("the event log cannot be written")),
        }
    }

    async fn session_ended(&mut self, done: Result<(Id, ()), JoinError>) -> io::Result<Ended> {
        let id = done.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let ticket = self.by_task.remove(&id).ok_or_else(|| io::Error::other("a session is not known"))?;
        let pending = self.queue.take_present(ticket);
        self.queue.close(ticket);
        if let Err(error) = done {
            self.run.log.flush().await;
            match &pending {
                Some(PendingAttempt { cell, attempt, .. }) => {
                    let logged = self.judged(&cell.key);
                    let logged = logged.as_ref().and_then(|judged| judged.attempts.get(attempt - 1));
                    broke(&self.run, cell, error, logged.map(|attempt| &attempt.record));
                }
                None => tracing::error!("a session, after the end of its cells: {}", defect(error)),
            }
        }
        Ok(Ended { pending, over: None })
    }

    /// Returns the judgement of a cell after its last attempt. Another attempt is put first.
    pub(super) fn judge(&mut self, Ended { pending, over }: Ended) -> Option<JudgedCell> {
        if self.course.compare.is_some() {
            return self.judge_boot(&pending?.cell.key);
        }
        let judged = pending.map(|pending| self.judge_attempt(pending));
        if let Some(CellOver { ticket, goes_on }) = over {
            // A host whose cell does not pass serves no other: the next boot begins without its traces.
            let passed = judged.as_ref().is_some_and(|judged| judged.passed);
            let may = passed && self.stopped.is_none() && self.run.interruption.signal().is_none();
            if !may {
                self.queue.release(ticket);
            }
            // A session that has broken does not wait.
            let _ = goes_on.send(may);
        }
        let cell = judged.and_then(|judged| judged.cell);
        let verdict = cell.as_ref().map(|cell| cell.verdict.as_ref());
        let fine = |verdict: &Verdict| matches!(verdict, Verdict::Pass { .. } | Verdict::Skip(_));
        if let (true, Some(verdict), Some(cell), None) =
            (self.course.fail_fast, verdict, &cell, &self.stopped)
            && !verdict.is_some_and(fine)
        {
            let verdict = verdict.map_or("interrupted", Verdict::name);
            self.stopped = Some(format!("--fail-fast: {} was {verdict}", cell.planned.key));
        }
        if let Some(why) = &self.stopped {
            self.leave(why);
        }
        cell
    }

    fn judge_attempt(&self, PendingAttempt { cell, attempt, .. }: PendingAttempt) -> JudgedAttempt {
        // A log that cannot be read now cannot be read at the end either, and that is an error
        // then.
        let ask = self.judging.as_ref();
        let passed = ask.is_some_and(|judging| judging.passed(&cell.key, attempt));
        let another = ask.and_then(|judging| judging.another(&cell.key, self.course.attempts));
        if self.run.interruption.signal().is_none() && another == Some(true) {
            self.queue.push_first(PendingAttempt { cell, attempt: attempt + 1, turns: None });
            return JudgedAttempt { passed, cell: None };
        }
        JudgedAttempt { passed, cell: self.judged(&cell.key) }
    }

    /// Returns the judgement of a cell of a comparison after its last boot. A boot that does not pass
    /// ends the comparison: it has no number.
    fn judge_boot(&mut self, key: &Key) -> Option<JudgedCell> {
        let judged = self.judged(key)?;
        let verdict = judged.attempts.last().and_then(|attempt| attempt.judgement.verdict.as_ref());
        if !verdict.is_some_and(Verdict::passed) && self.run.interruption.signal().is_none() {
            let verdict = verdict.map_or("interrupted", Verdict::name);
            self.leave(&format!("nothing to compare with: {key} was {verdict}"));
            self.queue.clear();
        }
        let is_last = !self.queue.waits(key);
        is_last.then_some(judged)
    }

    fn judged(&self, key: &Key) -> Option<JudgedCell> {
        self.judging.as_ref()?.cell(key)
    }

    /// Logs the reason for the cells that will never begin.
    fn leave(&self, why: &str) {
        for pending in self.queue.take_unbegun() {
            self.run.log.cell(&pending.cell.key).event(Event::NotRun { why: why.to_owned() });
        }
    }
}

/// An attempt that has ended.
struct JudgedAttempt {
    passed: bool,
    /// The cell, after its last attempt.
    cell: Option<JudgedCell>,
}

/// Returns the boots of a comparison in their order. Those of a pair take their samples in turns.
fn boots(compare: &Compare, cells: &[PlannedCell]) -> VecDeque<PendingAttempt> {
    let pair = |pair: u32| {
        let boot = move |(key, turns): (&Key, Turns)| {
            let cell = cells.iter().find(|cell| cell.key == *key)?.clone();
            Some(PendingAttempt { cell, attempt: pair as usize + 1, turns: Some(Arc::new(turns)) })
        };
        compare.keys(pair).into_iter().zip(Turns::of_pair()).filter_map(boot)
    };
    (0..compare.pairs).flat_map(pair).collect()
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
        log.event(Event::CellStarted { session: None, place: None });
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
