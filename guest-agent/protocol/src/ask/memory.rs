//! The host's map of its physical memory.

use super::{Ask, HostRequest};
use serde::{Deserialize, Serialize};

/// Asks what the host's kernel says of its physical memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {}

impl Ask for Memory {
    type Level = HostRequest;
    type Answer = HostMemory;
    const DOING: &str = "read the map of its memory";

    fn request(self) -> HostRequest {
        HostRequest::Memory(self)
    }
}

/// The physical memory in the description of the host's kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostMemory {
    /// The text of `/proc/iomem`.
    pub iomem: String,
    /// The pages that the page allocator does not have, of those that the text calls reserved or
    /// the kernel's: PG_reserved in `/proc/kpageflags`. Pages freed since boot (the initramfs, the
    /// kernel's init sections, CMA) are not among them. None: the kernel has no `/proc/kpageflags`.
    pub reserved: Option<Vec<Extent>>,
    /// The memory that KVM has reserved for its code at EL2 in protected mode, by the kernel's log. None: not
    /// in protected mode, or the log does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<Extent>,
}

/// A range of physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    pub start: u64,
    /// Bytes.
    pub size: u64,
}
