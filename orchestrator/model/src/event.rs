//! The event log of a run: append-only JSON lines, the first of which is the plan. Events hold raw
//! facts, so that a later decoder or expectation can be applied to an old run. The format is
//! described in `docs/formats.md`.

use crate::{
    cell::ResolvedCell, comparison::Compare, crash::symbols::Names, hex, mutants::PlannedMutant,
    night::Night, plan::Key, shards::Shard, steps::Observation,
};
use s2lab_protocol::{Bar, BoundDevice, HostMemory, TableMemory};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strum::VariantNames;

mod origin;
mod version;

pub use origin::{KernelOrigin, SeriesOrigin};
pub use version::{LOG_VERSION, Version};

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub v: Version,
    /// Counts from 0 without a gap.
    pub seq: u64,
    /// Milliseconds since the run began.
    pub ms: u64,
    /// The session, of events of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The cell's key, of events of a cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<Key>,
    pub event: Event,
}

/// The number of a session: one boot of a host.
pub type SessionId = u32;

impl Line {
    /// A line of this version. Of `session` and `cell` it has what its event is about.
    pub fn new(seq: u64, ms: u64, session: Option<SessionId>, cell: Option<&Key>, event: Event) -> Line {
        let scope = event.scope();
        Line {
            v: LOG_VERSION,
            seq,
            ms,
            session: session.filter(|_| scope == Scope::Session),
            cell: cell.filter(|_| scope == Scope::Cell).cloned(),
            event,
        }
    }
}

/// The place of a cell among those that one boot of a host serves, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The number of the cells before it.
    pub before: u32,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Key>,
}

impl Place {
    /// The place of the first cell.
    pub const FIRST: Place = Place { before: 0, after: None };
}

/// The scope of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Run,
    /// One boot of a host, which several cells may share.
    Session,
    Cell,
}

