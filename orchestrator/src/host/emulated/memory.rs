//! Memory that s2lab and QEMU share: the host's RAM and the devices' BARs, each a memfd mapped on
//! both sides.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};
use s2lab_mmu::PhysMem;
use std::{ffi::c_void, io, ptr::NonNull};

/// A memfd and this process's mapping of it. Only written pages take memory.
#[derive(Debug)]
pub struct SharedMemory {
    fd: OwnedFd,
    base: NonNull<c_void>,
    size: usize,
}

// SAFETY: the mapping belongs to this value alone and is only read, by volatile loads.
unsafe impl Send for SharedMemory {}
// SAFETY: as above; nothing is written through a shared reference.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Makes a memory of `size` bytes of zeroes.
    pub fn new(name: &str, size: u64) -> io::Result<Self> {
        let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, size)?;
        // If QEMU could shrink the file, our loads beyond its end would be SIGBUS.
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        // SAFETY: a fresh mapping at an address of the kernel's choice; nothing else refers to it.
        let base = unsafe { mmap(std::ptr::null_mut(), size, ProtFlags::READ, MapFlags::SHARED, &fd, 0)? };
        let base = NonNull::new(base).ok_or_else(|| io::Error::other("mmap gave a null address"))?;
        Ok(Self { fd, base, size })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub fn size(&self) -> u64 {
        self.size as u64
    }

    /// Writes `bytes` from byte `offset` on. The other side sees them at once.
    ///
    /// # Errors
    /// The bytes do not lie in the memory.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.size()) {
            return Err(io::Error::other("the bytes do not lie in the memory"));
        }
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            done += rustix::io::pwrite(self.fd(), rest, offset + done as u64)?;
        }
        Ok(())
    }

    /// Reads the bytes from byte `offset` on.
    ///
    /// # Errors
    /// They do not lie in the memory.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pread(self.fd(), rest, offset.saturating_add(done as u64))? {
                0 => return Err(io::Error::other("the bytes do not lie in the memory")),
                read => done += read,
            }
        }
        Ok(())
    }

    /// Fills it with zeroes. Its pages go back to the machine.
    pub fn clear(&self) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(self.fd(), flags, 0, self.size())?)
    }

    /// Returns the aligned little-endian word at byte `offset`, or None beyond the end.
    pub fn word(&self, offset: u64) -> Option<u64> {
        const WORD: usize = size_of::<u64>();
        let offset = usize::try_from(offset).ok()?;
        if offset % WORD != 0 || offset.checked_add(WORD)? > self.size {
            return None;
        }
        // SAFETY: inside of the mapping and aligned. QEMU may write at the same time, hence
        // volatile.
        let value = unsafe { self.base.cast::<u8>().add(offset).cast::<u64>().read_volatile() };
        Some(u64::from_le(value))
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and no reference into it outlives `self`.
        if let Err(error) = unsafe { munmap(self.base.as_ptr(), self.size) } {
            tracing::warn!(%error, "munmap");
        }
    }
}

/// The host's RAM in its physical address space.
#[derive(Debug)]
pub struct HostRam {
    pub memory: SharedMemory,
    /// The physical address of the first byte.
    pub start: u64,
}

impl HostRam {
    /// Returns the bytes from a physical address on, or None if they do not all lie in it.
    pub fn bytes(&self, pa: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.memory.read(pa.checked_sub(self.start)?, &mut bytes).ok()?;
        Some(bytes)
    }
}

impl PhysMem for HostRam {
    fn read_u64(&self, pa: u64) -> Option<u64> {
        self.memory.word(pa.checked_sub(self.start)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_seen_through_the_other_side_and_bounded() {
        let memory = SharedMemory::new("test", 4096).unwrap();
        memory.write(4088, &0x1122_3344_5566_7788u64.to_le_bytes()).unwrap();
        assert!(memory.write(4089, &[1; 8]).is_err() && memory.write(u64::MAX, &[1]).is_err());
        assert_eq!(memory.word(4088), Some(0x1122_3344_5566_7788));
        assert_eq!((memory.word(4096), memory.word(4), memory.word(u64::MAX)), (None, None, None));
        memory.clear().unwrap();
        assert_eq!(memory.word(4088), Some(0), "the mapping sees the hole");
        memory.write(4088, &0x1122_3344_5566_7788u64.to_le_bytes()).unwrap();
        let ram = HostRam { memory, start: 0x4000_0000 };
        assert_eq!(ram.read_u64(0x4000_0ff8), Some(0x1122_3344_5566_7788));
        assert_eq!((ram.read_u64(0x3fff_fff8), ram.read_u64(0x4000_1000)), (None, None));
        assert_eq!(ram.bytes(0x4000_0ffc, 4), Some(vec![0x44, 0x33, 0x22, 0x11]));
        assert_eq!(
            (ram.bytes(0x4000_0ffd, 4), ram.bytes(0x3fff_ffff, 1), ram.bytes(u64::MAX, 1)),
            (None, None, None)
        );
    }
}
