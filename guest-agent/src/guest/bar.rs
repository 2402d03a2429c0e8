//! A BAR mapped into user space through sysfs.

use super::machine::Target;
use crate::pci::{self, Address};
use crate::{fault, root::Root};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use s2lab_protocol::{Bar, Failure, MapKind, Mapping};
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

/// End of the name of the sysfs file that maps a BAR write-combined (drivers/pci/pci-sysfs.c,
/// pci_create_attr).
const WRITE_COMBINED: &str = "_wc";

/// The largest prefetchable BAR of a function, mapped whole, readable and writable.
#[derive(Debug)]
pub(crate) struct Mapped {
    device: String,
    address: String,
    /// Name of the sysfs file that is mapped.
    file: String,
    bar: Bar,
    /// `bar.size` bytes of device memory.
    base: NonNull<c_void>,
    length: usize,
}

impl Mapped {
    pub(crate) fn open(root: &Root, device: &str, address: &str, map: MapKind) -> Result<Mapped, Failure> {
        let function = pci::behind(root, &Address::parse(address)?)?;
        let bar = target(root, &function)?;
        pci::enable(root, &function)?;
        let name = file_name(bar.index, map);
        let file = function.folder().join(&name);
        if !root.exists(&file) {
            // The guests' kernel is the lab's, not the one under test.
            return Err(fault::system(
                "map",
                file.display(),
                "it is not there; a kernel without arch_can_pci_mmap_wc has no write-combined mapping of BARs",
            ));
        }
        let length = usize::try_from(bar.size).map_err(|_| {
            fault::invalid(format_args!("a BAR of {} bytes does not fit the address space", bar.size))
        })?;
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(root.path(&file))
            .map_err(|why| fault::system("open", file.display(), why))?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of this
        // process.
        let base = unsafe {
            mmap(null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &opened, 0)
        }
        .map_err(|why| fault::system("map", file.display(), why))?;
        let base =
            NonNull::new(base).ok_or_else(|| fault::system("map", file.display(), "it lies at address 0"))?;
        Ok(Mapped { device: device.to_owned(), address: address.to_owned(), file: name, bar, base, length })
    }

    /// Returns true if it is of the device with this address.
    pub(crate) fn is_of(&self, address: &str) -> bool {
        self.address == address
    }

    pub(crate) fn is(&self, address: &str, map: MapKind) -> bool {
        self.address == address && self.map() == map
    }

    /// The kind of the mapping, by the mapped file.
    pub(crate) fn map(&self) -> MapKind {
        if self.file.ends_with(WRITE_COMBINED) { MapKind::Wc } else { MapKind::Device }
    }

    /// Returns the facts that a look needs to walk stage 1.
    pub(crate) fn mapping(&self) -> Mapping {
        let (device, va) = (self.device.clone(), self.base.as_ptr() as u64);
        Mapping { device, map: self.map(), va, bar: self.bar, hypervisor: None }
    }

    /// Returns the mapping as it is accessed. Its addresses are valid as long as `self`.
    pub(crate) fn target(&self) -> Target {
        Target { base: self.base.cast(), bar: self.bar, map: self.map() }
    }
}

// SAFETY: a reference gives out facts and addresses alone; who uses an address answers for it. The
// mapping goes with the value, which no reference outlives.
unsafe impl Sync for Mapped {}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, and no address of a target outlives us.
        let _ = unsafe { munmap(self.base.as_ptr(), self.length) };
    }
}

fn file_name(index: u8, map: MapKind) -> String {
    match map {
        MapKind::Wc => format!("resource{index}{WRITE_COMBINED}"),
        MapKind::Device => format!("resource{index}"),
    }
}

/// Returns the BAR that scenarios mean.
fn target(root: &Root, address: &Address) -> Result<Bar, Failure> {
    if !root.exists(address.folder()) {
        return Err(fault::invalid(format_args!("there is no PCI function {address}")));
    }
    Bar::chosen(pci::bars(root, address)?)
        .ok_or_else(|| fault::invalid(format_args!("{address} has no prefetchable BAR")))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use s2lab_protocol::FailureKind;
    use std::path::Path;

    pub(crate) const ADDRESS: &str = "0000:00:01.0";
    pub(crate) const BAR_SIZE: u64 = 64 * 1024;

    /// A function with a small BAR 0, a file of [`BAR_SIZE`] bytes as BAR 2, and a large BAR 4 that
    /// is not prefetchable.
    pub(crate) fn fixture(folder: &Path) -> Root {
        let function = folder.join("sys/bus/pci/devices").join(ADDRESS);
        std::fs::create_dir_all(&function).unwrap();
        let empty = "0x0 0x0 0x0\n";
        let resource = format!(
            "0x10000000 0x100000ff 0x40200\n{empty}0x8000000000 0x800000ffff 0x14220c\n{empty}0x20000000 0x2fffffff 0x40200\n{empty}"
        );
        std::fs::write(function.join("resource"), resource).unwrap();
        std::fs::write(function.join("enable"), "0\n").unwrap();
        std::fs::write(function.join("resource2_wc"), vec![0; BAR_SIZE as usize]).unwrap();
        Root::at(folder)
    }

    /// Returns the content of the BAR.
    pub(crate) fn bar_file(folder: &Path) -> Vec<u8> {
        std::fs::read(folder.join("sys/bus/pci/devices").join(ADDRESS).join("resource2_wc")).unwrap()
    }

    #[test]
    fn the_prefetchable_bar_is_enabled_and_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let root = fixture(folder.path());
        let mapped = Mapped::open(&root, "nic", ADDRESS, MapKind::Wc).unwrap();
        let bar = Bar { index: 2, start: 0x80_0000_0000, size: BAR_SIZE, prefetchable: true };
        let target = mapped.target();
        assert_eq!(target.bar, bar);
        assert!(mapped.is(ADDRESS, MapKind::Wc) && !mapped.is(ADDRESS, MapKind::Device));
        assert_eq!((mapped.file.as_str(), mapped.map()), ("resource2_wc", MapKind::Wc));
        assert!(target.at(0, BAR_SIZE).is_some() && target.at(1, BAR_SIZE).is_none());
        assert!(target.at(u64::MAX, 2).is_none());
        let enable = root.read(format!("sys/bus/pci/devices/{ADDRESS}/enable")).unwrap();
        assert!(enable.starts_with('1'), "{enable:?}");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let root = fixture(folder.path());
        let kind = |address, map| Mapped::open(&root, "nic", address, map).unwrap_err().kind;
        assert_eq!(kind(ADDRESS, MapKind::Device), FailureKind::System, "no resource2 in the fixture");
        assert_eq!(kind("0000:00:02.0", MapKind::Wc), FailureKind::Invalid);
        assert_eq!(kind("../..", MapKind::Wc), FailureKind::Invalid);
    }
}
