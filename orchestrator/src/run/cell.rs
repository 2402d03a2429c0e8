//! A cell: one scenario on one kernel, in a session.

use super::{
    conclusion::Completion,
    guests,
    log::EventLog,
    operator::Operator,
    programs::{Place, Programs},
    saved::SavedHosts,
    serve::Supply,
    session::Session,
    stages::{Stages, Stop},
    turns::Turns,
};
use crate::{
    boot::files::BootFiles,
    host::{
        HostError, Launcher,
        deadlines::{Deadline, Deadlines, Factor},
    },
};
use s2lab_cache::Qemu;
use s2lab_model::{
    event::{Event, PlannedCell, Stage},
    scenario::{AssignDriver, FLASH, Guest},
    steps::Beside,
};
use s2lab_os::waits::timeout;
use s2lab_protocol::{
    Bar, BoundDevice, CellRecord, Hello, Peer,
    ask::{Bind, EndCell, Finish, StopGuest},
    cell_line,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The parts that a cell gets from its run.
pub struct Shared<'a> {
    pub launcher: &'a Launcher,
    pub boot: &'a BootFiles,
    /// The emulator of the cell's host.
    pub qemu: &'a Qemu,
    /// The folder of table pages.
    pub raw: &'a Path,
    pub deadlines: Deadlines,
    /// The factor of the deadlines.
    pub factor: Factor,
    /// The programs of the steps `exec`.
    pub programs: &'a Programs,
    /// The bytes that the run's file system must have left before a host boots:
    /// [`crate::boot::preflight::STATE_SPACE`], except in tests with less.
    pub least_space: u64,
    /// A person at the host.
    pub operator: Option<&'a Operator>,
    /// The seed of the order of the run's cells.
    pub seed: Option<u32>,
    /// The saved hosts, if cells may go on with them.
    pub saved: Option<&'a SavedHosts>,
    /// The place in a pair of a comparison.
    pub turns: Option<&'a Turns>,
}

/// A cell of a run, with its folder and a log for its events.
pub struct CellPlace {
    pub planned: PlannedCell,
    pub folder: PathBuf,
    pub log: EventLog,
}

/// The work of a cell, from its preflight to its final record; to that of the host, if no other cell
/// follows. `boots`: it is the first of its session.
pub(super) async fn work(
    shared: &Shared<'_>,
    planned: &PlannedCell,
    session: &mut Session<'_>,
    stages: &mut Stages,
    supply: &impl Supply,
    boots: bool,
) -> Result<Completion, Stop> {
    stages.enter(Stage::Preflight);
    session.preflight(planned, shared.least_space, boots)?;
    if boots {
        stages.enter(Stage::HostBoot);
        session.boot().await?;
    }
    let log = stages.log().clone();
    let (looked, ended_by_probe) = (BTreeMap::new(), BTreeSet::new());
    let mut cell = CellContext {
        planned,
        log: &log,
        session,
        raw: shared.raw,
        programs: shared.programs,
        factor: shared.factor,
        turns: shared.turns,
        looked,
        ended_by_probe,
    };
    stages.enter(Stage::Bind);
    cell.bind().await?;
    stages.enter(Stage::GuestBoot);
    cell.start_guests().await?;
    cell.session.save(&planned.key).await;
    stages.enter(Stage::Steps);
    let errand = shared.operator.and_then(|operator| Some((operator, operator.errand()?)));
    match errand.map(|(operator, errand)| (operator, errand, errand.in_guest())) {
        Some((operator, _, Some((guest, file, run)))) => {
            let request = cell.session.deadlines.of(Deadline::Request);
            let (end, output) =
                cell.session.run_program(Place::Guest(guest), &file.bytes, run, request).await?;
            operator.take(&end, &output)?;
        }
        Some((operator, errand, None)) => {
            let ssh = cell.session.ssh().map_err(|e| Stop::lab(format!("cannot use the ssh stream: {e}")))?;
            let shell = operator.receive(ssh, errand, cell.session.ssh_patience());
            cell.session.serve_looks(planned, operator, shell).await?;
        }
        None => cell.steps().await?,
    }
    if let Some(operator) = shared.operator.filter(|operator| operator.keeps()) {
        log.flush().await;
        if let Some(why) = operator.lacks(&planned.key) {
            return Ok(Completion::Lacking(why));
        }
    }
    stages.enter(Stage::ShutDown);
    cell.shut_down(supply).await
}

/// A cell at work: its session, and the state that its stages and steps share.
pub(super) struct CellContext<'a, 's> {
    pub(super) planned: &'a PlannedCell,
    pub(super) log: &'a EventLog,
    pub(super) session: &'a mut Session<'s>,
    pub(super) raw: &'a Path,
    pub(super) programs: &'a Programs,
    pub(super) factor: Factor,
    pub(super) turns: Option<&'a Turns>,
    /// The registers that lead to the tables of the guests that were looked at.
    pub(super) looked: BTreeMap<String, Beside>,
    /// The guests that a probe has ended.
    pub(super) ended_by_probe: BTreeSet<String>,
}

