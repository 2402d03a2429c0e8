//! A run: a plan carried out, cell by cell, into an event log.

pub mod cell;
pub mod console;
mod diagnosis;
pub mod folder;
pub mod images;
pub mod link;
pub mod log;
pub mod look;
pub mod preflight;
mod pulse;
pub mod signals;
pub mod slots;
pub mod stages;
mod steps;
pub mod visit;

use crate::qemu::{factor::Factor, process::Launcher};
use cell::Shared;
use folder::RunFolder;
use images::Images;
use log::EventLog;
use s2lab_model::event::{CellEnd, Event, PlannedCell, Stage, StopCause};
use signals::Interruption;
use slots::Slots;
use stages::Deadlines;
use std::{io, sync::Arc};
use tokio::task::JoinSet;
use visit::Visit;

/// A run that is ready to begin.
pub struct Run {
    pub folder: RunFolder,
    pub log: EventLog,
    pub images: Images,
    pub slots: Slots,
    pub launcher: Launcher,
    pub interruption: Interruption,
    pub deadlines: Deadlines,
    /// What `deadlines` were stretched by, for the reports.
    pub factor: Factor,
    /// Who gets a shell in the cells' hosts instead of their steps.
    pub visit: Option<Arc<Visit>>,
}

impl Run {
    /// Carries out the cells, as many at a time as there are slots and `jobs`. `ended` is called as each ends, when all of
    /// its events are in the log.
    pub async fn carry_out(
        self,
        cells: Vec<PlannedCell>,
        jobs: usize,
        mut ended: impl FnMut(&str),
    ) -> io::Result<()> {
        let run = Arc::new(self);
        let mut waiting = cells.into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < jobs.max(1) && run.interruption.signal().is_none() {
                let Some(cell) = waiting.next() else { break };
                let run = Arc::clone(&run);
                running.spawn(async move {
                    let done = run.cell(&cell).await;
                    done.map(|()| cell.key)
                });
            }
            let Some(done) = running.join_next().await else { break };
            let key = done.map_err(io::Error::other)??;
            if !run.log.flush().await {
                return Err(io::Error::other("the event log cannot be written"));
            }
            ended(&key);
        }
        if let Some(signal) = run.interruption.signal() {
            run.log.event(Event::Interrupted { signal: signal.into() });
        } else {
            run.log.event(Event::RunEnded);
        }
        Ok(())
    }

    async fn cell(&self, cell: &PlannedCell) -> io::Result<()> {
        let log = self.log.cell(&cell.key);
        let folder = self.folder.cell(&cell.key)?;
        let Some(kernel) = self.images.kernel(&cell.kernel) else {
            log.event(Event::CellStarted);
            let what = format!("the store gave no kernel `{}`", cell.kernel);
            let end = CellEnd::Stopped { stage: Stage::Prepare, cause: StopCause::Lab, what, hint: None };
            log.event(Event::CellEnded { end });
            return Ok(());
        };
        let _slot = tokio::select! {
            slot = self.slots.take(|| tracing::warn!("waiting for a slot: another run uses this machine")) => slot?,
            () = self.interruption.interrupted() => return Ok(()),
        };
        let raw = self.folder.raw();
        let shared = Shared {
            launcher: &self.launcher,
            images: &self.images,
            raw: &raw,
            deadlines: self.deadlines,
            factor: self.factor,
            visit: self.visit.as_deref(),
        };
        cell::run(&shared, cell, kernel, &folder, log, self.interruption.interrupted()).await;
        Ok(())
    }
}
