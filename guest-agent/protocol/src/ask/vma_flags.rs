//! The flags of the VMAs of a guest's VMM.

use super::{Ask, HostRequest};
use serde::{Deserialize, Serialize};

/// Asks for the VMAs through which the guest's VMM maps its assigned devices, from
/// `/proc/PID/smaps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmaFlags {
    pub guest: String,
}

impl Ask for VmaFlags {
    type Level = HostRequest;
    type Answer = Vec<Vma>;
    const DOING: &str = "read the VMAs of the VMM";

    fn request(self) -> HostRequest {
        HostRequest::VmaFlags(self)
    }
}

/// One VMA of a VMM that maps an assigned device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vma {
    pub start: u64,
    pub end: u64,
    /// The offset in the mapped file. VFIO has the region's index in bits 40 and up; 6.1 writes the
    /// BAR's physical address over it (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_core_mmap).
    pub offset: u64,
    /// The kernel's name of the mapped file.
    pub name: String,
    /// The `VmFlags:` line, two letters each; `??` is a flag without a mnemonic.
    pub flags: Vec<String>,
}
