//! PCI functions as sysfs shows them, the same in host and guest.

use crate::fault;
use crate::root::Root;
use crate::waits;
use s2lab_protocol::{Bar, Facility, Failure};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `flags` of a line in `resource`: a memory resource. Linux include/linux/ioport.h, same in 6.1
/// and 7.2.
const IORESOURCE_MEM: u64 = 0x200;
/// The BAR is prefetchable.
const IORESOURCE_PREFETCH: u64 = 0x2000;
/// Resources 0..=5 are BARs; the ROM and the bridge's windows follow.
const BARS: usize = 6;

/// The place of the command register in the configuration space, and its bits of memory space and of bus mastering
/// (PCI Local Bus 3.0, 6.1 and 6.2.2).
const COMMAND: u64 = 4;
const MEMORY_SPACE: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;

/// The place of the first capability's pointer, and the place of the next one's in each (PCI Local Bus 3.0, 6.7).
const CAPABILITIES: usize = 0x34;
const NEXT: usize = 1;
/// The bytes of the configuration space in which they are, and the most of them: each has four bytes at least.
const CONFIGURATION: usize = 256;
const MOST_CAPABILITIES: usize = 48;
/// The number of the PCI Express capability, the places of the upper bytes of Device Capabilities and of Device Control
/// in it, and their bits of Function Level Reset (PCI Express 5.0, 7.5.3.3 and 7.5.3.4).
const EXPRESS: u8 = 0x10;
const CAN_RESET: (usize, u8) = (7, 1 << 4);
const RESET: (usize, u8) = (9, 1 << 7);
/// The time that a function has for its reset (PCI Express 5.0, 6.6.2).
const RESET_TIME: Duration = Duration::from_millis(100);

/// Returns a command register with memory space on or off.
pub(crate) fn with_memory_space(command: [u8; 2], on: bool) -> [u8; 2] {
    let before = u16::from_le_bytes(command);
    let command = if on { before | MEMORY_SPACE } else { before & !MEMORY_SPACE };
    command.to_le_bytes()
}

/// Writes the command register by the file `config` of sysfs. The count in `enable` stays.
pub(crate) fn set_memory_space(root: &Root, address: &Address, on: bool) -> Result<(), Failure> {
    let file = address.folder().join("config");
    let set = || {
        let config = configuration(root, &file)?;
        change_command(config, 0, |command| with_memory_space(command, on)).map_err(io::Error::from)
    };
    set().map_err(|why| fault::system("write the command register in", file.display(), why))
}

/// Changes the command register in a file with the configuration space of a function, which begins at this offset.
pub(crate) fn change_command(
    file: impl AsFd,
    configuration: u64,
    change: impl Fn([u8; 2]) -> [u8; 2],
) -> rustix::io::Result<()> {
    let (at, mut command) = (configuration + COMMAND, [0; 2]);
    let read = rustix::io::pread(&file, &mut command, at)?;
    let written = rustix::io::pwrite(&file, &change(command), at)?;
    if (read, written) == (2, 2) { Ok(()) } else { Err(rustix::io::Errno::IO) }
}

/// Returns a command register that lets the function access memory by itself.
pub(crate) fn with_bus_master(command: [u8; 2]) -> [u8; 2] {
    (u16::from_le_bytes(command) | BUS_MASTER).to_le_bytes()
}

/// Resets a function by its PCI Express capability. The function's driver releases it first. It has none after that, so
/// nothing accesses the function.
pub(crate) fn reset(root: &Root, address: &Address) -> Result<(), Failure> {
    let unbind = address.folder().join("driver/unbind");
    if root.exists(&unbind) {
        root.write(&unbind, &address.to_string())?;
    }
    let file = address.folder().join("config");
    let failed = |why: io::Error| fault::system("reset the function by", file.display(), why);
    let config = configuration(root, &file).map_err(failed)?;
    let mut bytes = [0; CONFIGURATION];
    config.read_exact_at(&mut bytes, 0).map_err(failed)?;
    let control = express(&bytes).filter(|express| bytes[express + CAN_RESET.0] & CAN_RESET.1 != 0);
    let Some(control) = control.map(|express| express + RESET.0) else {
        return Err(fault::invalid(format_args!("{address} has no Function Level Reset")));
    };
    config.write_all_at(&[bytes[control] | RESET.1], control as u64).map_err(failed)?;
    std::thread::sleep(RESET_TIME);
    Ok(())
}

