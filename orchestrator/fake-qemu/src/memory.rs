//! The files that are the host's RAM and the devices' BARs.

use crate::Error;
use std::{fs::File, os::unix::fs::FileExt};

/// Physical address of the first byte of RAM on `-M virt`.
pub(crate) const RAM: u64 = 0x4000_0000;

#[derive(Debug)]
pub(crate) struct Memory {
    file: File,
    pub(crate) size: u64,
    /// Physical address of the first byte; 0 for a BAR, which is addressed by offsets.
    start: u64,
}

impl Memory {
    pub(crate) fn open(path: &str, size: u64, start: u64) -> Result<Self, Error> {
        let file = File::options().read(true).write(true).open(path);
        let file = file.map_err(|why| Error::Io { what: format!("memory {path}"), why })?;
        Ok(Self { file, size, start })
    }

    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        let offset = address.checked_sub(self.start).filter(|offset| *offset < self.size);
        let offset = offset.ok_or_else(|| Error::Arguments(format!("no memory at {address:#x}")))?;
        self.file
            .write_all_at(bytes, offset)
            .map_err(|why| Error::Io { what: format!("writing {address:#x}"), why })
    }

    pub(crate) fn byte(&self, address: u64) -> Result<u8, Error> {
        let mut byte = [0];
        let read = self.file.read_exact_at(&mut byte, address.saturating_sub(self.start));
        read.map_err(|why| Error::Io { what: format!("reading {address:#x}"), why })?;
        Ok(byte[0])
    }
}
