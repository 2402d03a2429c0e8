//! Sealed memory files: content that a child process inherits, and that nobody can change any more.

use rustix::{
    fd::OwnedFd,
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
};
use std::{
    fs::File,
    io::{self, BufWriter},
};

/// Returns a memfd with the output of `fill`, which nobody can change any more.
pub fn sealed(name: &str, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut out = BufWriter::new(File::from(fd));
    fill(&mut out)?;
    let fd = OwnedFd::from(out.into_inner()?);
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(fd)
}
