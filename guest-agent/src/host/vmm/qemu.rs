//! QEMU as the VMM: its process, and its reasons not to start.

use crate::pci::Address;
use crate::{fault, root::Root};
use s2lab_protocol::ask::{AssignedDevice, StartGuest};
use s2lab_protocol::{
    AssignKind, AtStart, Facility, Failure, LONGEST_NAME, QEMU, RamKind, SLOTS, is_name, qemu_arguments,
};
use std::os::fd::RawFd;
use std::process::Command;

/// Returns QEMU for a guest. The guest's link and QMP are the open files `ends`.
pub(super) fn command(root: &Root, spec: &StartGuest, ends: [RawFd; 2]) -> Result<Command, Failure> {
    let mut command = Command::new(root.path(QEMU));
    command.args(arguments(spec, ends)?);
    Ok(command)
}

/// QEMU's messages on stderr when the host's kernel refuses what a guest needs, each with the
/// facility (QEMU 10.0 accel/kvm/kvm-all.c, kvm_init; hw/vfio/pci.c, VFIO_MSG_PREFIX).
const REFUSALS: [(&str, Facility); 2] =
    [("failed to initialize kvm: ", Facility::Kvm), ("vfio 0000:", Facility::VfioPci)];

/// Returns the failure of a QEMU that ended before it ran the guest. `why` has its last output.
pub(super) fn not_started(guest: &str, why: &str) -> Failure {
    let failure = fault::system("start", format_args!("guest {guest}"), why);
    match REFUSALS.into_iter().find(|(words, _)| why.contains(words)) {
        Some((_, facility)) => fault::refused(facility, failure.message),
        None => failure,
    }
}

/// Returns QEMU's command line. The guest's link and QMP are the open files `link` and `qmp`.
fn arguments(spec: &StartGuest, [link, qmp]: [RawFd; 2]) -> Result<Vec<String>, Failure> {
    check(spec)?;
    let (nonce, link, qmp) = (format!("{:016x}", spec.nonce), link.to_string(), qmp.to_string());
    qemu_arguments(spec, AtStart { nonce: &nonce, link: &link, qmp: &qmp })
        .ok_or_else(|| fault::invalid(format_args!("guest {} has no PCI slot left for its link", spec.name)))
}

