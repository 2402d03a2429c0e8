//! A run: it runs a plan, cell by cell, into an event log.

pub mod bundle;
pub mod cell;
mod conclusion;
pub mod console;
mod consoles;
mod dispatcher;
pub mod folder;
pub mod half_made;
pub mod judging;
pub mod log;
mod looks;
pub mod nonce;
pub mod operator;
pub mod report_cache;
pub mod retention;
pub mod session;
pub mod signals;
pub mod slots;
pub mod stages;
mod steps;
mod stuck;
mod watch;

use crate::{
    boot::{files::BootFiles, kernel::ready::KernelFiles},
    host::{
        Launcher,
        deadlines::{Deadlines, Factor},
    },
};
use cell::Shared;
use dispatcher::Dispatcher;
use folder::RunFolder;
use judging::Judging;
use log::EventLog;
use operator::Operator;
use s2lab_cache::{CacheError, Qemu};
use s2lab_model::{
    comparison::Compare,
    event::{Attempts, CellEnd, Event, PlannedCell, Stage},
    judge::JudgedCell,
    plan::{Key, QemuChoice},
};
use signals::Interruption;
use slots::{Holder, Slot, Slots};
use stages::Stop;
use std::{io, sync::Arc};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// The number of cells at a time.
    pub jobs: usize,
    /// The attempts of the plan.
    pub attempts: Attempts,
    /// Begin no cell after one that neither passed nor was skipped.
    pub fail_fast: bool,
    /// A comparison, whose boots are the attempts: one at a time, in its order, while no other run of
    /// this machine boots a host. It replaces the fields above.
    pub compare: Option<Compare>,
}

impl Run {
    /// Runs the cells, as many at a time as there are slots and jobs. `judging` gets each line of
    /// the log. It is asked after each attempt, when all of its events are in the log; without it
    /// each cell is attempted once. `ended` gets each cell after its last attempt.
    pub async fn carry_out(
        mut self,
        cells: Vec<PlannedCell>,
        course: Course,
        judging: Option<Judging>,
        mut ended: impl FnMut(JudgedCell),
    ) -> io::Result<()> {
        if let Some(compare) = &course.compare {
            self.hold_all_slots(&compare.first).await?;
        }
        let run = Arc::new(self);
        let mut dispatcher = Dispatcher::new(Arc::clone(&run), cells, course, judging);
        loop {
            dispatcher.begin();
            let Some(done) = dispatcher.next().await? else { break };
            if let Some(judged) = dispatcher.judge(done) {
                ended(judged);
            }
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

    /// Runs one attempt at a cell. If it cannot begin, the log has the reason too.
    async fn attempt(&self, cell: &PlannedCell, attempt: usize) {
        let log = self.log.cell(&cell.key);
        if let Err(stop) = self.begin(cell, attempt, &log).await {
            not_begun(&log, stop);
        }
    }

    async fn begin(&self, cell: &PlannedCell, attempt: usize, log: &EventLog) -> Result<(), Stop> {
        let (kernel, qemu) = (self.kernel(&cell.kernel)?, self.qemu(&cell.key)?);
        let folder = self.folder.attempt(&cell.key, attempt);
        let folder = folder.map_err(|error| Stop::disk(self.folder.path(), error))?;
        let Some(_slot) = self.slot(&cell.key).await? else { return Ok(()) };
        let raw = self.folder.raw();
        let shared = Shared {
            launcher: &self.launcher,
            boot: &self.boot,
            qemu,
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
        Ok(())
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

/// Logs that a cell could not begin.
fn not_begun(log: &EventLog, stop: Stop) {
    log.event(Event::CellStarted { session: None });
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
