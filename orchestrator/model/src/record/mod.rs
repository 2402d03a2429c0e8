//! The record: what the events of a run say about each cell, sorted. A pure fold over the log, which may stop anywhere (the
//! cell it stops in has no end, and is LOST) but must be a log: a version that is known, no gap, no cell that was not planned.

pub mod after_reset;
pub mod beside;
pub mod environment;
mod fold;
pub mod kept;
pub mod look;
mod mapping;
pub mod overlap;
#[cfg(test)]
mod tests;
pub mod virt;
mod zeros;

use crate::crash::symbols::{Names, named};
use crate::event::{AfterReset, AlarmClass, CellEnd, Loaded, Look, Plan, PlannedCell, ProbeOutcome, Stage};
use s2lab_protocol::{Bar, BoundDevice, HostMemory, MapKind, StoreResult, Vma};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub use fold::{Fold, LogError, lines};

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
    pub environment: Environment,
    pub host: Option<Kernel>,
    /// The host's taint in its final record; none if there was no final record.
    pub final_taint: Option<Option<u64>>,
    /// The host's console prints what its kernel logs.
    pub console_tested: bool,
    pub around: Surroundings,
    pub guests: BTreeMap<String, Kernel>,
    pub vmas: Vec<VmaFlags>,
    pub stores: Vec<Stored>,
    pub looks: Vec<Look>,
    pub resets: Vec<Reset>,
    pub after_resets: Vec<AfterReset>,
    pub probes: Vec<Probed>,
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

/// See [`crate::event::Event::VmaFlags`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmaFlags {
    pub step: usize,
    pub guest: String,
    pub device: String,
    pub vmas: Vec<Vma>,
}

/// See [`crate::event::Event::Stored`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub step: usize,
    pub guest: String,
    pub device: String,
    pub map: MapKind,
    pub width: u32,
    pub bytes: u64,
    pub result: StoreResult,
    pub file_difference: Option<u64>,
}

/// See [`crate::event::Event::Reset`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    pub step: usize,
    pub device: String,
    pub method: String,
}

/// See [`crate::event::Event::Probed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    pub step: usize,
    pub guest: String,
    pub device: String,
    pub map: MapKind,
    pub outcome: ProbeOutcome,
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
    /// How long the attempt took, milliseconds.
    pub fn elapsed_ms(&self) -> Option<u64> {
        self.ended_ms?.checked_sub(self.started_ms)
    }
}
