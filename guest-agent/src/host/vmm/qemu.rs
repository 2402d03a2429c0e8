//! QEMU as the VMM: its command line, and its reasons not to start.

use crate::pci::Address;
use crate::{fault, root::Root};
use s2lab_protocol::ask::StartGuest;
use s2lab_protocol::{AssignKind, Facility, Failure, LONGEST_NAME, RamKind, is_name};
use std::os::fd::RawFd;
use std::process::Command;

const QEMU: &str = "usr/bin/qemu-system-aarch64";
/// The slots of the guest's root bus that devices may take. Slot 0 is the host bridge.
const SLOTS: std::ops::RangeInclusive<u8> = 1..=31;

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

/// Returns QEMU's command line. The guest's link and QMP are the open files `link` and `qmp`; its
/// console is QEMU's stdout.
fn arguments(spec: &StartGuest, [link, qmp]: [RawFd; 2]) -> Result<Vec<String>, Failure> {
    let StartGuest { name, vmm: _, nonce, memory_mib, cpus, ram, devices, joined } = spec;
    if *ram != [RamKind::Anonymous] || joined.is_some() {
        return Err(fault::invalid(format_args!("QEMU decides about the memory of guest {name}")));
    }
    if let Some(device) = devices.iter().find(|device| device.kind != AssignKind::VfioPci) {
        return Err(fault::invalid(format_args!(
            "QEMU cannot assign {} through {}",
            device.device, device.kind
        )));
    }
    if !is_name(name) {
        return Err(fault::invalid(format_args!(
            "{name:?} is not a valid name of a guest; a name has a-z, 0-9 and '-', does not begin with '-', and has at \
             most {LONGEST_NAME} characters"
        )));
    }
    let taken: Vec<u8> = devices.iter().map(|device| device.guest_slot).collect();
    if let Some(slot) = taken.iter().find(|slot| !SLOTS.contains(slot)) {
        return Err(fault::invalid(format_args!("PCI slot {slot} of guest {name}: there are 1 to 31")));
    }
    let own = SLOTS.rev().find(|slot| !taken.contains(slot));
    let own =
        own.ok_or_else(|| fault::invalid(format_args!("guest {name} has no PCI slot left for its link")))?;
    let mut words: Vec<String> = [
        "-M virt,gic-version=host -accel kvm -cpu host -nodefaults -no-user-config -display none -no-reboot",
        "-kernel /guest/Image -initrd /guest/initrd",
        &format!("-smp {cpus} -m {memory_mib}M"),
        "-chardev stdio,id=console,signal=off -serial chardev:console",
        &format!("-chardev socket,id=qmp,fd={qmp} -mon chardev=qmp,mode=control"),
        &format!("-chardev socket,id=link,fd={link} -device virtio-serial-pci,addr={own:#x}"),
        &format!("-device virtserialport,chardev=link,name={}", crate::port::NAME),
    ]
    .iter()
    .flat_map(|line| line.split(' ').map(str::to_owned))
    .collect();
    for device in devices {
        let address = Address::parse(&device.host_address)?;
        words
            .extend(["-device".to_owned(), format!("vfio-pci,host={address},addr={:#x}", device.guest_slot)]);
    }
    // A guest that panics restarts at once, which -no-reboot makes the end of QEMU. A byte on the
    // console takes exits to QEMU: all of the kernel's messages take longer than its boot. Errors
    // and a panic are printed nevertheless.
    let own = format!("s2lab.level=guest s2lab.name={name} s2lab.nonce={nonce:016x}");
    let line = format!("console=ttyAMA0 quiet panic=-1 {own}");
    words.extend(["-append".to_owned(), line]);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_protocol::ask::AssignedDevice;
    use s2lab_protocol::{FailureKind, VmmKind};

    fn spec(slots: &[u8]) -> StartGuest {
        let device = |slot: &u8| AssignedDevice {
            device: format!("d{slot}"),
            kind: AssignKind::VfioPci,
            host_address: format!("0000:{slot:02x}:00.0"),
            guest_slot: *slot,
        };
        StartGuest {
            name: "g0".into(),
            vmm: VmmKind::Qemu,
            nonce: 0xab,
            memory_mib: 256,
            cpus: 1,
            ram: vec![RamKind::Anonymous],
            devices: slots.iter().map(device).collect(),
            joined: None,
        }
    }

    #[test]
    fn the_command_line_names_files_devices_and_nonce() {
        let words = arguments(&spec(&[1, 31]), [10, 12]).unwrap();
        let has = |wanted: &str| words.join(" ").contains(wanted);
        assert!(has("-chardev socket,id=link,fd=10") && has("-chardev socket,id=qmp,fd=12"), "{words:?}");
        assert!(has(
            "-device vfio-pci,host=0000:01:00.0,addr=0x1 -device vfio-pci,host=0000:1f:00.0,addr=0x1f"
        ));
        assert!(has("virtio-serial-pci,addr=0x1e"), "the link takes a slot that no device has: {words:?}");
        let append = words.last().unwrap();
        assert!(append.ends_with("s2lab.level=guest s2lab.name=g0 s2lab.nonce=00000000000000ab"), "{append}");
        assert_eq!(
            words.iter().filter(|word| word.contains(' ')).count(),
            1,
            "only -append has blanks: {words:?}"
        );
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
        assert_eq!(kind(StartGuest { name: "g0 -monitor".into(), ..spec(&[]) }), FailureKind::Invalid);
        assert_eq!(kind(spec(&[0])), FailureKind::Invalid);
        assert_eq!(kind(spec(&[32])), FailureKind::Invalid);
        assert_eq!(kind(spec(&(1..=31).collect::<Vec<_>>())), FailureKind::Invalid, "no slot for the link");
        let mut sly = spec(&[1]);
        sly.devices[0].host_address = "0000:01:00.0,x=y".into();
        assert_eq!(kind(sly), FailureKind::Invalid);
        let mut other = spec(&[1]);
        other.devices[0].kind = AssignKind::SysfsWc;
        assert_eq!(kind(other), FailureKind::Invalid, "only the built-in VMM can");
    }
}
