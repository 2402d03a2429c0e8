//! The RAM of a VM: anonymous memory, of which the program's copy, an area for each vCPU and the
//! tables of stage 1 take the beginning.

use super::memslot::{Flags, Slot};
use super::{backing::anonymous, image::Segment, layout};
use crate::fault;
use s2lab_protocol::Failure;
use std::ptr::NonNull;

/// Bytes of a vCPU's stack. The payload needs a few hundred.
pub(super) const STACK: u64 = 4 * layout::AREA;
/// Bytes of a vCPU's buffer: the rows and words of a batch.
pub(super) const BUFFER: u64 = 8 * layout::AREA;

/// The RAM. It stays mapped as long as the process is alive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ram {
    base: NonNull<u8>,
    size: u64,
}

// SAFETY: it is an address; who uses the memory answers for it.
unsafe impl Send for Ram {}
// SAFETY: as above.
unsafe impl Sync for Ram {}

/// A part of RAM, by its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// The parts of RAM that are in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    /// The copy of each segment of the program.
    pub(super) image: Vec<Part>,
    pub(super) cpus: Vec<CpuParts>,
    /// All that is left, for tables.
    pub(super) tables: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuParts {
    pub(super) mailbox: Part,
    pub(super) stack: Part,
    pub(super) buffer: Part,
}

impl Parts {
    /// Divides RAM of `size` bytes.
    pub(super) fn of(size: u64, image: &[Segment], cpus: u32) -> Result<Parts, Failure> {
        let mut next = 0u64;
        let mut take = |bytes: u64| {
            let part = Part { offset: next, size: bytes.next_multiple_of(layout::AREA) };
            next += part.size;
            part
        };
        let image = image.iter().map(|segment| take(segment.size())).collect();
        let cpus = (0..cpus)
            .map(|_| CpuParts { mailbox: take(layout::AREA), stack: take(STACK), buffer: take(BUFFER) })
            .collect();
        let left = size.checked_sub(next).filter(|left| *left >= layout::AREA);
        let left = left.ok_or_else(|| {
            fault::invalid(format_args!("a VM of {size} bytes of RAM; it needs {next} and its tables"))
        })?;
        Ok(Parts { image, cpus, tables: Part { offset: next, size: left } })
    }
}

impl Ram {
    /// Maps `size` bytes.
    pub(super) fn map(size: u64) -> Result<Ram, Failure> {
        Ok(Ram { base: anonymous::map(size)?.cast(), size })
    }

    /// Returns its memslot.
    pub(super) fn slot(&self) -> Slot {
        let (size, address) = (self.size, self.base.addr().get() as u64);
        Slot { ipa: layout::RAM, size, address, flags: Flags::None }
    }

    /// Returns the address of a part in this process, which is also that in the VM.
    pub(super) fn at(&self, part: Part) -> NonNull<u8> {
        debug_assert!(part.offset + part.size <= self.size);
        let address = self.base.addr().saturating_add(part.offset as usize);
        self.base.with_addr(address)
    }

    /// Returns the IPA of a part.
    pub(super) fn ipa(&self, part: Part) -> u64 {
        layout::RAM + part.offset
    }

    /// Writes bytes to the beginning of a part.
    pub(super) fn write(&self, part: Part, bytes: &[u8]) {
        let length = bytes.len().min(part.size as usize);
        // SAFETY: the part lies in the RAM, which nothing else accesses: no vCPU runs yet.
        unsafe { self.at(part).copy_from_nonoverlapping(NonNull::from(bytes).cast(), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap() {
        let segment = |start, end| Segment { start, end, write: false, execute: true };
        let image = [segment(0x40_0000, 0x41_2345), segment(0x42_0000, 0x42_0001)];
        let parts = Parts::of(64 << 20, &image, 2).unwrap();
        let cpus = parts.cpus.iter().flat_map(|cpu| [cpu.mailbox, cpu.stack, cpu.buffer]);
        let all: Vec<_> = parts.image.iter().copied().chain(cpus).chain([parts.tables]).collect();
        assert_eq!(all[0], Part { offset: 0, size: 0x2_0000 });
        assert!(all.windows(2).all(|two| two[0].offset + two[0].size == two[1].offset), "{all:x?}");
        assert_eq!(parts.tables.offset + parts.tables.size, 64 << 20);
        assert!(Parts::of(1 << 20, &image, 2).is_err());
    }

    #[test]
    fn what_is_written_is_there() {
        let ram = Ram::map(1 << 20).unwrap();
        let part = Part { offset: layout::AREA, size: layout::AREA };
        ram.write(part, b"abc");
        // SAFETY: within the RAM.
        let read = unsafe { std::slice::from_raw_parts(ram.at(part).as_ptr(), 4) };
        assert_eq!((read, ram.ipa(part)), (&b"abc\0"[..], layout::RAM + layout::AREA));
    }
}
