//! The command line of the emulated host's QEMU: a pure function of the host's parts.

use s2lab_model::scenario::{self, DeviceModel, Gic, MAX_DEVICES};
use s2lab_protocol::{
    AGENT_PORT,
    ethernet::{HOST_ADDRESS, HardwareAddress},
};
use std::{fmt::Display, path::Path};

/// Physical address of the first byte of RAM on `-M virt` (QEMU 10.0 hw/arm/virt.c, VIRT_MEM).
pub const RAM_START: u64 = 0x4000_0000;
/// The slot on the root bus of the first device's root port.
const FIRST_PORT: usize = 8;
/// The slot of the root port of the agent's device. It is the last one, so Linux's virtio-pci, which also
/// enables ivshmem devices, takes that device last. QEMU 10.0 may send a store to a wrong device while another
/// vCPU maps a BAR (docs/troubleshooting.md).
const AGENT_SLOT: usize = FIRST_PORT + MAX_DEVICES;
/// The vCPUs of the host. There are two, because QEMU before 10.2 raises no alignment fault on
/// Device memory when it generates code for a single thread (QEMU 10.0 tcg/tcg-op-ldst.c,
/// tcg_canonicalize_memop; mended by accel/tcg MO_ALIGN_TLB_ONLY).
pub const HOST_CPUS: u32 = 2;
/// The name of the virtio-serial port behind which the host's agent has sshd.
pub const SSH_PORT: &str = "s2lab-ssh";
/// The ports of the virtio-serial device: the two above, and number 0, which QEMU keeps for a console.
/// Linux makes two queues for each possible port, and QEMU has 31 by default.
const SERIAL_PORTS: usize = 3;

/// The descriptors that QEMU inherits, by their numbers in it. `Fd` may be another type if nothing
/// is started.
#[derive(Debug, Clone, Copy)]
pub struct Channels<Fd = i32> {
    pub qmp: Fd,
    pub gdb: Fd,
    pub console: Fd,
    pub agent: Fd,
    pub ssh: Fd,
}

/// One device of the scenario, behind a root port of its own: without one ivshmem has no reset
/// method.
#[derive(Debug, Clone)]
pub struct PciDevice<'a, Fd = i32> {
    pub name: &'a str,
    pub model: DeviceModel,
    /// It may be unplugged.
    pub hotplug: bool,
    /// The memory of its BAR, if s2lab makes that.
    pub bar: Option<BarMemory<Fd>>,
    /// The descriptor of the drive's memory.
    pub drive: Option<Fd>,
}

/// The memory of a BAR: its descriptor and its bytes.
#[derive(Debug, Clone, Copy)]
pub struct BarMemory<Fd = i32> {
    pub fd: Fd,
    pub size: u64,
}

/// All inputs of the command line.
#[derive(Debug)]
pub struct HostMachine<'a, Fd = i32> {
    pub cpu: &'a str,
    pub gic: Gic,
    /// The machine has memory for tags.
    pub mte: bool,
    pub ram_size: u64,
    /// The descriptor of the RAM.
    pub ram: Fd,
    pub channels: Channels<Fd>,
    pub begin: Begin<'a, Fd>,
    pub devices: &'a [PciDevice<'a, Fd>],
    pub plugin: Option<PluginFile<'a, Fd>>,
}

/// The way in which a machine begins.
#[derive(Debug)]
pub enum Begin<'a, Fd = i32> {
    /// With the first instruction of a kernel.
    Boot {
        kernel: &'a Path,
        /// The descriptor of the initramfs.
        initramfs: Fd,
        kernel_arguments: &'a str,
    },
    /// With the state of a machine that was saved, which a command of QMP names.
    Saved,
}

/// The plugin of QEMU.
#[derive(Debug)]
pub struct PluginFile<'a, Fd = i32> {
    /// Without a comma.
    pub file: &'a Path,
    /// The descriptor of the memory that it shares with s2lab.
    pub trace: Fd,
}

/// Returns the PCI address in the host of the root port of the scenario's `index`-th device.
pub fn port_address(index: usize) -> String {
    format!("0000:00:{:02x}.0", FIRST_PORT + index)
}

/// Returns QEMU's id of a device.
pub fn device_id(name: &str) -> String {
    format!("dev-{name}")
}