/// Checks that QEMU can run the guest, and that nothing in the request adds options.
fn check(
    StartGuest { name, ram, upper_read_only, mte, hypervisor, devices, joined, .. }: &StartGuest,
) -> Result<(), Failure> {
    let read_only = *upper_read_only || devices.iter().any(|device| device.read_only);
    if *ram != [RamKind::Anonymous] || joined.is_some() || read_only || *mte || hypervisor.is_some() {
        return Err(fault::invalid(format_args!("QEMU decides about the memory of guest {name}")));
    }
    if !is_name(name) {
        return Err(fault::invalid(format_args!(
            "{name:?} is not a valid name of a guest; a name has a-z, 0-9 and '-', does not begin with '-', and has at \
             most {LONGEST_NAME} characters"
        )));
    }
    for AssignedDevice { device, kind, host_address, guest_slot, .. } in devices {
        if *kind != AssignKind::VfioPci {
            return Err(fault::invalid(format_args!("QEMU cannot assign {device} through {kind}")));
        }
        if !SLOTS.contains(guest_slot) {
            return Err(fault::invalid(format_args!(
                "PCI slot {guest_slot} of guest {name}: there are 1 to 31"
            )));
        }
        Address::parse(host_address)?;
        if !is_name(device) {
            return Err(fault::invalid(format_args!("{device:?} is not a valid name of a device")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_protocol::{FailureKind, HypervisorType, VmmKind};

    fn spec(slots: &[u8]) -> StartGuest {
        let device = |slot: &u8| AssignedDevice {
            device: format!("d{slot}"),
            kind: AssignKind::VfioPci,
            host_address: format!("0000:{slot:02x}:00.0"),
            guest_slot: *slot,
            hotplug: false,
            read_only: false,
            vma: None,
        };
        StartGuest {
            name: "g0".into(),
            vmm: VmmKind::Qemu,
            nonce: 0xab,
            memory_mib: 256,
            cpus: 1,
            ram: vec![RamKind::Anonymous],
            ram_vma: None,
            upper_read_only: false,
            mte: false,
            hypervisor: None,
            devices: slots.iter().map(device).collect(),
            joined: None,
        }
    }

    #[test]
    fn the_command_line_names_the_open_files_and_the_nonce() {
        let words = arguments(&spec(&[1, 31]), [10, 12]).unwrap();
        let has = |part: &str| words.join(" ").contains(part);
        assert!(has("-chardev socket,id=link,fd=10") && has("-chardev socket,id=qmp,fd=12"), "{words:?}");
        assert!(has("vfio-pci,host=0000:1f:00.0,addr=0x1f"), "{words:?}");
        assert!(words.last().unwrap().ends_with(" s2lab.nonce=00000000000000ab"), "{words:?}");
    }

    #[test]
    fn what_the_kernel_refuses_is_told_from_what_qemu_lacks() {
        let kind = |why| not_started("g0", why).kind;
        let kvm = "Exited { detail: \"-accel kvm: failed to initialize kvm: Device or resource busy\" }";
        assert_eq!(kind(kvm), FailureKind::Refused(Facility::Kvm));
        let vfio =
            "-device vfio-pci,host=0000:01:00.0: vfio 0000:01:00.0: failed to setup container for group 7";
        assert_eq!(kind(vfio), FailureKind::Refused(Facility::VfioPci));
        assert_eq!(kind("could not load kernel '/guest/Image'"), FailureKind::System);
    }

    #[test]
    fn the_longest_name_of_a_guest_is_that_of_the_protocol() {
        let named = |length| StartGuest { name: "x".repeat(length), ..spec(&[]) };
        assert!(arguments(&named(LONGEST_NAME), [3, 4]).is_ok());
        let failure = arguments(&named(LONGEST_NAME + 1), [3, 4]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid);
        assert!(failure.message.contains("at most 41 characters"), "{}", failure.message);
    }

    #[test]
    fn nothing_smuggles_options_into_the_command_line() {
        let kind = |spec: StartGuest| arguments(&spec, [3, 4]).unwrap_err().kind;
        assert_eq!(kind(StartGuest { ram: vec![RamKind::Hugetlb], ..spec(&[]) }), FailureKind::Invalid);
        let hypervisor = Some(HypervisorType::NormalNC);
        assert_eq!(kind(StartGuest { hypervisor, ..spec(&[]) }), FailureKind::Invalid);
        assert_eq!(kind(StartGuest { name: "g0 -monitor".into(), ..spec(&[]) }), FailureKind::Invalid);
        assert_eq!(kind(spec(&[0])), FailureKind::Invalid);
        assert_eq!(kind(spec(&[32])), FailureKind::Invalid);
        assert_eq!(kind(spec(&(1..=31).collect::<Vec<_>>())), FailureKind::Invalid, "no slot for the link");
        let mut sly = spec(&[1]);
        sly.devices[0].host_address = "0000:01:00.0,x=y".into();
        assert_eq!(kind(sly), FailureKind::Invalid);
        let mut named = spec(&[1]);
        named.devices[0].device = "nic,x=y".into();
        assert_eq!(kind(named), FailureKind::Invalid);
        let mut read_only = spec(&[1]);
        read_only.devices[0].read_only = true;
        assert_eq!(kind(read_only), FailureKind::Invalid, "memslots are QEMU's own");
        let mut other = spec(&[1]);
        other.devices[0].kind = AssignKind::SysfsWc;
        assert_eq!(kind(other), FailureKind::Invalid, "only the built-in VMM can");
    }
}
