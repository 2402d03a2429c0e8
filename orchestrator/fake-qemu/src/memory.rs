//! The files that are the host's RAM and the devices' BARs.

use crate::Error;
use s2lab_protocol::{Extent, HostMemory};
use std::{fs::File, os::unix::fs::FileExt};

/// Physical address of the first byte of RAM on `-M virt`.
pub(crate) const RAM: u64 = 0x4000_0000;

/// QEMU's list of its loaded parts: kernel, initramfs and device tree.
pub(crate) const ROMS: &str = "addr=0000000040000000 size=0x000028 mem=ram name=\"bootloader\"\n\
    addr=0000000040200000 size=0x2138000 mem=ram name=\"Image\"\naddr=0000000048000000 size=0x300000 mem=ram name=\"14\"\n\
    addr=0000000048400000 size=0x100000 mem=ram name=\"dtb\"\n";
/// The place of the kernel in that, and its size with init sections and zeroes.
const IMAGE: u64 = 0x4020_0000;
const IMAGE_SIZE: u64 = 0x223_0000;

/// The memory that KVM reserves in protected mode.
pub(crate) const HYPERVISOR: Extent = Extent { start: 0x67e0_0000, size: 0x20_0000 };

/// Returns the description of the host's kernel: its code, its data, and between them the init
/// sections, which are free by now.
pub(crate) fn host_memory(is_protected: bool) -> HostMemory {
    let iomem = "40000000-67ffffff : System RAM\n  40200000-41a6ffff : Kernel code\n  41a70000-4207ffff : reserved\n\
        \x20 42080000-4242ffff : Kernel data\n  48000000-482fffff : reserved\n  48400000-484fffff : reserved\n\
        \x20 67e00000-67ffffff : reserved\n";
    let reserved = [
        (0x4020_0000, 0x187_0000),
        (0x4208_0000, 0x3b_0000),
        (0x4840_0000, 0x10_0000),
        (0x67e0_0000, 0x20_0000),
    ];
    let extents = reserved.map(|(start, size)| Extent { start, size });
    HostMemory {
        iomem: iomem.into(),
        reserved: Some(extents.into()),
        hypervisor: is_protected.then_some(HYPERVISOR),
    }
}

#[derive(Debug)]
pub(crate) struct Memory {
    file: File,
    pub(crate) size: u64,
    /// The physical address of the first byte; 0 for a BAR, which is addressed by offsets.
    start: u64,
}

impl Memory {
    pub(crate) fn open(path: &str, size: u64, start: u64) -> Result<Self, Error> {
        let file = File::options().read(true).write(true).open(path);
        let file = file.map_err(|why| Error::Io { what: format!("memory {path}"), why })?;
        Ok(Self { file, size, start })
    }

    /// Writes the part of an arm64 Image's head that s2lab reads (Linux
    /// Documentation/arch/arm64/booting.rst).
    pub(crate) fn load_image(&self) -> Result<(), Error> {
        self.write(IMAGE + 16, &IMAGE_SIZE.to_le_bytes())?;
        self.write(IMAGE + 56, b"ARMd")
    }

    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let offset = address.checked_sub(self.start).filter(|offset| *offset < self.size);
        let offset = offset.ok_or_else(|| Error::Arguments(format!("no memory at {address:#x}")))?;
        self.file
            .write_all_at(bytes, offset)
            .map_err(|why| Error::Io { what: format!("writing {address:#x}"), why })
    }

    /// Returns the words of `length` bytes.
    pub(crate) fn words(&self, address: u64, length: u64) -> Result<Vec<u64>, Error> {
        let bytes = (address..address + length).map(|address| self.byte(address));
        let bytes = bytes.collect::<Result<Vec<u8>, Error>>()?;
        Ok(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    pub(crate) fn byte(&self, address: u64) -> Result<u8, Error> {
        let mut byte = [0];
        let read = self.file.read_exact_at(&mut byte, address.saturating_sub(self.start));
        read.map_err(|why| Error::Io { what: format!("reading {address:#x}"), why })?;
        Ok(byte[0])
    }
}
