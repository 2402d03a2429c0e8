//! The request for a guest of a cell, and the command line of its VMM in the host.

use s2lab_model::scenario::{AssignDriver, Guest, Host, RAM, Size, Vmm};
use s2lab_protocol::{
    AtStart, QEMU,
    ask::{AssignedDevice, StartGuest},
    qemu_arguments,
};

/// The slot on a guest's root bus of its first assigned device. The slots below are for its VMM's
/// own devices.
const FIRST_SLOT: u8 = 0x10;

/// The reason why there is no request for a guest, or no command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestError {
    #[error("guest {name} has {memory} of memory")]
    Memory { name: String, memory: Size },
    #[error("guest {name} has no PCI slot left for its link")]
    Slots { name: String },
}

/// Returns the devices that a guest gets, each with the way and its slot.
pub(super) fn slots(guest: &Guest) -> impl Iterator<Item = (&String, AssignDriver, u8)> {
    guest.assign.iter().zip(FIRST_SLOT..).map(|((device, way), slot)| (device, *way, slot))
}

/// Returns the request for a guest of a host. `address` returns the PCI address of a device in the host.
pub fn request<E: From<GuestError>>(
    name: &str,
    guest: &Guest,
    host: &Host,
    nonce: u64,
    address: impl Fn(&str) -> Result<String, E>,
) -> Result<StartGuest, E> {
    let mut devices = vec![];
    for (device, way, guest_slot) in slots(guest) {
        let (host_address, read_only) = (address(device)?, guest.is_read_only(device));
        let hotplug = host.devices.get(device).is_some_and(|device| device.hotplug);
        let (device, kind, vma) = (device.clone(), way.into(), guest.vma(device));
        devices.push(AssignedDevice { device, kind, host_address, guest_slot, hotplug, read_only, vma });
    }
    let too_large = |_| GuestError::Memory { name: name.to_owned(), memory: guest.memory };
    Ok(StartGuest {
        name: name.to_owned(),
        vmm: guest.vmm.into(),
        nonce,
        memory_mib: u32::try_from(guest.memory.0 >> 20).map_err(too_large)?,
        cpus: guest.vcpus,
        ram: guest.ram_kinds(),
        ram_vma: guest.vma(RAM),
        mte: guest.mte,
        hypervisor: guest.hypervisor,
        upper_read_only: guest.is_read_only(RAM),
        devices,
        joined: guest.joined(),
    })
}

/// Returns the command line of a guest's QEMU in the host, with names in place of what is made when
/// it starts. Returns None for the built-in VMM.
pub fn command(name: &str, guest: &Guest, host: &Host) -> Result<Option<Vec<String>>, GuestError> {
    if guest.vmm == Vmm::Builtin {
        return Ok(None);
    }
    let spec: StartGuest =
        request(name, guest, host, 0, |device| Ok::<_, GuestError>(format!("<address of {device}>")))?;
    let at_start = AtStart { nonce: "<nonce>", link: "<link>", qmp: "<qmp>" };
    let arguments =
        qemu_arguments(&spec, at_start).ok_or_else(|| GuestError::Slots { name: name.to_owned() })?;
    Ok(Some([vec![format!("/{QEMU}")], arguments].concat()))
}
