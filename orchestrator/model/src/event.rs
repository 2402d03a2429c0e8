//! The event log of a run: append-only JSON lines, the first of which is the plan. Events hold raw facts, so that a later
//! decoder or expectation can be applied to an old run. The format is described in `docs/formats.md`.

use crate::{crash::symbols::Names, hex, kernel::Traits, plan::Key, scenario::Scenario};
use s2lab_protocol::{
    Bar, BoundDevice, GuestEnd, HostMemory, MapKind, Mapping, StoreResult, UnalignedOutcome, Vma,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the event log; a reader refuses any other.
pub const LOG_VERSION: u32 = 1;

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub v: u32,
    /// Counts from 0 without a gap.
    pub seq: u64,
    /// Milliseconds since the run began.
    pub ms: u64,
    /// The cell's key; none for events of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<Key>,
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// What this run sets out to do. Always the first event.
    Plan(Plan),
    /// A fact about the cell's surroundings, known before it boots: name and value, for the environment part.
    Environment {
        blocking: BTreeMap<String, String>,
        variable: BTreeMap<String, String>,
    },
    CellStarted,
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
    /// VMAs of VFIO in a guest's VMM, read for one of its devices before the look of step `step`.
    VmaFlags {
        step: usize,
        guest: String,
        device: String,
        vmas: Vec<Vma>,
    },
    Stored {
        step: usize,
        guest: String,
        device: String,
        map: MapKind,
        width: u32,
        bytes: u64,
        result: StoreResult,
        /// Offset of the first word of the BAR's file that is not the pattern.
        file_difference: Option<u64>,
    },
    Look(Look),
    Reset {
        step: usize,
        device: String,
        method: String,
    },
    /// Stage 2 of the guest that has the device, right after [`Event::Reset`]; there is one if the guest was looked at before.
    AfterReset(AfterReset),
    Probed {
        step: usize,
        guest: String,
        device: String,
        map: MapKind,
        outcome: ProbeOutcome,
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
}

/// The resolved plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of s2lab with its commit.
    pub s2lab: String,
    /// When the run began, RFC 3339.
    pub started: String,
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
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
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

/// The tables of one guest at one moment. The pages lie in `raw/` under their SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    pub step: usize,
    pub name: String,
    pub guest: String,
    /// Index of the host's vCPU that ran the guest.
    pub vcpu: u32,
    /// How often the machine was stopped until a vCPU with the nonce was found.
    pub stops: u32,
    /// How long the machine stood still for the look that counted, microseconds.
    pub pause_us: u64,
    /// System registers by their architectural names: `VTTBR_EL2`, `VTCR_EL2`, `HCR_EL2`, `TTBR0_EL1`, `TCR_EL1`, `MAIR_EL1`, `SCTLR_EL1`.
    #[serde(with = "hex::values")]
    pub registers: BTreeMap<String, u64>,
    /// Host physical address of each 4 KiB page that the walks touched, or whose content decides whether it may be mapped, and its
    /// SHA-256 in hexadecimal.
    #[serde(with = "hex::keys")]
    pub pages: BTreeMap<u64, String>,
    /// What the held guest has mapped; their stage 1 was walked.
    pub mappings: Vec<Mapping>,
    /// The guests that ran beside it and were looked at before: their stage 2 was walked in the same pause.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, Beside>,
}

/// See [`Event::AfterReset`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterReset {
    pub step: usize,
    pub device: String,
    pub tables: Beside,
    /// As in [`Look::pages`].
    #[serde(with = "hex::keys")]
    pub pages: BTreeMap<u64, String>,
}

/// A guest that is not the one looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// `VTTBR_EL2`, `VTCR_EL2` and `HCR_EL2` of the last look at it.
    #[serde(with = "hex::values")]
    pub registers: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeOutcome {
    /// The guest told.
    Answered(UnalignedOutcome),
    /// The guest's VMM stopped or ended instead.
    GuestEnded(GuestEnd),
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
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
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
