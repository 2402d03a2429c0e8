//! The record: the events of a run, sorted by cell. It is a pure fold over the log. The log may
//! stop anywhere (the cell it stops in has no end, and is LOST), but it must be valid: a known
//! version, no gap, no cell that was not planned.

pub(crate) mod addresses;
pub mod after_reset;
pub mod beside;
pub mod environment;
mod fold;
pub mod host_look;
pub mod kept;
pub mod look;
mod mapping;
mod observations;
mod only;
pub mod overlap;
mod parse;
pub(crate) mod registers;
mod session;
#[cfg(test)]
mod tests;
pub mod virt;
pub(crate) mod vmas;
pub mod vmm;
mod zeros;

use crate::cell::ResolvedCell;
use crate::crash::symbols::{Names, named};
use crate::event::{AlarmClass, CellEnd, Loaded, Place, Plan, PlannedCell, SessionId, Stage, StopCause};
use crate::scenario::FLASH;
use crate::steps::{AfterReset, HostLook, Look, Observed};
use look::DecodedLook;
use s2lab_protocol::{Bar, BoundDevice, HostMemory};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

pub use fold::{Fold, LogError, lines};
pub use observations::{At, Observations};
pub use only::only;
pub use parse::Skipped;
pub use session::Session;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub plan: Plan,
    /// The cells in the plan's order.
    pub cells: Vec<Cell>,
    /// The signal that interrupted the run.
    pub interrupted: Option<String>,
    /// True if the run came to its end. Otherwise the log stops early.
    pub ended: bool,
    /// The parts of the log that this s2lab does not know.
    pub skipped: Skipped,
    /// The damage after which nothing was read, see [`Run::read_as_far`].
    pub damage: Option<LogError>,
    sessions: BTreeMap<SessionId, Session>,
}

/// A planned cell and its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub planned: Arc<PlannedCell>,
    /// One record for each start. There is none if the run did not come to it.
    pub attempts: Vec<Record>,
    /// The reason why the run did not come to it, if the log has one.
    pub not_run: Option<String>,
    /// True if an attempt was begun, even if its record was taken out.
    begun: bool,
}

/// One attempt at a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub planned: Arc<PlannedCell>,
    /// The session that it ran in; none if it ended before a host was begun.
    session_id: Option<SessionId>,
    /// Its place in the session. None: the log is older than 2.4, or there is no session.
    place: Option<Place>,
    /// The facts of that session, and the cell's own of its host; without a session there are none.
    pub session: Session,
    /// The cell's devices, and its own final record.
    own: Session,
    pub guests: BTreeMap<String, Kernel>,
    pub observations: Observations,
    pub alarms: Vec<Alarm>,
    pub crashes: Vec<Crash>,
    pub stages: Vec<StageSpan>,
    /// The begin and the end of the attempt, in milliseconds since the run began.
    pub started_ms: u64,
    pub ended_ms: Option<u64>,
    /// The end of the attempt. None: the log stops before it.
    pub end: Option<CellEnd>,
}

/// The layout of the host's physical address space: everything besides memory that is needed to
/// decode a look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The RAM of the host.
    pub ram: Vec<Range<u64>>,
    /// The parts that QEMU has put into it.
    pub loaded: Vec<Loaded>,
    /// The report of the host's kernel about it.
    pub memory: Option<HostMemory>,
    /// The devices in the report of the host's kernel, by the scenario's names. A BAR that only
    /// this report names makes no region.
    pub devices: BTreeMap<String, BoundDevice>,
    /// The places of the devices' memory BARs in QEMU, which decodes their addresses.
    pub placed: BTreeMap<String, Vec<Bar>>,
    /// The GIC's virtual CPU interface, if the planned host has one in memory.
    pub gicv: Option<Range<u64>>,
}

/// The facts about the conditions of a cell, see [`environment`] for their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// The facts in which comparable reports must agree.
    pub blocking: BTreeMap<String, String>,
    /// The facts that may change.
    pub variable: BTreeMap<String, String>,
}

/// A kernel that has booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    pub release: String,
    /// The page size in bytes.
    pub page_size: u32,
    /// `/proc/sys/kernel/tainted` at the start of its agent, if it could be read.
    pub taint: Option<u64>,
}

/// The content of [`crate::event::Event::Alarm`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    pub console: String,
    pub class: AlarmClass,
    pub line: String,
}

/// The content of [`crate::event::Event::Crash`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    pub console: String,
    /// The lines of the console.
    pub lines: Vec<String>,
    pub names: Names,
}

impl Crash {
    /// Returns the lines with names in place of the addresses that have one.
    pub fn named(&self) -> Vec<String> {
        self.lines.iter().map(|line| named(line, &self.names)).collect()
    }
}

/// The begin and the end of a stage, in milliseconds since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageSpan {
    pub stage: Stage,
    pub started_ms: u64,
    pub ended_ms: Option<u64>,
}

impl StageSpan {
    /// Returns the time of the stage, in milliseconds; None if it did not end.
    pub fn elapsed_ms(&self) -> Option<u64> {
        self.ended_ms?.checked_sub(self.started_ms)
    }
}

impl Surroundings {
    /// Returns true if the host's kernel and QEMU have both reported the place of the device.
    pub fn tell_of(&self, device: &str) -> bool {
        self.devices.contains_key(device) && self.bar(device).is_some()
    }