/// Returns QEMU's name of the bus below the root port of a device.
pub fn bus(name: &str) -> String {
    format!("port-{name}")
}

/// A device in the words of QEMU, for the command line and for a device that is plugged later.
pub struct PciOptions {
    pub driver: &'static str,
    pub options: Vec<PciOption>,
}

/// An option of a device.
pub enum PciOption {
    Text(&'static str, String),
    On(&'static str),
}

impl PciOptions {
    pub fn of(name: &str, model: DeviceModel) -> Self {
        match model {
            // Without `master=on` such a machine cannot be migrated (QEMU 10.0 hw/misc/ivshmem-pci.c).
            DeviceModel::IvshmemPlain => Self {
                driver: "ivshmem-plain",
                options: vec![PciOption::Text("memdev", format!("bar-{name}")), PciOption::On("master")],
            },
            DeviceModel::Nvme => Self {
                driver: "nvme",
                options: vec![
                    PciOption::Text("serial", name.to_owned()),
                    PciOption::Text("drive", format!("drive-{name}")),
                    PciOption::Text("pmrdev", format!("bar-{name}")),
                ],
            },
            DeviceModel::Igb => {
                Self { driver: "igb", options: vec![PciOption::Text("mac", hardware_address(HOST_ADDRESS))] }
            }
        }
    }
}

/// Returns a hardware address in the words of QEMU.
fn hardware_address(address: HardwareAddress) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

impl Display for PciOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PciOption::Text(key, value) => write!(f, "{key}={value}"),
            PciOption::On(key) => write!(f, "{key}=on"),
        }
    }
}

impl<Fd: Display> HostMachine<'_, Fd> {
    pub fn arguments(&self) -> Vec<String> {
        let Channels { qmp, gdb, console, agent, ssh } = &self.channels;
        let mut args = vec![];
        let mut add = |option: &str, value: String| args.extend([option.to_owned(), value]);
        add(
            "-M",
            format!(
                "virt,virtualization=on,gic-version={},iommu=smmuv3,memory-backend=ram{}",
                self.gic.number(),
                if self.mte { ",mte=on" } else { "" }
            ),
        );
        add("-accel", "tcg,thread=multi".into());
        add("-cpu", self.cpu.into());
        add("-smp", HOST_CPUS.to_string());
        add("-m", format!("{}M", self.ram_size >> 20));
        add("-object", shared_memory("ram", &self.ram, self.ram_size));
        for (id, fd) in [("qmp", qmp), ("gdb", gdb), ("console", console), ("agent", agent), ("ssh", ssh)] {
            add("-chardev", format!("socket,id={id},fd={fd}"));
        }
        add("-mon", "chardev=qmp,mode=control".into());
        add("-gdb", "chardev:gdb".into());
        add("-serial", "chardev:console".into());
        for (index, device) in self.devices.iter().enumerate() {
            let (name, slot) = (device.name, FIRST_PORT + index);
            if let Some(BarMemory { fd, size }) = &device.bar {
                add("-object", shared_memory(&format!("bar-{name}"), fd, *size));
            }
            if let Some(drive) = &device.drive {
                // QEMU cannot lock a file without a name.
                add(
                    "-blockdev",
                    format!(
                        "driver=raw,node-name=drive-{name},file.driver=file,file.filename=/proc/self/fd/{drive},file.locking=off"
                    ),
                );
            }
            add("-device", root_port(&bus(name), slot, device.hotplug));
            let PciOptions { driver, options } = PciOptions::of(name, device.model);
            let options: String = options.iter().map(|option| format!(",{option}")).collect();
            add("-device", format!("{driver}{options},id={},bus={}", device_id(name), bus(name)));
        }
        add("-device", root_port("agent-port", AGENT_SLOT, false));
        add("-device", format!("virtio-serial-pci,id=agent-bus,max_ports={SERIAL_PORTS},bus=agent-port"));
        add("-device", format!("virtserialport,bus=agent-bus.0,chardev=agent,name={AGENT_PORT}"));
        add("-device", format!("virtserialport,bus=agent-bus.0,chardev=ssh,name={SSH_PORT}"));
        match &self.begin {
            Begin::Boot { kernel, initramfs, kernel_arguments } => {
                add("-kernel", kernel.display().to_string());
                add("-initrd", format!("/proc/self/fd/{initramfs}"));
                add("-append", (*kernel_arguments).into());
            }
            Begin::Saved => add("-incoming", "defer".into()),
        }
        add("-display", "none".into());
        if let Some(PluginFile { file, trace }) = &self.plugin {
            add("-plugin", format!("{},{}={trace}", file.display(), s2lab_trace::DESCRIPTOR));
        }
        args.extend(["-nodefaults", "-no-reboot", "-S"].map(String::from));
        args
    }
}

