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

/// What the host's kernel says of its physical memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostMemory {
    /// The text of `/proc/iomem`.
    pub iomem: String,
    /// Of what that calls reserved or the kernel's, the pages that the page allocator does not have: PG_reserved in
    /// `/proc/kpageflags`. What was freed since boot (the initramfs, the kernel's init sections, CMA) is not among them. None: the
    /// kernel has no `/proc/kpageflags`.
    pub reserved: Option<Vec<Extent>>,
}

/// A range of physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    pub start: u64,
    /// Bytes.
    pub size: u64,
}