/// Returns the place of the PCI Express capability, if the function has it as a whole.
fn express(bytes: &[u8; CONFIGURATION]) -> Option<usize> {
    let next = |place: &usize| bytes.get(place + NEXT).map(|next| usize::from(*next));
    let places = std::iter::successors(Some(usize::from(bytes[CAPABILITIES])), next);
    let mut places = places.take_while(|place| *place != 0).take(MOST_CAPABILITIES);
    places.find(|place| bytes[*place] == EXPRESS && place + RESET.0 < CONFIGURATION)
}

/// Opens the file with a function's configuration space.
fn configuration(root: &Root, file: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new().read(true).write(true).open(root.path(file))
}

/// `DDDD:BB:DD.F`, as sysfs names a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address(String);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Address {
    /// Only the exact form, so that an address can be part of a path.
    pub(crate) fn parse(text: &str) -> Result<Address, Failure> {
        let form = b"xxxx:xx:xx.7";
        let fits = |(byte, form): (u8, &u8)| match form {
            b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            b'7' => (b'0'..=b'7').contains(&byte),
            other => byte == *other,
        };
        if text.len() == form.len() && text.bytes().zip(form).all(fits) {
            Ok(Address(text.to_owned()))
        } else {
            Err(fault::invalid(format_args!("{text:?} is no PCI address; want for instance 0000:01:00.0")))
        }
    }

    /// Returns the name of the function's bus, `DDDD:BB`.
    fn bus(&self) -> &str {
        self.0.rsplit_once(':').map_or(&self.0, |(bus, _)| bus)
    }

    /// The function's folder, relative to the root.
    pub(crate) fn folder(&self) -> PathBuf {
        PathBuf::from("sys/bus/pci/devices").join(&self.0)
    }
}

/// Why the text of `resource` is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResourceError {
    #[error("line {line} of `resource` is not three hexadecimal numbers: {text:?}")]
    Form { line: usize, text: String },
    #[error("line {line} of `resource` ends before it starts")]
    Reversed { line: usize },
}

/// The memory BARs in the text of a function's `resource`; empty ones and I/O ports are left out.
pub(crate) fn parse_resource(text: &str) -> Result<Vec<Bar>, ResourceError> {
    let mut bars = Vec::new();
    for (index, line) in (0..).zip(text.lines().take(BARS)) {
        let form =
            || ResourceError::Form { line: usize::from(index) + 1, text: line.chars().take(80).collect() };
        let numbers: Option<Vec<u64>> = line
            .split_whitespace()
            .map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok())
            .collect();
        let Some([start, end, flags]) = numbers.as_deref() else { return Err(form()) };
        if *end == 0 || flags & IORESOURCE_MEM == 0 {
            continue;
        }
        let reversed = ResourceError::Reversed { line: usize::from(index) + 1 };
        let size = end.checked_sub(*start).and_then(|last| last.checked_add(1)).ok_or(reversed)?;
        bars.push(Bar { index, start: *start, size, prefetchable: flags & IORESOURCE_PREFETCH != 0 });
    }
    Ok(bars)
}

/// Returns the function below a root port with the lowest address.
pub(crate) fn below(root: &Root, port: &Address) -> Result<Address, Failure> {
    let folder = port.folder();
    let entries = std::fs::read_dir(root.path(&folder))
        .map_err(|why| fault::invalid(format_args!("there is no root port {port}: {why}")))?;
    entries
        .flatten()
        .filter_map(|entry| Address::parse(entry.file_name().to_str()?).ok())
        .min()
        .ok_or_else(|| fault::invalid(format_args!("there is no PCI function below root port {port}")))
}

