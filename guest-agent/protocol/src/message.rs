//! The body of a frame, notices of an agent, and failures.

use crate::ask::Request;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Body {
    /// A request of s2lab. s2lab chooses `id`, and never uses it again in a cell.
    Request { id: u64, request: Request },
    /// The agent answers request `id`, exactly once: [`crate::ask::Ask::Answer`] as JSON.
    Reply { id: u64, result: Result<Value, Failure> },
    /// A message without a request.
    Notice(Notice),
}

/// The messages of an agent without a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Notice {
    /// The first frame of every agent.
    Hello(Hello),
    /// Sent about once a second while the agent is alive; by a host every 3 s during a request. `stored` is the
    /// number of bytes since its start that were stored, loaded or read back, also by a run that is not
    /// finished, so that a slow guest can be distinguished from a stuck one.
    Heartbeat { uptime_ms: u64, stored: u64 },
    /// Host: bytes of a guest's console, in order; not valid UTF-8 in general, so hexadecimal.
    Console { guest: String, hex: String },
    /// Host: the guest's VMM stopped running it, or ended. Exactly one for each guest that was
    /// started, before the answer to the [`crate::ask::StopGuest`] or [`crate::ask::Finish`] that
    /// ended it.
    GuestEnded { guest: String, how: GuestEnd },
    /// Host: a person in its shell asks for the tables of a guest, or of all, as they are now. The
    /// answer is one [`crate::ask::ShowTables`] or more. Until the last one the agent asks for no
    /// other look.
    LookRequested { id: u64, guest: Option<String> },
    /// A text that a person may want to read.
    Log { text: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    pub level: Level,
    /// The release, `uname -r`.
    pub release: String,
    /// The size in bytes.
    pub page_size: u32,
    pub uptime_ms: u64,
    /// `/proc/sys/kernel/tainted`. None: it cannot be read.
    #[serde(default)]
    pub taint: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Host,
    Guest,
}

/// The run state of a guest of the built-in VMM after an exit of KVM_RUN that the VMM does not answer, such as
/// a store to memory that user space emulates.
pub const UNEXPECTED_EXIT: &str = "unexpected-exit";

/// The reason why a guest does not run any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestEnd {
    /// QMP reports that the vCPU stopped with this run state (`internal-error`, `guest-panicked`,
    /// ...). `detail` is the end of the VMM's stderr.
    Stopped { state: String, detail: String },
    /// The VMM process ended.
    Exited { code: Option<i32>, signal: Option<i32>, detail: String },
}

/// The reason why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub kind: FailureKind,
    /// The failed action, its object and the reason.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The other level answers that request.
    Unsupported,
    /// Host: its kernel does not show this facility, which the request needs.
    Missing(Facility),
    /// Host: its kernel shows this facility, and refuses the action that the request needs.
    Refused(Facility),
    /// The request does not fit the machine (no such device, BAR too small).
    Invalid,
    /// A system call failed.
    System,
}

/// A facility of a host's kernel that depends on an option of its configuration.
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
    /// The driver vfio-platform.
    VfioPlatform,
    /// VFIO's groups of devices that have no IOMMU.
    VfioNoIommu,
    /// Pages of 2 MiB in `/sys/kernel/mm/hugepages`.
    HugePages,
    /// KVM's guests with memory tagging.
    Mte,
    /// KVM's guests with EL2. No option of a configuration decides about it.
    NestedVirtualization,
    /// The advice of madvise(2) about transparent huge pages.
    TransparentHugePages,
    /// The driver igb.
    Igb,
    /// The number of virtual functions in sysfs.
    VirtualFunctions,
    /// Sockets of AF_PACKET.
    PacketSockets,
}