impl Scope {
    pub fn word(self) -> &'static str {
        match self {
            Scope::Run => "run",
            Scope::Session => "session",
            Scope::Cell => "cell",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, VariantNames)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Event {
    /// The plan of this run, always the first event.
    Plan(Plan),
    /// Opens a session.
    SessionStarted,
    /// Closes a session: its host is no more.
    SessionEnded,
    /// Facts about the host's surroundings: name and value, for the environment part.
    Environment {
        blocking: BTreeMap<String, String>,
        variable: BTreeMap<String, String>,
    },
    /// The kind of the machine that the host is emulated on: durations compare only on one kind.
    Machine {
        kind: String,
    },
    /// Opens an attempt at the cell, in this session; none: it ends before a host is begun for it.
    CellStarted {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// The place of the cell in the session. Absent from logs before 2.4, in which a session has
        /// one final record for all of its cells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<Place>,
    },
    StageStarted {
        stage: Stage,
    },
    StageEnded {
        stage: Stage,
    },
    /// The host's agent answered. `taint` is `/proc/sys/kernel/tainted` at that time, or None if it
    /// could not be read.
    HostUp {
        release: String,
        page_size: u32,
        #[serde(default)]
        taint: Option<u64>,
    },
    /// The host's console has printed the line that the host's agent wrote to the kernel's log
    /// ([`s2lab_protocol::test_line`]).
    ConsoleTested,
    /// The record of the cell came: its guests have ended, and its devices are released. `taint` is
    /// that of [`Event::HostUp`], `tables` that of [`Event::HostDown`]. Absent from logs before 2.4.
    CellRecord {
        #[serde(default)]
        taint: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tables: Option<TableMemory>,
    },
    /// The host's final record came. `taint` is that of [`Event::HostUp`], read after everything
    /// else.
    HostDown {
        #[serde(default)]
        taint: Option<u64>,
        /// The memory of secondary page tables. Absent from logs before 2.3, and if the host's
        /// kernel has no account of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tables: Option<TableMemory>,
    },
    /// A range of the host's RAM in its physical address space.
    HostRam {
        #[serde(with = "hex")]
        start: u64,
        size: u64,
    },
    /// A part that QEMU has put into the host's RAM before its first instruction. Each part has an
    /// event.
    HostLoaded(Loaded),
    /// The report of the host's kernel about its memory, before it has a guest.
    HostMemory(HostMemory),
    DeviceBound(BoundDevice),
    /// The place of one of a device's memory BARs in QEMU, by QMP: a witness beside
    /// [`Event::DeviceBound`].
    BarPlaced {
        device: String,
        bar: Bar,
    },
    GuestUp {
        guest: String,
        release: String,
        page_size: u32,
        /// The taint, see [`Event::HostUp`].
        #[serde(default)]
        taint: Option<u64>,
    },
    /// An observation of a step of the scenario, which has a number.
    Observed {
        step: usize,
        data: Observation,
    },
    /// A line on a console that a healthy kernel does not print.
    Alarm {
        console: String,
        class: AlarmClass,
        line: String,
    },
    /// The run does not come to the cell, for this reason. It replaces all other events of the
    /// cell.
    NotRun {
        why: String,
    },
    /// The lines of a console around an alarm, as [`crate::crash::Cutter`] cuts them out.
    Crash {
        console: String,
        lines: Vec<String>,
        /// Names for addresses in the lines, if the kernel's `System.map` is known and the kernel
        /// printed no names.
        #[serde(default, skip_serializing_if = "Names::is_empty")]
        names: Names,
    },
    /// The cell has ended. Without this event it is LOST.
    CellEnded {
        end: CellEnd,
    },
    Interrupted {
        signal: String,
    },
    RunEnded,
    /// An event of a kind that is younger than this s2lab. It is never written.
    #[serde(skip)]
    Unknown(String),
}

impl Event {
    pub fn scope(&self) -> Scope {
        match self {
            Event::Plan(_) | Event::Interrupted { .. } | Event::RunEnded | Event::Unknown(_) => Scope::Run,
            Event::SessionStarted
            | Event::SessionEnded
            | Event::Environment { .. }
            | Event::Machine { .. }
            | Event::HostUp { .. }
            | Event::ConsoleTested
            | Event::HostDown { .. }
            | Event::HostRam { .. }
            | Event::HostLoaded(_)
            | Event::HostMemory(_) => Scope::Session,
            Event::DeviceBound(_)
            | Event::BarPlaced { .. }
            | Event::CellRecord { .. }
            | Event::CellStarted { .. }
            | Event::StageStarted { .. }
            | Event::StageEnded { .. }
            | Event::GuestUp { .. }
            | Event::Observed { .. }
            | Event::Alarm { .. }
            | Event::NotRun { .. }
            | Event::Crash { .. }
            | Event::CellEnded { .. } => Scope::Cell,
        }
    }
}

/// The name of the lab folder that s2lab carries.
pub const BUILT_IN: &str = "built-in";

/// The resolved plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of s2lab with its commit.
    pub s2lab: String,
    /// The time at which the run began, by RFC 3339.
    pub started: String,
    /// The lab folder: its canonical path, or [`BUILT_IN`]. Absent from logs that are older than
    /// this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab: Option<String>,
    /// The commit of the lab folder's repository, if it is in one. Changes that are not committed do
    /// not show in it. Absent from logs before 2.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab_commit: Option<String>,
    /// The number of attempts at each cell. [`Attempts::Once`] is absent from the log, like in logs
    /// that are older than this key.
    #[serde(default, skip_serializing_if = "Attempts::is_once")]
    pub attempts: Attempts,
    /// The origins of the kernels from the command line and of those with patches, by their names
    /// in `cells`. Absent from logs before 2.1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kernels: BTreeMap<String, KernelOrigin>,
    /// The seed of the order in which the cells are carried out, see [`crate::plan::shuffled`]. None:
    /// that of `cells`. Absent from logs before 2.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<u32>,
    /// The night, if the run is that of `s2lab nightly`. Absent from logs before 2.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub night: Option<Night>,
    /// The mutants, if the run is that of `s2lab mutants`. Absent from other runs, and from logs
    /// before 2.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutants: Option<Vec<PlannedMutant>>,
    /// The part of a plan for several machines that the run is. Absent from other runs, and from
    /// logs before 2.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Box<Shard>>,
    /// The comparison that the run is for, whose boots are the attempts. Absent from other runs, and
    /// from logs before 2.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
    pub cells: Vec<PlannedCell>,
}

