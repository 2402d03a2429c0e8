//! One boot of a host, which serves cells one after the other until one of them does not pass.

use super::{
    cell::{CellPlace, Shared, work},
    conclusion::{Completion, Facts},
    session::Session,
    stages::{Stages, Stop},
    watch::{Cancel, Watch},
};
use crate::boot::kernel::ready::KernelFiles;
use s2lab_model::{
    event::{CellEnd, Event, Place, Stage},
    plan::SharedHost,
};
use std::pin::pin;

/// The cells that follow on a host.
pub trait Supply {
    /// Sets a cell aside that comes after the present one. Returns false if there is none.
    fn reserve(&self) -> bool;

    /// Reports that the log has the end of the present cell. Returns the cell that was set aside, or
    /// None if the host must not serve it.
    fn next(&self) -> impl Future<Output = Option<CellPlace>> + Send;
}

/// A supply of no further cell.
pub struct Alone;

impl Supply for Alone {
    fn reserve(&self) -> bool {
        false
    }

    async fn next(&self) -> Option<CellPlace> {
        None
    }
}

/// Boots a host and runs cells in it. When this returns, no process is left, and the log has the end
/// of each. `cancelled` resolves when the run is interrupted.
pub async fn serve(
    shared: &Shared<'_>,
    first: CellPlace,
    kernel: &KernelFiles,
    host: &SharedHost,
    supply: &impl Supply,
    cancelled: impl Future<Output = ()>,
) {
    let log = first.log.new_session();
    log.event(Event::SessionStarted);
    let mut cancelled = pin!(cancelled);
    let cancel = Cancel::new(cancelled.as_mut());
    let first = CellPlace { log: log.clone(), ..first };
    boot(shared, first, kernel, host, supply, cancel).await;
    log.event(Event::SessionEnded);
}

/// Writes the begin of a cell.
fn begin(cell: &CellPlace, place: &Place) -> Stages {
    cell.log.event(Event::CellStarted { session: cell.log.session_id(), place: Some(place.clone()) });
    Stages::new(cell.log.clone())
}

/// Writes the end of a cell.
fn end(cell: &CellPlace, stages: &mut Stages, end: Result<CellEnd, Stop>) {
    let end = end.unwrap_or_else(|stop| {
        tracing::debug!("{}: {}", cell.planned.key, stop.chain());
        let Stop { cause, what, hint, .. } = stop;
        CellEnd::Stopped { stage: stages.current(), cause, what, hint }
    });
    stages.finish();
    cell.log.event(Event::CellEnded { end });
}

async fn boot(
    shared: &Shared<'_>,
    first: CellPlace,
    kernel: &KernelFiles,
    host: &SharedHost,
    supply: &impl Supply,
    mut cancel: Cancel<'_, impl Future<Output = ()>>,
) {
    let mut stages = begin(&first, &Place::FIRST);
    stages.enter(Stage::Prepare);
    let prepared = tokio::select! {
        biased;
        () = cancel.requested() => Err(Stop::interrupted()),
        prepared = Session::prepare(shared, &first, kernel, host) => prepared,
    };
    let (mut session, mut watch) = match prepared {
        Ok(prepared) => prepared,
        Err(stop) => return end(&first, &mut stages, Err(stop)),
    };
    let (mut cell, mut place) = (first, Place::FIRST);
    loop {
        let done = {
            let boots = place == Place::FIRST;
            let work = pin!(work(shared, &cell.planned, &mut session, &mut stages, supply, boots));
            let alone = shared.operator.is_some_and(|operator| operator.errand().is_some());
            watch.race(work, &mut cancel, alone).await
        };
        // Who asks for an end gets it before the next cell.
        let is_ready = matches!(done, Some(Ok(Completion::Ready))) && !cancel.is_requested();
        let mut facts = watch.facts(done, &mut session).await;
        let (Ok(Completion::Ready), true, None) = (facts.conclusion(), is_ready, &facts.ended) else {
            let keeper = shared.operator.filter(|operator| operator.keeps());
            // A host that has not booted has no sshd, and a person runs their own commands.
            let up = stages.current() > Stage::HostBoot || place != Place::FIRST;
            session.diagnose(&facts, up && keeper.is_none(), &mut cancel).await;
            facts.troubles.extend(watch.troubles());
            if let Some(operator) = keeper {
                session.keep(operator, &cell.planned, &facts, &mut watch, up, &mut cancel).await;
            }
            let facts = session.end(watch, facts).await;
            return end(&cell, &mut stages, conclusion(&facts));
        };
        // Nobody reads the host's console between two cells: each of its lines belongs to one.
        let host_console = session.consoles.host.clone();
        let mut console = host_console.lock().await;
        console.end_cell();
        session.consoles.guests.lock().await.values_mut().for_each(|guest| guest.finish());
        end(&cell, &mut stages, Ok(CellEnd::Complete));
        let Some(next) = supply.next().await else {
            watch.ignore_alarms();
            drop(console);
            return finish(session, watch).await;
        };
        let next = CellPlace { log: next.log.session_of(&cell.log), ..next };
        place = Place { before: place.before.saturating_add(1), after: Some(cell.planned.key.clone()) };
        let note = format!("the host has served {} before; this is its console since then", cell.planned.key);
        cell = next;
        stages = begin(&cell, &place);
        stages.enter(Stage::Prepare);
        if let Err(stop) = session.begin_cell(&cell, &mut console, &note).await {
            watch.ignore_alarms();
            drop(console);
            finish(session, watch).await;
            return end(&cell, &mut stages, Err(stop));
        }
    }
}

fn conclusion(facts: &Facts) -> Result<CellEnd, Stop> {
    facts.conclusion().map(|done| match done {
        Completion::Finished | Completion::Ready => CellEnd::Complete,
        Completion::Lacking(_) => CellEnd::Kept,
    })
}

/// Ends a host between two cells: what comes to light by that is nobody's.
async fn finish(session: Session<'_>, watch: Watch) {
    let facts = session.end(watch, Facts::of_nobody()).await;
    if let Some(left) = facts.left {
        tracing::warn!("after a session: {left}");
    }
}
