//! A run: it runs a plan, cell by cell, into an event log.

pub mod bundle;
pub mod cell;
mod conclusion;
pub mod console;
mod consoles;
mod dispatcher;
pub mod errand;
pub mod folder;
pub mod guests;
pub mod half_made;
pub mod judging;
pub mod log;
mod looks;
pub mod nonce;
pub mod operator;
pub mod programs;
mod queue;
pub mod report_cache;
pub mod retention;
pub mod saved;
pub mod serve;
pub mod session;
pub mod signals;
pub mod slots;
pub mod stages;
mod steps;
mod stuck;
pub mod turns;
mod watch;

use crate::{
    boot::{files::BootFiles, kernel::ready::KernelFiles},
    host::{
        Launcher,
        deadlines::{Deadlines, Factor},
    },
};
use cell::{CellPlace, Shared};
use dispatcher::{CellOver, Dispatcher};
use folder::RunFolder;
use judging::Judging;
use log::EventLog;
use operator::Operator;
use programs::Programs;
use queue::{Opening, PendingAttempt, Queue, Ticket};
use s2lab_cache::{CacheError, Qemu};
use s2lab_model::{
    comparison::Compare,
    event::{Attempts, CellEnd, Event, PlannedCell, Stage, StopCause},
    judge::JudgedCell,
    plan::{Key, QemuChoice},
};
use saved::SavedHosts;
use serve::Supply;
use signals::Interruption;
use slots::{Holder, Slot, Slots};
use stages::Stop;
use std::{io, path::PathBuf, sync::Arc};
use tokio::sync::{mpsc, oneshot};

/// A run that is ready to begin.
pub struct Run {
    pub folder: RunFolder,
    pub log: EventLog,
    pub boot: BootFiles,
    pub slots: Slots,
    pub launcher: Launcher,
    pub interruption: Interruption,
    pub deadlines: Deadlines,
    /// The factor of the deadlines, for the reports and for the time of programs.
    pub factor: Factor,
    /// The programs of the steps `exec`.
    pub programs: Programs,
    /// The bytes that the run's file system must have left before a host boots. It is
    /// [`crate::boot::preflight::STATE_SPACE`], except in tests with less.
    pub least_space: u64,
    /// A person at the cells' hosts.
    pub operator: Option<Arc<Operator>>,
    /// The seed of the cells' order.
    pub seed: Option<u32>,
    /// The saved hosts, if the first attempt at each cell may go on with one.
    pub saved: Option<SavedHosts>,
}

/// The order and number of attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// The number of sessions at a time.
    pub jobs: usize,
    /// The attempts of the plan.
    pub attempts: Attempts,
    /// Begin no cell after one that neither passed nor was skipped.
    pub fail_fast: bool,
    /// Boot a host for each cell.
    pub isolate: bool,
    /// A comparison, whose boots are the attempts: a pair at a time, in its order, while no other run of this
    /// machine boots a host. It replaces the fields above.
    pub compare: Option<Compare>,
}

impl Run {
    /// Runs the cells, in as many hosts at a time as there are slots and jobs. A cell begins when its
    /// kernel is there, and cells whose kernels are there begin in their order. `judging` gets each line
    /// of the log. It is asked after each attempt, when all of its events are in the log; without it
    /// each cell is attempted once, in a host of its own. `ended` gets each cell after its last attempt.
    pub async fn carry_out(
        mut self,
        cells: Vec<PlannedCell>,
        course: Course,
        judging: Option<Judging>,
        mut ended: impl FnMut(JudgedCell),
    ) -> io::Result<()> {
        let preparation = self.boot.take_preparation();
        // A person, and the numbers of a comparison, have the machine without the builds of kernels.
        if course.compare.is_some() || self.operator.is_some() {
            tokio::select! {
                () = self.boot.kernels().all() => {}
                () = self.interruption.interrupted() => {}
            }
        }
        if let Some(compare) = &course.compare {
            self.hold_all_slots(&compare.first).await?;
        }
        let run = Arc::new(self);
        let mut dispatcher = Dispatcher::new(Arc::clone(&run), cells, course, judging);
        while let Some(done) = dispatcher.next().await? {
            if let Some(judged) = dispatcher.judge(done) {
                ended(judged);
            }
        }
        // The kernels that are still missing are those of cells that do not begin.
        if let Some(preparation) = preparation {
            preparation.stop().await;
        }
        run.log.event(match run.interruption.signal() {
            Some(signal) => Event::Interrupted { signal: signal.into() },
            None => Event::RunEnded,
        });
        Ok(())
    }

    /// Waits until no other run of this machine has a host, and until this run ends none gets one. An
    /// interruption ends the waiting.
    async fn hold_all_slots(&mut self, key: &Key) -> io::Result<()> {
        let waiting = |holders: &[Holder]| {
            tracing::warn!("the comparison waits until no other host runs{}", slots::held_by(holders));
        };
        tokio::select! {
            held = self.slots.hold_all(key, waiting) => held,
            () = self.interruption.interrupted() => Ok(()),
        }
    }

    /// Runs a session, from the boot of its host to its last cell.
    async fn session(&self, opening: Opening, queue: &Queue, report: mpsc::UnboundedSender<CellOver>) {
        let log = self.log.cell(&opening.first.cell.key);
        if let Err(stop) = self.begin(opening, queue, report).await {
            not_begun(&log, stop);
        }
    }

