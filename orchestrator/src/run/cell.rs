//! A cell: one scenario on one kernel, in a session of its own.

use super::{
    conclusion::Completion,
    log::EventLog,
    operator::Operator,
    session::Session,
    stages::{Stages, Stop},
    watch::Cancel,
};
use crate::{
    boot::{files::BootFiles, kernel::ready::KernelFiles},
    host::{
        HostError, Launcher,
        deadlines::{Deadline, Deadlines, Factor},
    },
};
use s2lab_cache::Qemu;
use s2lab_model::{
    event::{CellEnd, Event, PlannedCell, Stage},
    scenario::Guest,
    steps::Beside,
};
use s2lab_protocol::{
    Bar, BoundDevice, Hello, Peer,
    ask::{AssignedDevice, Bind, Finish, StartGuest, StopGuest},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    pin::pin,
};

/// The slot on a guest's root bus of its first assigned device. The slots below are for its VMM's
/// own devices.
const FIRST_SLOT: u8 = 0x10;

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
    /// The bytes that the run's file system must have left before a host boots:
    /// [`crate::boot::preflight::STATE_SPACE`], except in tests with less.
    pub least_space: u64,
    /// A person at the host.
    pub operator: Option<&'a Operator>,
}

/// Runs a cell. When this returns, no process is left, and the log has the cell's end. `cancelled`
/// resolves when the run is interrupted.
pub async fn run(
    shared: &Shared<'_>,
    planned: &PlannedCell,
    kernel: &KernelFiles,
    folder: &Path,
    log: EventLog,
    cancelled: impl Future<Output = ()>,
) {
    let log = log.new_session();
    log.event(Event::SessionStarted);
    log.event(Event::CellStarted { session: log.session_id() });
    let mut stages = Stages::new(log.clone());
    let mut cancelled = pin!(cancelled);
    let cancel = Cancel::new(cancelled.as_mut());
    let end = match attempt(shared, planned, kernel, folder, &mut stages, cancel).await {
        Ok(end) => end,
        Err(stop) => {
            tracing::debug!("{}: {}", planned.key, stop.chain());
            let Stop { cause, what, hint, .. } = stop;
            CellEnd::Stopped { stage: stages.current(), cause, what, hint }
        }
    };
    stages.finish();
    log.event(Event::CellEnded { end });
    log.event(Event::SessionEnded);
}

async fn attempt(
    shared: &Shared<'_>,
    planned: &PlannedCell,
    kernel: &KernelFiles,
    folder: &Path,
    stages: &mut Stages,
    mut cancel: Cancel<'_, impl Future<Output = ()>>,
) -> Result<CellEnd, Stop> {
    stages.enter(Stage::Prepare);
    let log = stages.log().clone();
    let (mut session, mut watch) = tokio::select! {
        biased;
        () = cancel.requested() => return Err(Stop::interrupted()),
        prepared = Session::prepare(shared, planned, kernel, folder, &log) => prepared?,
    };
    let alone = shared.operator.is_some_and(Operator::is_instead_of_steps);
    let done = {
        let work = pin!(work(shared, planned, &mut session, stages));
        watch.race(work, &mut cancel, alone).await
    };
    let mut facts = watch.facts(done, &mut session).await;
    let keeper = shared.operator.filter(|operator| operator.keeps());
    // A host that has not booted has no sshd, and a person runs their own commands.
    let up = stages.current() > Stage::HostBoot;
    session.diagnose(&facts, up && keeper.is_none(), &mut cancel).await;
    facts.troubles.extend(watch.troubles());
    if let Some(operator) = keeper {
        session.keep(operator, planned, &facts, &mut watch, up, &mut cancel).await;
    }
    let facts = session.end(watch, facts).await;
    facts.conclusion().map(|done| match done {
        Completion::Finished => CellEnd::Complete,
        Completion::Lacking(_) => CellEnd::Kept,
    })
}

