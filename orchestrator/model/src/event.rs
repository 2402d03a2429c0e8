//! The event log of a run: append-only JSON lines, the first of which is the plan. Events hold raw facts, so that a later
//! decoder or expectation can be applied to an old run. The format is described in `docs/formats.md`.

use crate::{crash::symbols::Names, hash::digest, hex, kernel::Traits, plan::Key, scenario::Scenario};
use s2lab_protocol::{Bar, BoundDevice, HostMemory};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strum::VariantNames;

mod observation;
mod version;

pub use observation::{
    AfterReset, Beside, Look, Observation, Observed, ProbeOutcome, Probed, Reset, Stored, VmaFlags,
};
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

/// What an event is about.
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
    /// What this run sets out to do. Always the first event.
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
    /// Opens an attempt at the cell, in this session; none: it ends before a host is begun for it.
    CellStarted {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
    },
    StageStarted {
        stage: Stage,
    },
    StageEnded {
        stage: Stage,
    },
    /// The host's agent answered. `taint`: `/proc/sys/kernel/tainted` then; none if it could not be read.
    HostUp {
        release: String,
        page_size: u32,
        #[serde(default)]
        taint: Option<u64>,
    },
    /// The host's console has printed the line that the host's agent wrote to the kernel's log
    /// ([`s2lab_protocol::test_line`]).
    ConsoleTested,
    /// The host's final record came. `taint`: as in [`Event::HostUp`], read when nothing else was left to do.
    HostDown {
        #[serde(default)]
        taint: Option<u64>,
    },
    /// RAM of the host in its physical address space.
    HostRam {
        #[serde(with = "hex")]
        start: u64,
        size: u64,
    },
    /// What QEMU has put into the host's RAM before its first instruction; one event for each part.
    HostLoaded(Loaded),
    /// What the host's kernel says of its memory, before it has a guest.
    HostMemory(HostMemory),
    DeviceBound(BoundDevice),
    /// Where QEMU, asked by QMP, has placed one of a device's memory BARs: a witness beside [`Event::DeviceBound`].
    BarPlaced {
        device: String,
        bar: Bar,
    },
    GuestUp {
        guest: String,
        release: String,
        page_size: u32,
        /// As in [`Event::HostUp`].
        #[serde(default)]
        taint: Option<u64>,
    },
    /// What a step of the scenario, by its number, has brought to light.
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
    /// The run does not come to the cell, and why. It stands in place of all other events of the cell.
    NotRun {
        why: String,
    },
    /// The lines of a console around an alarm, as [`crate::crash::Cutter`] cuts them out.
    Crash {
        console: String,
        lines: Vec<String>,
        /// Names for addresses in them, if the kernel's `System.map` is known and the kernel named none.
        #[serde(default, skip_serializing_if = "Names::is_empty")]
        names: Names,
    },
    /// The cell is over. Without this event it is LOST.
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
            | Event::HostUp { .. }
            | Event::ConsoleTested
            | Event::HostDown { .. }
            | Event::HostRam { .. }
            | Event::HostLoaded(_)
            | Event::HostMemory(_)
            | Event::DeviceBound(_)
            | Event::BarPlaced { .. } => Scope::Session,
            Event::CellStarted { .. }
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
    /// Version of s2lab with its commit.
    pub s2lab: String,
    /// When the run began, RFC 3339.
    pub started: String,
    /// The lab folder: its canonical path, or [`BUILT_IN`]. Absent from logs that are older than this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab: Option<String>,
    /// How often each cell is attempted. Absent from the log for [`Attempts::Once`], as in logs that are older than this key.
    #[serde(default, skip_serializing_if = "Attempts::is_once")]
    pub attempts: Attempts,
    pub cells: Vec<PlannedCell>,
}

/// How often a run attempts each of its cells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attempts {
    #[default]
    Once,
    /// So many times, whatever comes of each: what differs is FLAKY.
    Repeat(u32),
    /// Once, and up to so many times more while an attempt says nothing about the kernel (MISS, LOST).
    Retry(u32),
}

impl Attempts {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_once(&self) -> bool {
        *self == Self::Once
    }
}

/// One scenario on one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCell {
    pub key: Key,
    pub kernel: String,
    /// What the kernel declares. Where that leaves something open, exactly one alternative of what is expected must be met, and
    /// one that all cells of the kernel meet.
    pub traits: Traits,
    /// The arguments of s2lab that carry out this cell alone.
    pub repeat: Vec<String>,
    pub scenario: Scenario,
}

impl PlannedCell {
    /// The SHA-256 of all that decides what the cell does and what must be seen.
    pub fn digest(&self) -> String {
        digest(&serde_json::to_vec(&self.scenario).unwrap_or_default())
    }
}

/// A part of a cell with a deadline of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Prepare,
    /// Whether kernel, QEMU and machine have what the cell needs, before the host's first instruction.
    Preflight,
    HostBoot,
    Bind,
    GuestBoot,
    Steps,
    ShutDown,
}

/// Something in the host's RAM that QEMU has put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    pub part: LoadedPart,
    #[serde(with = "hex")]
    pub start: u64,
    /// Bytes; of the kernel with what its Image leaves out because it is all zeroes.
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
    /// An error line of KVM other than [`AlarmClass::UnsupportedFault`].
    Kvm,
    Stall,
    HungTask,
    /// `kvm: Unsupported FSC`: what KVM says when it cannot handle a guest's fault. Expected of a probe that faults.
    UnsupportedFault,
    /// A call trace of a report whose own line is not known.
    Trace,
    /// Lines that the console does not have, and alarms may be among them.
    Dropped,
}

/// How a cell came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellEnd {
    /// All steps done, the final record there.
    Complete,
    /// All steps done, but what was seen does not pass: the host was kept for a person, and ended without a final record.
    Kept,
    /// It stopped in `stage`; `what` says on what and why, `hint` what to do.
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
    /// Kernel, CPU or QEMU lacks what the cell needs.
    Lacking,
    Interrupted,
}
