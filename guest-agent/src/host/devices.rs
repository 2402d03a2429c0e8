//! The devices of a host that serves several cells: each begins with them as a fresh boot has them.

use super::{function, platform};
use crate::fault;
use crate::pci::{self, Address};
use crate::platform::Name;
use crate::root::Root;
use s2lab_protocol::Failure;
use std::collections::{BTreeMap, BTreeSet};

/// The places of the configuration space that a message names.
const MOST_NAMED: usize = 8;

/// The devices that cells have used.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// The configuration space of each before its first driver.
    fresh: BTreeMap<Address, Vec<u8>>,
    /// Those that the present cell uses.
    used: BTreeSet<Address>,
    /// Those of them of which it uses virtual functions.
    physical: BTreeSet<Address>,
    /// Its platform devices.
    platform: BTreeSet<Name>,
}

impl Devices {
    /// Notes that the cell uses a device, before a driver gets it. QEMU knows no place of a BAR without memory space, and
    /// a device for which the kernel has no driver never had it.
    pub(super) fn used_by_cell(&mut self, root: &Root, address: &Address) -> Result<(), Failure> {
        if !self.fresh.contains_key(address) {
            pci::set_memory_space(root, address, true)?;
            self.fresh.insert(address.clone(), config(root, address)?);
        }
        self.used.insert(address.clone());
        Ok(())
    }

    /// Notes that the cell uses virtual functions of a device.
    pub(super) fn functions_used_by_cell(&mut self, physical: &Address) {
        self.physical.insert(physical.clone());
    }

    /// Notes that the cell uses a platform device.
    pub(super) fn platform_used_by_cell(&mut self, name: Name) {
        self.platform.insert(name);
    }

    /// Takes the cell's devices from their drivers. Resets them if another cell `follows`: a reset takes tens of
    /// milliseconds.
    ///
    /// # Errors
    /// A device whose driver stays, any platform device, and one that was reset and whose configuration space is not
    /// that of a fresh boot.
    pub(super) fn release(&mut self, root: &Root, follows: bool) -> Result<(), Failure> {
        let (used, of_platform) = (std::mem::take(&mut self.used), std::mem::take(&mut self.platform));
        let physical = std::mem::take(&mut self.physical);
        let removed = physical.iter().try_for_each(|address| function::remove(root, address));
        let taken = removed.and_then(|()| used.iter().try_for_each(|address| take(root, address)));
        let of_pci = if follows { taken.and_then(|()| self.reset(root, &used)) } else { taken };
        of_platform.iter().try_for_each(|name| platform::release(root, name)).and(of_pci)
    }

    fn reset(&self, root: &Root, used: &BTreeSet<Address>) -> Result<(), Failure> {
        used.iter().try_for_each(|address| {
            // Only a function with a reset method has the file.
            let reset = address.folder().join("reset");
            if root.exists(&reset) {
                root.write(reset, "1")?;
            }
            let (fresh, now) =
                (self.fresh.get(address).map_or(&[][..], Vec::as_slice), config(root, address)?);
            match differences(fresh, &now) {
                None => Ok(()),
                Some(at) => {
                    Err(fault::system("reset", address, format_args!("{at} differ from a fresh boot")))
                }
            }
        })
    }
}

fn config(root: &Root, address: &Address) -> Result<Vec<u8>, Failure> {
    let file = address.folder().join("config");
    root.bytes(&file).map_err(|why| fault::system("read", file.display(), why))
}

/// Takes a function from its driver.
fn take(root: &Root, address: &Address) -> Result<(), Failure> {
    let folder = address.folder();
    if !root.exists(&folder) {
        return Err(fault::system("take", address, "it is not in its slot"));
    }
    if root.exists(folder.join("driver")) {
        root.write(folder.join("driver/unbind"), &address.to_string())?;
    }
    // An empty line removes the override (Linux drivers/base/driver.c, driver_set_override).
    root.write(folder.join("driver_override"), "\n")
}

