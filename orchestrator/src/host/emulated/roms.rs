//! The content of the host's RAM before its first instruction: the kernel, the initramfs and the
//! device tree.

use super::{commands::QueryRoms, memory::HostRam, qmp::Qmp, qmp::QmpError};
use s2lab_mmu::PhysMem;
use s2lab_model::event::{Loaded, LoadedPart};

/// QEMU's name of the device tree that it makes (QEMU 10.0 hw/arm/boot.c, arm_load_dtb).
const DEVICE_TREE: &str = "dtb";
/// QEMU's name of the first few instructions, which run once (hw/arm/boot.c, write_bootloader).
const BOOTLOADER: &str = "bootloader";
/// The offsets in the head of an arm64 Image, and its magic number (Linux
/// Documentation/arch/arm64/booting.rst).
const IMAGE_SIZE: u64 = 16;
const IMAGE_MAGIC: u64 = 56;
const MAGIC: u64 = 0x644d_5241;

/// The reason why the place of a part is unknown.
#[derive(Debug, thiserror::Error)]
pub enum LoadedError {
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error("QEMU's list of what it has loaded has no {0}")]
    Without(LoadedPart),
    #[error("QEMU's list of what it has loaded has two things that may be the {0}")]
    Twice(LoadedPart),
}

/// Asks QEMU, whose machine has not run yet.
pub async fn loaded(qmp: &mut Qmp, ram: &HostRam) -> Result<Vec<Loaded>, LoadedError> {
    let list = qmp.execute(QueryRoms {}).await?.human_readable_text;
    sorted(roms(&list), ram)
}

/// A range of RAM that QEMU fills, and its name in QEMU.
type Rom<'a> = (u64, u64, &'a str);

/// Decodes lines such as `addr=0000000048400000 size=0x100000 mem=ram name="dtb"` (QEMU 10.0
/// hw/core/loader.c, qmp_x_query_roms).
fn roms(list: &str) -> impl Iterator<Item = Rom<'_>> {
    list.lines().filter_map(|line| {
        let (range, name) = line.split_once(" mem=ram name=\"")?;
        let (start, size) = range.strip_prefix("addr=")?.split_once(" size=0x")?;
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        Some((hex(start)?, hex(size)?, name.strip_suffix('"')?))
    })
}

/// Identifies the parts. The kernel begins like an arm64 Image. The part without a name is the
/// initramfs.
fn sorted<'a>(roms: impl Iterator<Item = Rom<'a>>, ram: &dyn PhysMem) -> Result<Vec<Loaded>, LoadedError> {
    let mut found: Vec<Loaded> = vec![];
    for (start, size, name) in roms.filter(|(.., name)| *name != BOOTLOADER) {
        let part = match (name, image_size(ram, start)) {
            (DEVICE_TREE, _) => Loaded { part: LoadedPart::DeviceTree, start, size },
            // The Image's own size includes the zeroes that are not in the file.
            (_, Some(whole)) => Loaded { part: LoadedPart::Kernel, start, size: size.max(whole) },
            (_, None) => Loaded { part: LoadedPart::Initramfs, start, size },
        };
        if found.iter().any(|known| known.part == part.part) {
            return Err(LoadedError::Twice(part.part));
        }
        found.push(part);
    }
    let all = [LoadedPart::Kernel, LoadedPart::Initramfs, LoadedPart::DeviceTree];
    let missing = all.into_iter().find(|part| !found.iter().any(|known| known.part == *part));
    match missing {
        Some(part) => Err(LoadedError::Without(part)),
        None => Ok(found),
    }
}

/// Returns the bytes that the Image at `start` takes, or None if there is none.
fn image_size(ram: &dyn PhysMem, start: u64) -> Option<u64> {
    let magic = ram.read_u64(start.checked_add(IMAGE_MAGIC)?)?;
    if magic & 0xffff_ffff != MAGIC {
        return None;
    }
    ram.read_u64(start.checked_add(IMAGE_SIZE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of QEMU 10.0.2.
    const LIST: &str = "addr=0000000040000000 size=0x000028 mem=ram name=\"bootloader\"\n\
        addr=0000000040200000 size=0x21387c0 mem=ram name=\"/store/Image\"\n\
        addr=0000000048000000 size=0x300000 mem=ram name=\"ir\"\n\
        addr=0000000048400000 size=0x100000 mem=ram name=\"dtb\"\n\
        /rom@etc/acpi/tables size=0x200000 name=\"etc/acpi/tables\"\n";

    struct Image;
    impl PhysMem for Image {
        fn read_u64(&self, pa: u64) -> Option<u64> {
            Some(match pa {
                0x4020_0010 => 0x0223_0000,
                0x4020_0038 => 0x40_644d_5241,
                _ => 0,
            })
        }
    }

    #[test]
    fn kernel_initramfs_and_device_tree_are_told_apart() {
        let found = sorted(roms(LIST), &Image).unwrap();
        let places: Vec<_> = found.iter().map(|of| (of.part, of.start, of.size)).collect();
        let expected = [
            (LoadedPart::Kernel, 0x4020_0000, 0x0223_0000),
            (LoadedPart::Initramfs, 0x4800_0000, 0x30_0000),
            (LoadedPart::DeviceTree, 0x4840_0000, 0x10_0000),
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn a_list_that_lacks_something_is_refused() {
        let without = |what: &str| {
            let left: Vec<_> = LIST.lines().filter(|line| !line.contains(what)).collect();
            sorted(roms(&left.join("\n")), &Image).unwrap_err().to_string()
        };
        assert_eq!(without("Image"), "QEMU's list of what it has loaded has no kernel");
        assert_eq!(without("dtb"), "QEMU's list of what it has loaded has no device tree");
        assert_eq!(without("\"ir\""), "QEMU's list of what it has loaded has no initramfs");
        let twice = format!("{LIST}addr=0000000050000000 size=0x1000 mem=ram name=\"x\"\n");
        assert!(matches!(sorted(roms(&twice), &Image), Err(LoadedError::Twice(LoadedPart::Initramfs))));
    }
}
