//! Starting a guest.

use super::{Ask, HostRequest};
use crate::{AssignKind, HypervisorType, ModuleVma, RamKind, VmmKind};
use serde::{Deserialize, Serialize};

/// Starts a guest. The answer comes when its VMM runs, the guest's own [`crate::Notice::Hello`]
/// when it is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartGuest {
    pub name: String,
    pub vmm: VmmKind,
    /// The nonce of the cell, which the guest's frames carry.
    pub nonce: u64,
    /// Guest RAM in MiB.
    pub memory_mib: u32,
    pub cpus: u32,
    /// The memory behind RAM: one kind, or two for its lower and its upper half. Only for the built-in
    /// VMM; QEMU has its own.
    pub ram: Vec<RamKind>,
    /// The VMA of [`RamKind::Module`].
    pub ram_vma: Option<ModuleVma>,
    /// The upper half of RAM is a memslot of its own, read-only from the start. Only for the built-in VMM,
    /// and with two kinds: the tables of the guest's stage 1 are there, and nothing that it stores to.
    pub upper_read_only: bool,
    /// The guest has memory tagging (KVM_CAP_ARM_MTE). The memslots of its devices are not added then: KVM
    /// refuses them. Only for the built-in VMM.
    pub mte: bool,
    /// The guest is a hypervisor (KVM_ARM_VCPU_HAS_EL2): its vCPUs begin at EL2, with a stage 2 of its own that maps
    /// each IPA to itself and gives the BARs this type, and the requests are carried out by its guest at EL1. Only for
    /// the built-in VMM.
    pub hypervisor: Option<HypervisorType>,
    pub devices: Vec<AssignedDevice>,
    /// Two regions with one memslot. Only for the built-in VMM.
    pub joined: Option<Joined>,
}

/// Two regions with one memslot. The second is right behind the first, for the guest and in the VMM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joined {
    /// The name of a device. None: RAM.
    pub first: Option<String>,
    /// The name of another device.
    pub second: String,
}

/// A device of the host, assigned to a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignedDevice {
    /// The scenario's name for it.
    pub device: String,
    pub kind: AssignKind,
    /// Its address in the host, as [`super::BoundDevice`] gives it: `0000:01:00.0`, or the name of a
    /// platform device.
    pub host_address: String,
    /// The PCI slot on the guest's root bus, 1..=31. The guest sees `0000:00:SLOT.0`. The built-in
    /// VMM has no bus, and knows the device by that address.
    pub guest_slot: u8,
    /// It may be unplugged. In a guest of QEMU's it is behind a port then, which has the slot; requests name it by
    /// the address of the port.
    pub hotplug: bool,
    /// Its memslot is read-only from the start. Only for the built-in VMM.
    pub read_only: bool,
    /// The VMA of [`AssignKind::Module`].
    pub vma: Option<ModuleVma>,
}

impl Ask for StartGuest {
    type Level = HostRequest;
    type Answer = GuestStarted;
    const DOING: &str = "start a guest";

    fn request(self) -> HostRequest {
        HostRequest::StartGuest(self)
    }
}

/// A VMM that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestStarted {
    pub pid: u32,
    /// Name and version.
    pub vmm: String,
}
