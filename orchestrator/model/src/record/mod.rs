//! The record: what the events of a run say about each cell, sorted. A pure fold over the log, which may stop anywhere (the
//! cell it stops in has no end, and is LOST) but must be a log: a version that is known, no gap, no cell that was not planned.

pub mod after_reset;
pub mod beside;
pub mod environment;
mod fold;
pub mod kept;
pub mod look;
mod mapping;
mod observations;
pub mod overlap;
mod parse;
mod session;
#[cfg(test)]
mod tests;
pub mod virt;
mod zeros;

use crate::crash::symbols::{Names, named};
use crate::event::{AlarmClass, CellEnd, Loaded, Observed, Plan, PlannedCell, SessionId, Stage};
use s2lab_protocol::{Bar, BoundDevice, HostMemory};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

pub use fold::{Fold, LogError, lines};
pub use observations::{At, Observations};
pub use parse::Skipped;
pub use session::Session;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub plan: Plan,
    /// In the plan's order, one for each of its cells.
    pub cells: Vec<Cell>,
    /// The signal that interrupted the run.
    pub interrupted: Option<String>,
    /// The run came to its end; without it the log stops early.
    pub ended: bool,
    /// What the log has and this s2lab does not know.
    pub skipped: Skipped,
    sessions: BTreeMap<SessionId, Session>,
}

/// A planned cell and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub planned: Arc<PlannedCell>,
    /// One record for each time that it was started; none if the run did not come to it.
    pub attempts: Vec<Record>,
    /// Why the run did not come to it, if the log says so.
    pub not_run: Option<String>,
    /// An attempt was begun, though its record may have been taken.
    begun: bool,
}

/// One attempt at a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub planned: Arc<PlannedCell>,
    /// The session that it ran in; none if it ended before a host was begun.
    session_id: Option<SessionId>,
    /// What that session has said; of none nothing.
    pub session: Session,
    pub guests: BTreeMap<String, Kernel>,
    pub observations: Observations,
    pub alarms: Vec<Alarm>,
    pub crashes: Vec<Crash>,
    pub stages: Vec<StageSpan>,
    /// When the attempt began and ended, milliseconds since the run began.
    pub started_ms: u64,
    pub ended_ms: Option<u64>,
    /// How it ended. None: the log stops before its end.
    pub end: Option<CellEnd>,
}

/// What is where in the host's physical address space: all that is needed, beside memory, to tell what a look sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// RAM of the host.
    pub ram: Vec<Range<u64>>,
    /// What QEMU has put into it.
    pub loaded: Vec<Loaded>,
    /// What the host's kernel says of it.
    pub memory: Option<HostMemory>,
    /// As the host's kernel told of them, by the scenario's names. Nothing is looked for where only it says that a BAR is.
    pub devices: BTreeMap<String, BoundDevice>,
    /// Where QEMU, which decodes their addresses, has the devices' memory BARs.
    pub placed: BTreeMap<String, Vec<Bar>>,
}

/// Facts about the circumstances of a cell, see [`environment`] for their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Reports that differ in one of these may not be compared.
    pub blocking: BTreeMap<String, String>,
    /// What may be under change.
    pub variable: BTreeMap<String, String>,
}

/// A kernel that came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    pub release: String,
    /// Bytes.
    pub page_size: u32,
    /// `/proc/sys/kernel/tainted` when its agent came up, if it could be read.
    pub taint: Option<u64>,
}

/// See [`crate::event::Event::Alarm`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    pub console: String,
    pub class: AlarmClass,
    pub line: String,
}

/// See [`crate::event::Event::Crash`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    pub console: String,
    /// As they stood on the console.
    pub lines: Vec<String>,
    pub names: Names,
}

impl Crash {
    /// The lines with names in place of the addresses that have one.
    pub fn named(&self) -> Vec<String> {
        self.lines.iter().map(|line| named(line, &self.names)).collect()
    }
}

/// When a stage began and ended, milliseconds since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageSpan {
    pub stage: Stage,
    pub started_ms: u64,
    pub ended_ms: Option<u64>,
}

impl Surroundings {
    /// Whether the host's kernel and QEMU have both said where the device is.
    pub fn tell_of(&self, device: &str) -> bool {
        self.devices.contains_key(device) && self.bar(device).is_some()
    }

    /// The BAR that scenarios mean by a device's name, see [`Bar::chosen`].
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

    pub fn session_id(&self) -> Option<SessionId> {
        self.session_id
    }

    /// What was said of the surroundings, and what the machines said of themselves, which wins over what was assumed.
    pub fn environment(&self) -> Environment {
        let Environment { mut blocking, mut variable } = self.session.environment.clone();
        blocking.insert(environment::SCENARIO.into(), self.planned.digest());
        if let Some(host) = &self.session.host {
            blocking.insert(environment::PAGE_SIZE.into(), host.page_size.to_string());
            variable.insert(environment::KERNEL.into(), host.release.clone());
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

    /// How long the attempt took, milliseconds.
    pub fn elapsed_ms(&self) -> Option<u64> {
        self.ended_ms?.checked_sub(self.started_ms)
    }
}