/// The work of a cell, from its preflight to the host's final record.
async fn work(
    shared: &Shared<'_>,
    planned: &PlannedCell,
    session: &mut Session<'_>,
    stages: &mut Stages,
) -> Result<Completion, Stop> {
    stages.enter(Stage::Preflight);
    session.preflight(planned, shared.least_space)?;
    stages.enter(Stage::HostBoot);
    session.boot().await?;
    let log = stages.log().clone();
    let (looked, ended_by_probe) = (BTreeMap::new(), BTreeSet::new());
    let mut cell = CellContext { planned, log: &log, session, raw: shared.raw, looked, ended_by_probe };
    stages.enter(Stage::Bind);
    cell.bind().await?;
    stages.enter(Stage::GuestBoot);
    cell.start_guests().await?;
    stages.enter(Stage::Steps);
    match shared.operator.filter(|operator| operator.is_instead_of_steps()) {
        Some(operator) => {
            let ssh = cell.session.ssh().map_err(|e| Stop::lab(format!("cannot use the ssh stream: {e}")))?;
            let shell = operator.receive(ssh, cell.session.deadlines.of(Deadline::Login));
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
    cell.shut_down().await.map(|()| Completion::Finished)
}

/// A cell at work: its session, and the state that its stages and steps share.
pub(super) struct CellContext<'a, 's> {
    pub(super) planned: &'a PlannedCell,
    pub(super) log: &'a EventLog,
    pub(super) session: &'a mut Session<'s>,
    pub(super) raw: &'a Path,
    /// The registers that lead to the tables of the guests that were looked at.
    pub(super) looked: BTreeMap<String, Beside>,
    /// The guests that a probe has ended.
    pub(super) ended_by_probe: BTreeSet<String>,
}

impl CellContext<'_, '_> {
    async fn bind(&mut self) -> Result<(), Stop> {
        let cell = &self.planned.resolved;
        let assigned: BTreeMap<_, _> = cell.guests.values().flat_map(|guest| &guest.assign).collect();
        for (index, device) in cell.host.devices.keys().enumerate() {
            let Some(way) = assigned.get(device) else { continue };
            let port = self.session.host.port_address(index);
            let ask = Bind { device: device.clone(), port, kind: (**way).into() };
            let bound = self.session.ask_host(ask, self.session.deadlines.of(Deadline::Bind)).await?;
            self.log.event(Event::DeviceBound(bound.clone()));
            self.session.around.devices.insert(device.clone(), bound);
            let placed = self.placed(device).await?;
            for &bar in &placed {
                self.log.event(Event::BarPlaced { device: device.clone(), bar });
            }
            self.session.around.placed.insert(device.clone(), placed);
        }
        self.count_bars()
    }

    /// The device's memory BARs by the machine's own word; none if it has none.
    async fn placed(&mut self, device: &str) -> Result<Vec<Bar>, Stop> {
        match self.session.host.placement() {
            Some(mut placement) => Ok(placement.bars(device).await.map_err(HostError::from)?),
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
        let mut devices = vec![];
        for ((device, way), slot) in guest.assign.iter().zip(FIRST_SLOT..) {
            devices.push(AssignedDevice {
                device: device.clone(),
                kind: (*way).into(),
                host_address: self.bound(device)?.address.clone(),
                guest_slot: slot,
            });
        }
        let memory_mib = u32::try_from(guest.memory.0 >> 20)
            .map_err(|_| Stop::lab(format!("guest {name} has {} of memory", guest.memory)))?;
        let (name, vmm) = (name.to_owned(), guest.vmm.into());
        let ask = StartGuest { name: name.clone(), vmm, memory_mib, cpus: guest.vcpus, devices };
        self.session.ask_host(ask, self.session.deadlines.of(Deadline::Request)).await?;
        let deadline = self.session.deadlines.of(Deadline::GuestBoot);
        let hello = self.session.link.hello(&Peer::Guest(name.clone()), deadline).await?;
        let Hello { release, page_size, taint, .. } = hello;
        self.log.event(Event::GuestUp { guest: name, release, page_size, taint });
        Ok(())
    }

    /// Ends the guests, up to the host's final record.
    async fn shut_down(&mut self) -> Result<(), Stop> {
        let deadline = self.session.deadlines.of(Deadline::ShutDown);
        for guest in self.planned.resolved.guests.keys() {
            self.session.ask_host(StopGuest { guest: guest.clone() }, deadline).await?;
        }
        self.session.require_console().await?;
        let record = self.session.ask_host(Finish {}, deadline).await?;
        let (said, answered) = (record.answered, self.session.link.host_answered());
        if said != answered {
            return Err(Stop::lab(format!(
                "the host's final record counts {said} answers, s2lab got {answered}"
            )));
        }
        self.log.event(Event::HostDown { taint: record.taint, tables: record.tables });
        Ok(())
    }

    fn bound(&self, device: &str) -> Result<&BoundDevice, Stop> {
        let devices = &self.session.around.devices;
        devices.get(device).ok_or_else(|| Stop::lab(format!("`{device}` is not bound")))
    }

    /// The PCI address of an assigned device in its guest.
    pub(super) fn guest_address(&self, guest: &str, device: &str) -> Result<String, Stop> {
        let assign = self.planned.resolved.guests.get(guest).map(|guest| &guest.assign);
        let mut slots = assign.into_iter().flat_map(|assign| assign.keys().zip(FIRST_SLOT..));
        let slot = slots.find(|(name, _)| *name == device);
        let (_, slot) = slot.ok_or_else(|| Stop::lab(format!("guest {guest} has no device `{device}`")))?;
        Ok(format!("0000:00:{slot:02x}.0"))
    }
}
