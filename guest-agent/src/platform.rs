//! Platform devices as sysfs shows them, on a machine that a device tree describes.

use crate::fault;
use crate::root::Root;
use s2lab_protocol::{Bar, Facility, Failure};
use std::fmt;
use std::path::PathBuf;

/// The bytes of a region in `reg`: an address and a size of two cells each. QEMU's machine `virt` has
/// `#address-cells` and `#size-cells` 2 (QEMU 10.0 hw/arm/virt.c, create_fdt).
const REGION: usize = 16;
/// The most regions of a device: a PCI function has as many BARs.
const MOST: usize = 6;

/// The name of a platform device: the address of its first region, and the name of its node in the device
/// tree (Linux 6.1 drivers/of/platform.c, of_device_make_bus_id).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Name {
    /// Only the exact form, so that a name can be part of a path.
    pub(crate) fn parse(text: &str) -> Result<Name, Failure> {
        let fits = text.split_once('.').is_some_and(|(address, node)| {
            let (hexadecimal, word) = (
                |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-',
            );
            [address, node].iter().all(|part| (1..=31).contains(&part.len()))
                && address.bytes().all(hexadecimal)
                && node.bytes().all(word)
        });
        match fits {
            true => Ok(Name(text.to_owned())),
            false => {
                Err(fault::invalid(format_args!("{text:?} is no platform device; want for instance 0.flash")))
            }
        }
    }

    /// The device's folder, relative to the root.
    pub(crate) fn folder(&self) -> PathBuf {
        PathBuf::from("sys/bus/platform/devices").join(&self.0)
    }
}

/// Returns the regions of a device in its device tree's node. They count as prefetchable: a load has no
/// effect on the devices that s2lab assigns.
pub(crate) fn regions(root: &Root, name: &Name) -> Result<Vec<Bar>, Failure> {
    let file = name.folder().join("of_node/reg");
    let bytes = root.bytes(&file).map_err(|why| fault::system("read", file.display(), why))?;
    parse_regions(&bytes).ok_or_else(|| {
        fault::system("read", file.display(), format_args!("{} bytes are no regions", bytes.len()))
    })
}

fn parse_regions(bytes: &[u8]) -> Option<Vec<Bar>> {
    let regions = bytes.chunks_exact(REGION);
    let region = |(index, region): (u8, &[u8])| {
        let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
        let (start, size) = region.split_at(size_of::<u64>());
        Some(Bar { index, start: number(start)?, size: number(size)?, prefetchable: true })
    };
    match regions.remainder() {
        [] if (1..=MOST).contains(&regions.len()) => (0..).zip(regions).map(region).collect(),
        _ => None,
    }
}

/// Returns the group that VFIO has made for a device without an IOMMU. It exists while the driver has the
/// device.
pub(crate) fn group(root: &Root, name: &Name) -> Result<u32, Failure> {
    root.link_name(name.folder().join("iommu_group")).and_then(|group| group.parse().ok()).ok_or_else(|| {
        fault::missing(Facility::VfioNoIommu, format_args!("VFIO has made no group for {name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// QEMU's flash has two banks of 64 MiB (QEMU 10.0 hw/arm/virt.c, virt_flash_fdt).
    #[test]
    fn the_flash_has_two_regions() {
        let bar = |index, start| Bar { index, start, size: 64 << 20, prefetchable: true };
        let reg = [0u64, 64 << 20, 64 << 20, 64 << 20].map(u64::to_be_bytes).concat();
        let regions = parse_regions(&reg).unwrap();
        assert_eq!(regions, [bar(0, 0), bar(1, 64 << 20)]);
        assert_eq!(Bar::chosen(regions), Some(bar(0, 0)));
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        assert_eq!(
            Name::parse("0.flash").unwrap().folder(),
            PathBuf::from("sys/bus/platform/devices/0.flash")
        );
        for wrong in
            ["flash", "0.", ".flash", "0.flash/..", "0/.flash", "g.flash", "0.fl.sh", "0.Flash", "", "0..."]
        {
            assert!(Name::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Name::parse(&format!("0.{}", "x".repeat(32))).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..130)) {
            let regions = parse_regions(&bytes);
            prop_assert_eq!(regions.is_some(), [16, 32, 48, 64, 80, 96].contains(&bytes.len()));
        }
    }
}