    /// The error is that the first cell cannot begin.
    async fn begin(
        &self,
        Opening { ticket, host, first }: Opening,
        queue: &Queue,
        report: mpsc::UnboundedSender<CellOver>,
    ) -> Result<(), Stop> {
        if let Some(reason) = &first.cell.resolved.excluded {
            return Err(Stop::new(StopCause::Lacking, format!("excluded by the scenario: {reason}")));
        }
        let (kernel, qemu) = (self.kernel(&first.cell.kernel)?, self.qemu(&first.cell.key)?);
        let folder = self.attempt_folder(&first)?;
        let Some(_slot) = self.slot(&first.cell.key).await? else { return Ok(()) };
        let raw = self.folder.raw();
        let shared = Shared {
            launcher: &self.launcher,
            boot: &self.boot,
            qemu,
            raw: &raw,
            deadlines: self.deadlines,
            factor: self.factor,
            programs: &self.programs,
            least_space: self.least_space,
            operator: self.operator.as_deref(),
            seed: self.seed,
            saved: self.saved.as_ref().filter(|_| first.attempt == 1),
            turns: first.turns.as_deref(),
        };
        // Without its log a cell is worth nothing.
        let cancelled = async {
            tokio::select! {
                () = self.interruption.interrupted() => {}
                () = self.log.broken() => {}
            }
        };
        let log = self.log.cell(&first.cell.key);
        let first = CellPlace { planned: first.cell, folder, log };
        let supply = QueueSupply { run: self, queue, ticket, report };
        serve::serve(&shared, first, kernel, &host, &supply, cancelled).await;
        Ok(())
    }

    fn attempt_folder(&self, pending: &PendingAttempt) -> Result<PathBuf, Stop> {
        let folder = self.folder.attempt(&pending.cell.key, pending.attempt);
        folder.map_err(|error| Stop::disk(self.folder.path(), error))
    }

    /// Returns true if the cell has all that it needs, or will never have it.
    fn may_begin(&self, cell: &PlannedCell) -> bool {
        cell.resolved.excluded.is_some() || self.boot.kernels().is_settled(&cell.kernel)
    }

    /// Returns the kernel of that name in the plan.
    fn kernel(&self, name: &str) -> Result<&KernelFiles, Stop> {
        let kernel = self.boot.kernel(name);
        kernel.ok_or_else(|| without(&format!("kernel {name}"), self.boot.missing(name)))
    }

    /// Returns the emulator of a cell's host.
    fn qemu(&self, key: &Key) -> Result<&Qemu, Stop> {
        self.boot.qemu(key).map_err(|why| {
            let name = QemuChoice::of(key).map_or("of the key", QemuChoice::word);
            without(&format!("QEMU {name}"), why)
        })
    }

    /// Waits for the right to boot a host. Returns None if the run is interrupted before.
    async fn slot(&self, key: &Key) -> Result<Option<Slot>, Stop> {
        let waiting = |holders: &[Holder]| {
            tracing::warn!("{key} waits for a slot{}", slots::held_by(holders));
        };
        let slot = tokio::select! {
            slot = self.slots.take(key, waiting) => slot,
            () = self.interruption.interrupted() => return Ok(None),
        };
        slot.map(Some).map_err(|error| Stop::lab(format!("cannot take a slot in the cache: {error}")))
    }
}

/// Returns the reason why a cell does not begin: the cache has no `what`.
fn without(what: &str, why: Option<&CacheError>) -> Stop {
    let reason = why.map_or_else(|| "the cache gave none".to_owned(), CacheError::to_string);
    Stop { hint: why.and_then(CacheError::hint), ..Stop::lab(format!("{what}: {reason}")) }
}

/// The cells of the run's queue that a session can serve.
struct QueueSupply<'a> {
    run: &'a Run,
    queue: &'a Queue,
    ticket: Ticket,
    report: mpsc::UnboundedSender<CellOver>,
}

impl Supply for QueueSupply<'_> {
    fn reserve(&self) -> bool {
        self.queue.reserve(self.ticket)
    }

    async fn next(&self) -> Option<CellPlace> {
        let (goes_on, answer) = oneshot::channel();
        self.report.send(CellOver { ticket: self.ticket, goes_on }).ok()?;
        let pending = match answer.await {
            Ok(true) => self.queue.begin_reserved(self.ticket)?,
            Ok(false) | Err(_) => return None,
        };
        let log = self.run.log.cell(&pending.cell.key);
        match self.run.attempt_folder(&pending) {
            Ok(folder) => Some(CellPlace { planned: pending.cell, folder, log }),
            Err(stop) => {
                not_begun(&log, stop);
                None
            }
        }
    }
}

/// Logs that a cell could not begin.
fn not_begun(log: &EventLog, stop: Stop) {
    log.event(Event::CellStarted { session: None, place: None });
    let Stop { cause, what, hint, .. } = stop;
    log.event(Event::CellEnded { end: CellEnd::Stopped { stage: Stage::Prepare, cause, what, hint } });
}

/// Logs for each cell that the lab could not begin it, so that later readers get the same result.
pub fn give_up(log: &EventLog, cells: &[PlannedCell], what: &str, hint: Option<&str>) {
    for cell in cells {
        not_begun(&log.cell(&cell.key), Stop { hint: hint.map(str::to_owned), ..Stop::lab(what) });
    }
    log.event(Event::RunEnded);
}