impl CellContext<'_, '_> {
    async fn bind(&mut self) -> Result<(), Stop> {
        let cell = &self.planned.resolved;
        for device in cell.host.devices.keys().map(String::as_str).chain([FLASH]) {
            let Some((_, way)) = cell.bound().find(|(bound, _)| *bound == device) else { continue };
            let saved = self.session.resumed.as_ref().and_then(|saved| saved.devices.get(device).cloned());
            let bound = match saved {
                Some(bound) => bound,
                None => {
                    let port = self.session.port_of(device)?;
                    let ask = Bind { device: device.to_owned(), port, kind: way.into() };
                    self.session.ask_host(ask, self.session.deadlines.of(Deadline::Bind)).await?
                }
            };
            self.log.event(Event::DeviceBound(bound.clone()));
            self.session.around.devices.insert(device.to_owned(), bound);
            if device == FLASH {
                self.session.around.place_flash(cell);
                continue;
            }
            let placed = self.placed(device, way).await?;
            for &bar in &placed {
                self.log.event(Event::BarPlaced { device: device.to_owned(), bar });
            }
            self.session.around.placed.insert(device.to_owned(), placed);
        }
        self.count_bars()
    }

    /// The device's memory BARs by the machine's own word; none if it has none.
    async fn placed(&mut self, device: &str, way: AssignDriver) -> Result<Vec<Bar>, Stop> {
        let is_function = way == AssignDriver::VirtualFunction;
        let function = if is_function { Some(self.bound(device)?.address.clone()) } else { None };
        let of_device = self.planned.resolved.host.devices.get(device).is_none_or(|of| of.bar.is_some());
        let chosen = is_function || of_device;
        match self.session.host.placement() {
            Some(mut placement) => {
                Ok(placement.bars(device, chosen, function.as_deref()).await.map_err(HostError::from)?)
            }
            None => Ok(vec![]),
        }
    }

    async fn start_guests(&mut self) -> Result<(), Stop> {
        for (name, guest) in &self.planned.resolved.guests {
            self.start_guest(name, guest).await?;
        }
        Ok(())
    }

    async fn start_guest(&mut self, name: &str, guest: &Guest) -> Result<(), Stop> {
        if self.session.resumed.is_none() {
            self.ask_for_guest(name, guest).await?;
        }
        let deadline = self.session.deadlines.of(Deadline::GuestBoot);
        let hello = self.session.link.hello(&Peer::Guest(name.to_owned()), deadline).await?;
        let Hello { release, page_size, taint, .. } = hello;
        self.log.event(Event::GuestUp { guest: name.to_owned(), release, page_size, taint });
        Ok(())
    }

    async fn ask_for_guest(&mut self, name: &str, guest: &Guest) -> Result<(), Stop> {
        let address = |device: &str| Ok::<_, Stop>(self.bound(device)?.address.clone());
        let ask = guests::request(name, guest, &self.planned.resolved.host, self.session.nonce, address)?;
        self.session.ask_host(ask, self.session.deadlines.of(Deadline::Request)).await?;
        Ok(())
    }

    /// Ends the guests and the cell. Without a next one that the host can serve, it ends the host too.
    async fn shut_down(&mut self, supply: &impl Supply) -> Result<Completion, Stop> {
        let deadline = self.session.deadlines.of(Deadline::ShutDown);
        for guest in self.planned.resolved.guests.keys() {
            self.session.ask_host(StopGuest { guest: guest.clone() }, deadline).await?;
        }
        let follows = supply.reserve();
        let nonce = self.session.nonce;
        let shown = self.session.consoles.host.lock().await.expect(cell_line(nonce));
        self.session.require_console().await?;
        let CellRecord { answered, taint, tables, unclean, .. } =
            self.session.ask_host(EndCell { nonce, follows }, deadline).await?;
        self.check_answered(answered)?;
        self.log.event(Event::CellRecord { taint, tables });
        if let Some(why) = &unclean {
            tracing::info!("{}: the host serves no other cell: {why}", self.planned.key);
        }
        // Everything that the host's kernel has printed so far belongs to this cell.
        let patience = self.session.deadlines.of(Deadline::Alive);
        if follows && unclean.is_none() && matches!(timeout(patience, shown).await, Ok(Ok(()))) {
            self.session.notices_read().await;
            return Ok(Completion::Ready);
        }
        let record = self.session.ask_host(Finish {}, deadline).await?;
        self.check_answered(record.answered)?;
        self.log.event(Event::HostDown { taint: record.taint, tables: record.tables });
        Ok(Completion::Finished)
    }

    fn check_answered(&self, said: u64) -> Result<(), Stop> {
        match self.session.link.host_answered() {
            answered if answered == said => Ok(()),
            answered => {
                Err(Stop::lab(format!("the host's final record counts {said} answers, s2lab got {answered}")))
            }
        }
    }

    pub(super) fn bound(&self, device: &str) -> Result<&BoundDevice, Stop> {
        let devices = &self.session.around.devices;
        devices.get(device).ok_or_else(|| Stop::lab(format!("`{device}` is not bound")))
    }

    /// The PCI address of an assigned device in its guest.
    pub(super) fn guest_address(&self, guest: &str, device: &str) -> Result<String, Stop> {
        let mut slots = self.planned.resolved.guests.get(guest).into_iter().flat_map(guests::slots);
        let slot = slots.find(|(name, ..)| *name == device);
        let (.., slot) = slot.ok_or_else(|| Stop::lab(format!("guest {guest} has no device `{device}`")))?;
        Ok(format!("0000:00:{slot:02x}.0"))
    }
}
