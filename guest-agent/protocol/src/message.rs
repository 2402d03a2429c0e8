//! The body of a frame, notices of an agent, and failures.

use crate::ask::Request;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Body {
    /// s2lab asks. `id` is chosen by s2lab and never reused in a cell.
    Request { id: u64, request: Request },
    /// The agent answers request `id`, exactly once: [`crate::ask::Ask::Answer`] as JSON.
    Reply { id: u64, result: Result<Value, Failure> },
    /// The agent speaks unasked.
    Notice(Notice),
}

/// What an agent says unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Notice {
    /// First frame of every agent.
    Hello(Hello),
    /// About once a second while the agent lives. `stored`: bytes since its start, those of a run of stores that goes on
    /// included, so that a slow guest is told from a stuck one.
    Heartbeat { uptime_ms: u64, stored: u64 },
    /// Host: bytes of a guest's console, in order; not valid UTF-8 in general, so hexadecimal.
    Console { guest: String, hex: String },
    /// Host: the guest's VMM stopped running it, or ended. Exactly one for each guest that was started, before the answer to
    /// the [`crate::ask::StopGuest`] or [`crate::ask::Finish`] that ended it.
    GuestEnded { guest: String, how: GuestEnd },
    /// Something a person may want to read.
    Log { text: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    pub level: Level,
    /// `uname -r`.
    pub release: String,
    /// Bytes.
    pub page_size: u32,
    pub uptime_ms: u64,
    /// `/proc/sys/kernel/tainted`; none if it cannot be read.
    #[serde(default)]
    pub taint: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Host,
    Guest,
}

/// Why a guest no longer runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestEnd {
    /// QMP says the vCPU stopped with this run state (`internal-error`, `guest-panicked`, ...); `detail` is the VMM's stderr tail.
    Stopped { state: String, detail: String },
    /// The VMM process ended.
    Exited { code: Option<i32>, signal: Option<i32>, detail: String },
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub kind: FailureKind,
    /// What failed, on what, why.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The other level answers that request.
    Unsupported,
    /// Host: its kernel does not show this, which the request needs.
    Missing(Facility),
    /// Host: its kernel shows this, and refuses to do with it what the request needs.
    Refused(Facility),
    /// The request does not fit the machine (no such device, BAR too small).
    Invalid,
    /// A system call failed.
    System,
}

/// What a host's kernel brings up if its configuration has an option for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Facility {
    /// `/dev/kvm`.
    Kvm,
    /// The driver vfio-pci.
    VfioPci,
    /// The module vfio_iommu_type1.
    VfioIommuType1,
    /// A device's IOMMU group.
    Iommu,
}
