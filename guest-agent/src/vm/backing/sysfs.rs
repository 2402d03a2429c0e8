//! A BAR through sysfs `resourceN` or `resourceN_wc`. No driver may have the device: a kernel with
//! CONFIG_IO_STRICT_DEVMEM refuses to map a BAR that a driver has claimed (Linux 6.1 and 6.12
//! drivers/pci/pci-sysfs.c, pci_mmap_resource, iomem_is_exclusive).

use super::{Backing, Source, length, map_aligned};
use crate::pci::{Address, enable};
use crate::{fault, root::Root};
use s2lab_protocol::{Bar, Failure};

/// Maps a BAR. `suffix` is the end of the file's name.
pub(super) fn map(root: &Root, address: &Address, bar: Bar, suffix: &str) -> Result<Backing, Failure> {
    // The device must decode its addresses: no driver has switched that on.
    enable(root, address)?;
    let file = address.folder().join(format!("resource{}{suffix}", bar.index));
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(root.path(&file))
        .map_err(|why| fault::system("open", file.display(), why))?;
    let length = length(bar)?;
    let base = map_aligned(&opened, 0, length, &file.display())?;
    let source = Source { file: opened.into(), offset: 0, _others: vec![], request: None };
    Ok(Backing { base, length, source: Some(source) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::tests::{ADDRESS, BAR_SIZE, fixture};
    use s2lab_protocol::FailureKind;

    #[test]
    fn the_file_of_the_kind_is_mapped_and_the_device_enabled() {
        let folder = tempfile::tempdir().unwrap();
        let root = fixture(folder.path());
        let address = Address::parse(ADDRESS).unwrap();
        let bar = Bar { index: 2, start: 0, size: BAR_SIZE, prefetchable: true };
        let file = root.path(address.folder()).join("resource2_wc");
        std::fs::write(&file, vec![9; BAR_SIZE as usize]).unwrap();
        let mapped = map(&root, &address, bar, "_wc").unwrap();
        assert_eq!(mapped.address() % BAR_SIZE, 0);
        // SAFETY: within the mapping.
        unsafe { mapped.base.cast::<u8>().add(5).write_volatile(1) };
        assert_eq!(std::fs::read(&file).unwrap()[4..7], [9, 1, 9]);
        assert!(root.read(address.folder().join("enable")).unwrap().starts_with('1'));
        std::fs::write(root.path(address.folder()).join("resource2"), vec![5; BAR_SIZE as usize]).unwrap();
        let mut other = map(&root, &address, bar, "").unwrap();
        let before = other.address();
        other.remap().unwrap();
        assert!(other.address() != before && other.address() % BAR_SIZE == 0);
        other.map_over(&mapped).unwrap();
        // SAFETY: within the mapping.
        assert_eq!(unsafe { mapped.base.cast::<u8>().read_volatile() }, 5);
        let longer = Backing { length: mapped.length + 1, ..mapped };
        assert!(other.map_over(&longer).unwrap_err().message.contains("do not replace"));
        std::fs::remove_file(root.path(address.folder()).join("resource2")).unwrap();
        let failure = map(&root, &address, bar, "").unwrap_err();
        assert!(failure.kind == FailureKind::System && failure.message.contains("resource2:"), "{failure:?}");
    }
}
