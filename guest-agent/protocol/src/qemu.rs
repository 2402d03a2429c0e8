//! The command line of QEMU as the VMM of a guest: a pure function of the request for the guest. The
//! host's agent starts it, and s2lab shows it.

use crate::{
    AGENT_PORT, QUICK_BOOT,
    ask::{AssignedDevice, StartGuest},
};
use std::collections::BTreeMap;
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

/// QEMU's name of an assigned device's model.
const DRIVER: &str = "vfio-pci";

/// Returns QEMU's name of the bus behind the port of a device.
fn bus(device: &AssignedDevice) -> String {
    format!("port-{}", device.device)
}

/// Returns the options of an assigned device: on the root bus, or behind a port of its own.
fn device_options(device: &AssignedDevice) -> Vec<(&'static str, String)> {
    let host = ("host", device.host_address.clone());
    match device.hotplug {
        true => vec![host, ("id", format!("dev-{}", device.device)), ("bus", bus(device))],
        false => vec![host, ("addr", format!("{:#x}", device.guest_slot))],
    }
}

/// Returns the command of QMP that makes QEMU take a device again. It has no identifier: its answer decides
/// nothing.
pub fn qemu_device_add(device: &AssignedDevice) -> String {
    let options = device_options(device).into_iter().chain([("driver", DRIVER.to_owned())]);
    let options: BTreeMap<_, _> = options.collect();
    serde_json::json!({"execute": "device_add", "arguments": options}).to_string()
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
        let slot = device.guest_slot;
        if device.hotplug {
            let bus = bus(device);
            let port = format!("pcie-root-port,id={bus},chassis={slot},slot={slot},addr={slot:#x}");
            words.extend(["-device".to_owned(), port]);
        }
        let options: Vec<_> =
            device_options(device).iter().map(|(key, value)| format!("{key}={value}")).collect();
        words.extend(["-device".to_owned(), format!("{DRIVER},{}", options.join(","))]);
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
    use crate::{AssignKind, RamKind, VmmKind};

    fn spec(slots: impl IntoIterator<Item = u8>) -> StartGuest {
        let device = |slot: u8| AssignedDevice {
            device: format!("d{slot}"),
            kind: AssignKind::VfioPci,
            host_address: format!("0000:{slot:02x}:00.0"),
            guest_slot: slot,
            hotplug: false,
            read_only: false,
            vma: None,
        };
        StartGuest {
            name: "g0".into(),
            vmm: VmmKind::Qemu,
            nonce: 0,
            memory_mib: 256,
            cpus: 2,
            ram: vec![RamKind::Anonymous],
            ram_vma: None,
            mte: false,
            hypervisor: None,
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
    fn a_device_that_may_be_unplugged_is_behind_a_port_and_comes_back_there() {
        let mut spec = spec([1, 16]);
        spec.devices[1].hotplug = true;
        let words = qemu_arguments(&spec, AT_START).unwrap().join(" ");
        let due = "-device vfio-pci,host=0000:01:00.0,addr=0x1 -device pcie-root-port,id=port-d16,chassis=16,slot=16,\
                   addr=0x10 -device vfio-pci,host=0000:10:00.0,id=dev-d16,bus=port-d16 ";
        assert!(words.contains(due), "{words}");
        let command: serde_json::Value = serde_json::from_str(&qemu_device_add(&spec.devices[1])).unwrap();
        let arguments = serde_json::json!({
            "driver": "vfio-pci", "host": "0000:10:00.0", "id": "dev-d16", "bus": "port-d16",
        });
        assert_eq!(command, serde_json::json!({"execute": "device_add", "arguments": arguments}));
    }

    #[test]
    fn without_a_slot_for_the_link_there_is_no_command_line() {
        assert!(qemu_arguments(&spec(1..=30), AT_START).is_some());
        assert_eq!(qemu_arguments(&spec(SLOTS), AT_START), None);
    }
}