/// Returns the function that an address means: the one behind the port there, or the one there.
pub(crate) fn behind(root: &Root, address: &Address) -> Result<Address, Failure> {
    match is_port(root, address) {
        true => below(root, address),
        false => Ok(address.clone()),
    }
}

/// Returns true if the function is a bridge to another bus (PCI Code and ID Assignment 1.12, 1.7).
fn is_port(root: &Root, address: &Address) -> bool {
    root.read(address.folder().join("class")).is_ok_and(|class| class.starts_with("0x0604"))
}

/// The time in which a kernel removes or finds a function: the driver of a slot waits 5 s after its button was
/// pressed (drivers/pci/hotplug/pciehp_ctrl.c, pciehp_handle_button_press), and a guest has a slot of its own.
const PLUGGED: Duration = Duration::from_secs(50);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Waits until the kernel has the function and the files of its BARs, or has it no more.
pub(crate) fn until_plugged(root: &Root, address: &Address, plugged: bool) -> Result<(), Failure> {
    until(address, plugged, || match plugged {
        true => has_files(root, address),
        false => !root.exists(address.folder()),
    })
}

/// Waits until the kernel has a function behind a port.
pub(crate) fn until_behind(root: &Root, port: &Address) -> Result<(), Failure> {
    until(port, true, || below(root, port).is_ok_and(|function| has_files(root, &function)))
}

/// Keeps the port of a slot out of low power while the slot is empty. The driver of the slot switches its power
/// indicator in low power, and then the port wakes up with the slot's control register of before, in which the slot
/// is off (Linux 7.3 drivers/pci/hotplug/pciehp_ctrl.c, pciehp_handle_button_press and pciehp_enable_slot;
/// drivers/pci/pci.c, pci_restore_pcie_state). QEMU takes a device out of a slot that goes off (QEMU 10.0
/// hw/pci/pcie.c, pcie_cap_slot_write_config).
pub(crate) fn keep_port_awake(root: &Root, address: &Address) -> Result<(), Failure> {
    let control = PathBuf::from("sys/class/pci_bus").join(address.bus()).join("device/power/control");
    match root.exists(&control) {
        true => root.write(&control, "on"),
        // A kernel without CONFIG_PM.
        false => Ok(()),
    }
}

fn has_files(root: &Root, address: &Address) -> bool {
    root.exists(address.folder().join("resource0"))
}

fn until(address: &Address, plugged: bool, is_done: impl Fn() -> bool) -> Result<(), Failure> {
    waits::until(PLUGGED, PAUSE, || is_done().then_some(())).ok_or_else(|| {
        let is = if plugged { "does not find it" } else { "still has it" };
        let why = format_args!("the kernel {is} after {} seconds", PLUGGED.as_secs());
        fault::system(if plugged { "plug" } else { "unplug" }, address, why)
    })
}

/// The memory BARs of a function.
pub(crate) fn bars(root: &Root, address: &Address) -> Result<Vec<Bar>, Failure> {
    let file = address.folder().join("resource");
    let text = root.read(&file).map_err(|why| fault::system("read", file.display(), why))?;
    parse_resource(&text).map_err(|why| fault::system("read", file.display(), why))
}

/// Switches memory decoding on, once: sysfs counts.
pub(crate) fn enable(root: &Root, address: &Address) -> Result<(), Failure> {
    let file = address.folder().join("enable");
    match root.read(&file) {
        Ok(count) if count != "0" => Ok(()),
        Ok(_) => root.write(&file, "1"),
        Err(why) => Err(fault::system("read", file.display(), why)),
    }
}

/// Returns the IOMMU group of a function.
pub(crate) fn group(root: &Root, address: &Address) -> Result<u32, Failure> {
    root.link_name(address.folder().join("iommu_group"))
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| fault::missing(Facility::Iommu, format_args!("{address} is in no IOMMU group")))
}