impl Plan {
    /// Returns the attempts at each cell.
    pub fn course(&self) -> Attempts {
        self.compare.as_ref().map_or(self.attempts, |compare| Attempts::Boots(compare.pairs))
    }
}

/// The number of attempts at each cell of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attempts {
    #[default]
    Once,
    /// So many times, whatever the results. Attempts that differ are FLAKY.
    Repeat(u32),
    /// Once, and up to so many times more while an attempt shows nothing about the kernel (MISS,
    /// LOST).
    Retry(u32),
    /// So many times for a comparison, until an attempt at any cell does not pass. Attempts that differ
    /// are FLAKY. It is never in a log, which has [`Plan::compare`].
    #[serde(skip)]
    Boots(u32),
}

impl Attempts {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_once(&self) -> bool {
        *self == Self::Once
    }
}

/// One scenario on one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedCell {
    #[schemars(with = "String")]
    pub key: Key,
    pub kernel: String,
    /// The sentence about the scenario. It stands beside the resolved cell, so that `list` and
    /// `explain` can print it, and a change of it leaves reports comparable.
    pub about: String,
    /// The arguments of s2lab that run this cell alone.
    pub repeat: Vec<String>,
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub resolved: ResolvedCell,
}

/// A phase of a cell with a deadline of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Prepare,
    /// The check that kernel, QEMU and machine have everything that the cell needs, before the
    /// host's first instruction.
    Preflight,
    HostBoot,
    Bind,
    GuestBoot,
    Steps,
    ShutDown,
}

/// A part in the host's RAM that QEMU has put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    pub part: LoadedPart,
    #[serde(with = "hex")]
    pub start: u64,
    /// The bytes. For the kernel they include the zeroes that its Image leaves out.
    pub size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadedPart {
    Kernel,
    Initramfs,
    DeviceTree,
}

impl std::fmt::Display for LoadedPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LoadedPart::Kernel => "kernel",
            LoadedPart::Initramfs => "initramfs",
            LoadedPart::DeviceTree => "device tree",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmClass {
    Panic,
    Oops,
    HypPanic,
    Warn,
    Bug,
    Lockdep,
    /// KASAN or KFENCE.
    Kasan,
    Ubsan,
    /// kmemleak.
    Leak,
    OutOfMemory,
    /// An error of KVM other than [`AlarmClass::UnsupportedFault`].
    Kvm,
    Stall,
    HungTask,
    /// `kvm: Unsupported FSC`: KVM's message when it cannot handle a guest's fault. A probe that
    /// faults causes it.
    UnsupportedFault,
    /// A call trace of a report whose own line is unknown.
    Trace,
    /// The console has lost lines, and alarms may be among them.
    Dropped,
}

/// The end of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellEnd {
    /// All steps are done, and the final record is there.
    Complete,
    /// All steps are done, but the result does not pass: the host was kept for a person, and ended
    /// without a final record.
    Kept,
    /// It stopped in `stage`. `what` is the reason, `hint` the action.
    Stopped { stage: Stage, cause: StopCause, what: String, hint: Option<String> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopCause {
    /// The kernel under test failed (a crash, an unexpected KVM_RUN error).
    Kernel,
    /// A deadline passed while the lab was healthy.
    Timeout,
    /// The scenario cannot be carried out as written.
    Scenario,
    /// The lab failed.
    Lab,
    /// The kernel, the CPU or QEMU does not have what the cell needs.
    Lacking,
    Interrupted,
}