/// Returns the command line of a scenario's host, with names in place of descriptors and of files of the
/// cache. Its CPU is the model's name, without options.
pub fn template(host: &scenario::Host, kernel_arguments: &str) -> Vec<String> {
    let names = host.devices.keys().map(|name| [format!("<bar of {name}>"), format!("<drive of {name}>")]);
    let names: Vec<_> = names.collect();
    let devices = host.devices.iter().zip(&names);
    let devices: Vec<_> = devices
        .map(|((name, device), [bar, drive])| PciDevice {
            name,
            model: device.model,
            hotplug: device.hotplug,
            bar: device.bar.map(|size| BarMemory { fd: bar.as_str(), size: size.0 }),
            drive: device.drive.map(|_| drive.as_str()),
        })
        .collect();
    HostMachine {
        cpu: &host.cpu,
        gic: host.gic,
        mte: host.mte,
        ram_size: host.memory.0,
        ram: "<ram>",
        channels: Channels {
            qmp: "<qmp>",
            gdb: "<gdb>",
            console: "<console>",
            agent: "<agent>",
            ssh: "<ssh>",
        },
        begin: Begin::Boot { kernel: Path::new("<cache>/Image"), initramfs: "<initramfs>", kernel_arguments },
        devices: &devices,
        plugin: Some(PluginFile { file: Path::new("<cache>/libs2lab_plugin.so"), trace: "<trace>" }),
    }
    .arguments()
}

/// A root port. A hot-pluggable slot makes each reset take Linux a second: QEMU never completes its slot
/// commands.
fn root_port(id: &str, slot: usize, hotplug: bool) -> String {
    let hotplug = if hotplug { "on" } else { "off" };
    format!("pcie-root-port,id={id},chassis={slot},slot={slot},addr={slot:#x},hotplug={hotplug}")
}

fn shared_memory(id: &str, fd: &impl Display, size: u64) -> String {
    format!("memory-backend-file,id={id},mem-path=/proc/self/fd/{fd},share=on,size={size}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_command_line() {
        let device = |name, hotplug, bar| {
            let bar = Some(BarMemory { fd: bar, size: 16 << 20 });
            PciDevice { name, model: DeviceModel::IvshmemPlain, hotplug, bar, drive: None }
        };
        let disk = PciDevice {
            model: DeviceModel::Nvme,
            bar: Some(BarMemory { fd: 20, size: 1 << 20 }),
            drive: Some(21),
            ..device("disk", false, 20)
        };
        let igb = PciDevice { model: DeviceModel::Igb, bar: None, ..device("lan", false, 0) };
        let machine = HostMachine {
            cpu: "neoverse-v1,pauth-impdef=on",
            gic: Gic::V3,
            mte: false,
            ram_size: 1536 << 20,
            ram: 10,
            channels: Channels { qmp: 11, gdb: 12, console: 13, agent: 14, ssh: 18 },
            begin: Begin::Boot {
                kernel: Path::new("/store/Image"),
                initramfs: 15,
                kernel_arguments: "console=ttyAMA0",
            },
            devices: &[device("nic", false, 16), device("gpu", true, 17), disk, igb],
            plugin: Some(PluginFile { file: Path::new("/store/libs2lab_plugin.so"), trace: 19 }),
        };
        let booted = machine.arguments();
        insta::assert_snapshot!(booted.join("\n"));
        let saved = HostMachine { begin: Begin::Saved, ..machine }.arguments();
        let kernel = booted.iter().position(|argument| argument == "-kernel").unwrap();
        let due = [&booted[..kernel], &["-incoming".into(), "defer".into()], &booted[kernel + 6..]].concat();
        assert_eq!(saved, due, "all else is as it was in the machine that was saved");
    }
}
