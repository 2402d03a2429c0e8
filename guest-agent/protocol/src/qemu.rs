//! The command line of QEMU as the VMM of a guest: a pure function of the request for the guest. The
//! host's agent starts it, and s2lab shows it.

use crate::{AGENT_PORT, QUICK_BOOT, ask::StartGuest};
use std::ops::RangeInclusive;

/// The place of QEMU in the host, without the first `/`.
pub const QEMU: &str = "usr/bin/qemu-system-aarch64";
/// The slots of the guest's root bus that devices may take. Slot 0 is the host bridge.
pub const SLOTS: RangeInclusive<u8> = 1..=31;
/// The ports of the guest's virtio-serial device: that of the link, and number 0, which QEMU keeps for a
/// console. Linux makes two queues for each possible port, and QEMU has 31 by default. Each queue takes exits
/// to QEMU: all of them take a second under TCG.
const SERIAL_PORTS: usize = 2;
/// Words that shorten the boot of a guest's kernel, which is not under test, besides those of every kernel.
/// Without them the kernel relocates itself, signs pointers, splits and checks its own page tables, sets up
/// security modules, and puts values into the formats of trace events (Linux 6.12 kernel/trace/trace.c,
/// trace_eval_init).
const QUICK_GUEST: &str = "nokaslr arm64.nopauth rodata=off lsm= initcall_blacklist=trace_eval_init";

/// The parts of the command line that are made when QEMU starts.
#[derive(Debug, Clone, Copy)]
pub struct AtStart<'a> {
    /// The nonce of the cell, 16 hexadecimal digits.
    pub nonce: &'a str,
    /// The number of the open file with the guest's link.
    pub link: &'a str,
    /// The number of the open file with QMP.
    pub qmp: &'a str,
}

/// Returns QEMU's arguments. The guest's console is QEMU's stdout. Returns None if the devices leave
/// no slot for the guest's link. The caller has checked the names and addresses in the request.
pub fn qemu_arguments(spec: &StartGuest, at_start: AtStart<'_>) -> Option<Vec<String>> {
    let StartGuest { name, memory_mib, cpus, devices, .. } = spec;
    let AtStart { nonce, link, qmp } = at_start;
    let is_free = |slot: &u8| devices.iter().all(|device| device.guest_slot != *slot);
    let own = SLOTS.rev().find(is_free)?;
    let options = [
        "-M virt,gic-version=host",
        "-accel kvm",
        "-cpu host",
        "-nodefaults",
        "-no-user-config",
        "-display none",
        "-no-reboot",
        "-kernel /guest/Image",
        "-initrd /guest/initrd",
        &format!("-smp {cpus}"),
        &format!("-m {memory_mib}M"),
        "-chardev stdio,id=console,signal=off",
        "-serial chardev:console",
        &format!("-chardev socket,id=qmp,fd={qmp}"),
        "-mon chardev=qmp,mode=control",
        &format!("-chardev socket,id=link,fd={link}"),
        &format!("-device virtio-serial-pci,max_ports={SERIAL_PORTS},addr={own:#x}"),
        &format!("-device virtserialport,chardev=link,name={AGENT_PORT}"),
    ];
    let mut words: Vec<String> =
        options.iter().flat_map(|option| option.split(' ')).map(str::to_owned).collect();
    for device in devices {
        let (address, slot) = (&device.host_address, device.guest_slot);
        words.extend(["-device".to_owned(), format!("vfio-pci,host={address},addr={slot:#x}")]);
    }
    // A guest that panics restarts at once, which -no-reboot makes the end of QEMU. A byte on the
    // console takes exits to QEMU: all of the kernel's messages take longer than its boot. Errors
    // and a panic are printed nevertheless.
    let own = format!("s2lab.level=guest s2lab.name={name} s2lab.nonce={nonce}");
    let line = format!("console=ttyAMA0 quiet panic=-1 {QUICK_BOOT} {QUICK_GUEST} {own}");
    words.extend(["-append".to_owned(), line]);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AssignKind, RamKind, VmmKind, ask::AssignedDevice};

    fn spec(slots: impl IntoIterator<Item = u8>) -> StartGuest {
        let device = |slot: u8| AssignedDevice {
            device: format!("d{slot}"),
            kind: AssignKind::VfioPci,
            host_address: format!("0000:{slot:02x}:00.0"),
            guest_slot: slot,
            read_only: false,
        };
        StartGuest {
            name: "g0".into(),
            vmm: VmmKind::Qemu,
            nonce: 0,
            memory_mib: 256,
            cpus: 2,
            ram: vec![RamKind::Anonymous],
            mte: false,
            upper_read_only: false,
            devices: slots.into_iter().map(device).collect(),
            joined: None,
        }
    }

    const AT_START: AtStart<'static> = AtStart { nonce: "00000000000000ab", link: "10", qmp: "<qmp>" };

    #[test]
    fn the_command_line_names_files_devices_and_nonce() {
        let words = qemu_arguments(&spec([1, 31]), AT_START).unwrap();
        let has = |part: &str| words.join(" ").contains(part);
        assert!(has("-smp 2 -m 256M "), "{words:?}");
        assert!(
            has("-chardev socket,id=link,fd=10 ") && has("-chardev socket,id=qmp,fd=<qmp> "),
            "{words:?}"
        );
        assert!(has(
            "-device vfio-pci,host=0000:01:00.0,addr=0x1 -device vfio-pci,host=0000:1f:00.0,addr=0x1f"
        ));
        assert!(
            has("virtio-serial-pci,max_ports=2,addr=0x1e"),
            "the link takes a slot that no device has: {words:?}"
        );
        let append = words.last().unwrap();
        assert!(append.contains("kpti=0") && append.contains("nokaslr"), "{append}");
        assert!(append.ends_with("s2lab.level=guest s2lab.name=g0 s2lab.nonce=00000000000000ab"), "{append}");
        let blanks = words.iter().filter(|word| word.contains(' ')).count();
        assert_eq!(blanks, 1, "only -append has blanks: {words:?}");
    }

    #[test]
    fn without_a_slot_for_the_link_there_is_no_command_line() {
        assert!(qemu_arguments(&spec(1..=30), AT_START).is_some());
        assert_eq!(qemu_arguments(&spec(SLOTS), AT_START), None);
    }
}