    /// Notes the place of the host's flash, if a guest of the cell gets it. It is the same in each host.
    pub fn place_flash(&mut self, cell: &ResolvedCell) {
        if cell.assigned(FLASH).is_some() {
            self.placed.insert(FLASH.to_owned(), virt::flash().into());
        }
    }

    /// Returns the BAR that a device's name means in scenarios, see [`Bar::chosen`].
    pub fn bar(&self, device: &str) -> Option<Bar> {
        Bar::chosen(self.placed.get(device)?.iter().copied())
    }
}

impl Record {
    /// The observations of one kind, in the order of the log.
    pub fn all<T: Observed>(&self) -> impl Iterator<Item = At<'_, T>> {
        self.observations.all()
    }

    /// The observations of one kind in one step.
    pub fn at<T: Observed>(&self, step: usize) -> impl Iterator<Item = At<'_, T>> {
        self.observations.at(step)
    }

    /// Returns a look as it is in the log.
    pub(crate) fn logged(&self, look: &DecodedLook) -> Option<&Look> {
        self.at::<Look>(look.step).map(|of| of.data).find(|of| of.guest == look.guest)
    }

    /// Returns true if the guest of a look is a hypervisor.
    pub(crate) fn is_nested(&self, look: &DecodedLook) -> bool {
        self.planned.resolved.guests.get(&look.guest).is_some_and(|guest| guest.hypervisor.is_some())
    }

    /// Returns true if the host is known to be emulated.
    pub fn is_emulated(&self) -> bool {
        let accelerator = self.session.environment.blocking.get(environment::ACCELERATOR);
        accelerator.map(String::as_str) == Some(environment::TCG)
    }

    /// The SHA-256 of each table page that is named, as they come.
    pub fn pages(&self) -> impl Iterator<Item = &str> {
        let looks = self.all::<Look>().flat_map(|look| look.data.pages.values());
        let resets = self.all::<AfterReset>().flat_map(|reset| reset.data.pages.values());
        let hosts = self.all::<HostLook>().flat_map(|look| look.data.pages.values());
        looks.chain(resets).chain(hosts).map(String::as_str)
    }

    pub fn session_id(&self) -> Option<SessionId> {
        self.session_id
    }

    /// Returns the facts about the surroundings. Facts that the machines reported replace assumed
    /// ones. Those of a booted host are left out if the cell is SKIP before it needs one: what compares
    /// of its report is the same alone and in a session.
    pub fn environment(&self) -> Environment {
        let Environment { mut blocking, mut variable } = self.session.environment.clone();
        blocking.insert(environment::CELL.into(), self.planned.resolved.digest());
        blocking.insert(environment::TRAITS.into(), self.planned.resolved.blocking_traits().to_string());
        for (file, digest) in &self.planned.resolved.programs {
            blocking.insert(format!("{} {file}", environment::PROGRAM), format!("sha256:{digest}"));
        }
        if self.needs_no_host() {
            // An earlier cell of the session may have booted it.
            blocking.remove(environment::HOST_MODE);
        } else if let Some(host) = &self.session.host {
            blocking.insert(environment::PAGE_SIZE.into(), host.page_size.to_string());
            variable.insert(environment::KERNEL.into(), host.release.clone());
        }
        if let Some((id, place)) = self.session_id.zip(self.place.as_ref()) {
            let boot = u64::from(id) + 1;
            let said = match (place.before, &place.after) {
                (0, _) => format!("boot {boot}, its first cell"),
                (before, Some(after)) => format!("boot {boot}, its cell {}, after {after}", before + 1),
                (before, None) => format!("boot {boot}, its cell {}", before + 1),
            };
            variable.insert(environment::SESSION.into(), said);
        }
        let releases: BTreeSet<_> = self.guests.values().map(|guest| &guest.release).collect();
        for (name, guest) in &self.guests {
            let fact = match releases.len() {
                1 => environment::GUEST_KERNEL.to_owned(),
                _ => format!("{} {name}", environment::GUEST_KERNEL),
            };
            variable.insert(fact, guest.release.clone());
        }
        Environment { blocking, variable }
    }

    /// Returns true if the cell is SKIP before it needs a booted host.
    fn needs_no_host(&self) -> bool {
        matches!(
            self.end,
            Some(CellEnd::Stopped {
                stage: Stage::Prepare | Stage::Preflight,
                cause: StopCause::Lacking,
                ..
            })
        )
    }

    /// Takes the facts of its session so far. A cell with a place has its own final record in place of
    /// the session's, which is then over for it.
    fn join(&mut self, session: &Session) {
        let own = &self.own;
        self.session = session.clone();
        self.session.around.gicv = virt::gicv(&self.planned.resolved.host);
        self.session.around.devices.extend(own.around.devices.clone());
        self.session.around.placed.extend(own.around.placed.clone());
        self.session.around.place_flash(&self.planned.resolved);
        if self.place.is_some() {
            (self.session.final_taint, self.session.tables) = (own.final_taint, own.tables);
            self.session.ended |= self.has_own_end();
        }
    }

    /// Returns true if nothing that its session still reports belongs to it.
    fn has_own_end(&self) -> bool {
        self.end.is_some() && self.own.final_taint.is_some()
    }

    /// Returns the time of the attempt, in milliseconds.
    pub fn elapsed_ms(&self) -> Option<u64> {
        self.ended_ms?.checked_sub(self.started_ms)
    }
}