/// Returns the places in which two configuration spaces differ, or None if there are none.
fn differences(fresh: &[u8], now: &[u8]) -> Option<String> {
    if fresh.len() != now.len() {
        return Some(format!("the sizes of its configuration space, {} and {},", fresh.len(), now.len()));
    }
    let different = fresh.iter().zip(now).enumerate().filter(|(_, (fresh, now))| fresh != now);
    let places: Vec<_> = different
        .take(MOST_NAMED)
        .map(|(at, (fresh, now))| format!("{at:#x} ({now:#04x} instead of {fresh:#04x})"))
        .collect();
    (!places.is_empty()).then(|| format!("bytes of its configuration space, {},", places.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::bind::tests::fixture;
    use super::*;
    use std::fs;

    /// A device that a driver has, with a configuration space of eight bytes, whose memory space is off.
    fn device() -> (tempfile::TempDir, Root, std::path::PathBuf, Address) {
        let folder = tempfile::tempdir().unwrap();
        let (root, function) = fixture(folder.path());
        fs::remove_file(function.join("driver")).unwrap();
        fs::create_dir(function.join("driver")).unwrap();
        for name in ["driver/unbind", "reset"] {
            fs::write(function.join(name), "").unwrap();
        }
        fs::write(function.join("config"), [0xf4, 0x1a, 0x10, 0x11, 0, 0, 0, 0]).unwrap();
        (folder, root, function, Address::parse("0000:01:00.0").unwrap())
    }

    #[test]
    fn a_device_of_the_cell_is_taken_from_its_driver_and_reset() {
        let (_folder, root, function, address) = device();
        let mut devices = Devices::default();
        let text = |name: &str| fs::read_to_string(function.join(name)).unwrap();
        devices.used_by_cell(&root, &address).unwrap();
        assert_eq!(fs::read(function.join("config")).unwrap()[4..], [2, 0, 0, 0], "memory space is on");
        devices.release(&root, false).unwrap();
        assert_eq!([text("driver/unbind"), text("reset")], ["0000:01:00.0", ""], "no cell follows");
        fs::write(function.join("driver/unbind"), "").unwrap();
        devices.used_by_cell(&root, &address).unwrap();
        devices.release(&root, true).unwrap();
        assert_eq!([text("driver/unbind"), text("reset")], ["0000:01:00.0", "1"]);
        assert_eq!(text("driver_override"), "\n");
        // What no cell uses is left alone.
        fs::write(function.join("reset"), "").unwrap();
        devices.release(&root, true).unwrap();
        assert_eq!(text("reset"), "");
    }

    #[test]
    fn a_configuration_that_is_not_the_first_is_named() {
        let (_folder, root, function, address) = device();
        let mut devices = Devices::default();
        devices.used_by_cell(&root, &address).unwrap();
        devices.release(&root, true).unwrap();
        // The state of a later cell is compared with the first, too.
        devices.used_by_cell(&root, &address).unwrap();
        fs::write(function.join("config"), [0xf4, 0x1a, 0x11, 0x11, 2, 0, 0, 0]).unwrap();
        let failure = devices.release(&root, true).unwrap_err();
        assert!(failure.message.contains("0x2 (0x11 instead of 0x10), differ"), "{}", failure.message);
        devices.used_by_cell(&root, &address).unwrap();
        fs::write(function.join("config"), [0xf4]).unwrap();
        assert!(devices.release(&root, true).unwrap_err().message.contains("8 and 1"));
    }

    #[test]
    fn a_driver_that_stays_is_named() {
        let (_folder, root, function, address) = device();
        let mut devices = Devices::default();
        devices.used_by_cell(&root, &address).unwrap();
        fs::remove_file(function.join("driver/unbind")).unwrap();
        assert!(devices.release(&root, true).unwrap_err().message.contains("unbind"));
    }
}