/// A 16-bit identifier such as `vendor`: `0x1af4`.
pub(crate) fn identifier(root: &Root, address: &Address, name: &str) -> Result<u16, Failure> {
    let file = address.folder().join(name);
    let text = root.read(&file).map_err(|why| fault::system("read", file.display(), why))?;
    text.strip_prefix("0x")
        .and_then(|digits| u16::from_str_radix(digits, 16).ok())
        .ok_or_else(|| fault::system("read", file.display(), format_args!("{text:?} is no 16-bit number")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_bit_of_memory_space_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (root, address) = (Root::at(folder.path()), Address::parse("0000:01:00.0").unwrap());
        let file = root.path(address.folder()).join("config");
        std::fs::create_dir_all(root.path(address.folder())).unwrap();
        std::fs::write(&file, [0xf4, 0x1a, 0x10, 0x11, 0x07, 0x05, 0x10, 0]).unwrap();
        let command = || std::fs::read(&file).unwrap()[4..6].to_vec();
        set_memory_space(&root, &address, false).unwrap();
        assert_eq!(command(), [0x05, 0x05]);
        set_memory_space(&root, &address, true).unwrap();
        assert_eq!(command(), [0x07, 0x05]);
        std::fs::remove_file(&file).unwrap();
        assert!(set_memory_space(&root, &address, true).unwrap_err().message.contains("config"));
    }

    #[test]
    fn a_function_that_can_be_reset_has_the_bit_set_and_no_driver() {
        let folder = tempfile::tempdir().unwrap();
        let (root, address) = (Root::at(folder.path()), Address::parse("0000:01:00.0").unwrap());
        let driver = root.path(address.folder()).join("driver");
        std::fs::create_dir_all(&driver).unwrap();
        std::fs::write(driver.join("unbind"), "").unwrap();
        let file = root.path(address.folder()).join("config");
        let of = |changes: &[(usize, u8)]| {
            let mut config = [0; 256];
            // MSI-X, then PCI Express, whose Device Control has the sizes of payload and request.
            let known = [
                (0x34, 0x40),
                (0x40, 0x11),
                (0x41, 0x80),
                (0x80, 0x10),
                (0x87, 0x10),
                (0x88, 0x10),
                (0x89, 0x28),
            ];
            for (at, byte) in known.iter().chain(changes) {
                config[*at] = *byte;
            }
            std::fs::write(&file, config).unwrap();
            reset(&root, &address)
        };
        of(&[]).unwrap();
        let config = std::fs::read(&file).unwrap();
        assert_eq!((&config[0x88..0x8a], config[0x87]), (&[0x10, 0xa8][..], 0x10));
        assert_eq!(std::fs::read_to_string(driver.join("unbind")).unwrap(), "0000:01:00.0");
        // It cannot; it is no PCI Express function, although its vendor has that number; the list has no end.
        for changes in [
            &[(0x87, 0xef)][..],
            &[(0x80, 0x05)],
            &[(0x80, 0x05), (0x00, 0x10), (0x07, 0x10)],
            &[(0x80, 0x05), (0x81, 0x40)],
        ] {
            let failure = of(changes).unwrap_err();
            assert!(failure.message.contains("has no Function Level Reset"), "{}", failure.message);
            assert_eq!(std::fs::read(&file).unwrap()[0x89], 0x28);
        }
    }

    #[test]
    fn an_ivshmem_has_two_memory_bars() {
        let text = "0x0000000010040000 0x00000000100400ff 0x0000000000040200\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                    0x0000008000000000 0x0000008000ffffff 0x000000000014220c\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                    0x0000000000001000 0x000000000000103f 0x0000000000040101\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                    0x0000000000100000 0x00000000001fffff 0x0000000000042200\n";
        assert_eq!(
            parse_resource(text).unwrap(),
            [
                Bar { index: 0, start: 0x1004_0000, size: 0x100, prefetchable: false },
                Bar { index: 2, start: 0x80_0000_0000, size: 16 << 20, prefetchable: true },
            ],
            "neither the I/O ports of BAR 4 nor the bridge's window in line 7"
        );
    }

    #[test]
    fn a_damaged_line_is_named() {
        let error = |text| parse_resource(text).unwrap_err().to_string();
        assert!(error("0x0 0x0 0x0\nnonsense").contains("line 2"));
        assert!(error("0x0 0x0").contains("line 1"));
        assert!(error("0x2000 0x1fff 0x200").contains("ends before"));
        assert!(error("0x0 0xffffffffffffffff 0x200").contains("line 1"), "2^64 bytes do not fit");
    }

    #[test]
    fn an_address_cannot_leave_its_folder() {
        assert!(Address::parse("0000:01:00.0").is_ok());
        for wrong in [
            "../../../x.y",
            "0000:01:00.8",
            "0000:01:00",
            "0000:0G:00.0",
            "0000:01:00.0/..",
            "0000/01:00.0",
            "",
        ] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_means_the_function_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let [port, alone] = ["0000:00:10.0", "0000:00:11.0"].map(|text| Address::parse(text).unwrap());
        for (address, class) in [(&port, "0x060400"), (&alone, "0x050000")] {
            std::fs::create_dir_all(root.path(address.folder())).unwrap();
            std::fs::write(root.path(address.folder().join("class")), class).unwrap();
        }
        assert_eq!(behind(&root, &alone).unwrap(), alone);
        assert!(behind(&root, &port).unwrap_err().message.contains("no PCI function below"));
        std::fs::create_dir(root.path(port.folder().join("0000:01:00.0"))).unwrap();
        assert_eq!(behind(&root, &port).unwrap().to_string(), "0000:01:00.0");
    }

    #[test]
    fn a_function_that_was_plugged_has_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let address = Address::parse("0000:01:00.0").unwrap();
        until_plugged(&root, &address, false).unwrap();
        let late = root.clone();
        let plugging = std::thread::Builder::new().spawn(move || {
            std::fs::create_dir_all(late.path("sys/bus/pci/devices/0000:01:00.0")).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            std::fs::write(late.path("sys/bus/pci/devices/0000:01:00.0/resource0"), "").unwrap();
        });
        until_plugged(&root, &address, true).unwrap();
        assert!(root.exists(address.folder().join("resource0")));
        plugging.unwrap().join().unwrap();
    }

    #[test]
    fn the_port_above_an_empty_slot_stays_awake() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let address = Address::parse("0000:02:00.0").unwrap();
        keep_port_awake(&root, &address).unwrap();
        for bus in ["0000:00", "0000:02"] {
            let power = root.path(format!("sys/class/pci_bus/{bus}/device/power"));
            std::fs::create_dir_all(&power).unwrap();
            // As long as what is written: in sysfs a write replaces the text, whatever its length.
            std::fs::write(power.join("control"), "??").unwrap();
        }
        keep_port_awake(&root, &address).unwrap();
        let control = |bus: &str| root.read(format!("sys/class/pci_bus/{bus}/device/power/control")).unwrap();
        assert_eq!((control("0000:00"), control("0000:02")), ("??".to_owned(), "on".to_owned()));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*|(0x[0-9a-f]{1,18} ?\n?)*") {
            if let Ok(bars) = parse_resource(&text) {
                prop_assert!(bars.len() <= BARS && bars.iter().all(|bar| usize::from(bar.index) < BARS));
            }
        }

        #[test]
        fn a_bar_round_trips(start in 0u64..1 << 52, size in 1u64..1 << 40, prefetchable: bool) {
            let flags = 0x40200 | if prefetchable { 0x2000 } else { 0 };
            let text = format!("{start:#018x} {:#018x} {flags:#018x}", start + size - 1);
            prop_assume!(start + size > 1);
            prop_assert_eq!(parse_resource(&text).unwrap(), vec![Bar { index: 0, start, size, prefetchable }]);
        }
    }
}
