//! The RAM of a VM: memory of one kind, or of two in equal parts. The program's copy, an area for each
//! vCPU and the tables of stage 1 take the beginning of it; with two kinds the tables are in the second.

use super::memslot::{Flags, Slot};
use super::{backing, image::Segment, layout, marks};
use crate::vfio::Dma;
use crate::{fault, root::Root};
use s2lab_protocol::{Failure, HUGE_PAGE, ModuleVma, RamKind, WORD};
use std::ffi::c_void;
use std::ptr::NonNull;

/// Bytes of a vCPU's stack. The payload needs a few hundred.
pub(super) const STACK: u64 = 4 * layout::AREA;
/// The most kinds of memory.
const MOST_KINDS: usize = 2;
/// The distance of the address of [`RamKind::ThpAskew`] from one that is aligned as its IPA.
const ASKEW: u64 = HUGE_PAGE / 2;
/// Bytes of a vCPU's buffer: the rows and words of a batch.
pub(super) const BUFFER: u64 = 8 * layout::AREA;

/// The RAM. It stays mapped as long as the process is alive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ram {
    base: NonNull<u8>,
    size: u64,
    /// The number of kinds of memory.
    kinds: u64,
    /// The last kind is anonymous memory, which can be discarded by the page.
    ends_anonymous: bool,
    /// The upper half is a memslot of its own, read-only.
    upper_read_only: bool,
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
    /// Memory that a virtual function accesses too.
    pub(super) dma: Option<Part>,
    /// For tables.
    pub(super) tables: Part,
    /// Blocks that nothing else uses.
    pub(super) marks: Vec<Part>,
    /// The last of them is anonymous memory.
    pub(super) ends_anonymous: bool,
    /// The end of each kind of memory, which is there to be accessed.
    pub(super) edges: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuParts {
    pub(super) mailbox: Part,
    pub(super) stack: Part,
    pub(super) buffer: Part,
}

impl Part {
    /// Returns its two halves.
    pub(super) fn halves(self) -> [Part; 2] {
        let size = (self.size / 2).next_multiple_of(layout::AREA);
        [Part { size, ..self }, Part { offset: self.offset + size, size: self.size - size }]
    }

    /// Returns its last word.
    pub(super) fn last_word(self) -> Part {
        Part { offset: self.offset + self.size - WORD, size: WORD }
    }
}

impl Parts {
    /// Divides RAM. `dma`: the bytes that a virtual function accesses too.
    pub(super) fn of(ram: &Ram, image: &[Segment], cpus: u32, dma: Option<u64>) -> Result<Parts, Failure> {
        let Ram { size, kinds, ends_anonymous, upper_read_only, .. } = *ram;
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
        let dma = dma.map(&mut take);
        let edge = |number: u64| (size / kinds * number).saturating_sub(layout::AREA);
        let (lowest, highest) = (edge(1), edge(kinds));
        let start = if kinds == 1 { next } else { size / kinds * (kinds - 1) };
        let left = highest.checked_sub(start).filter(|left| next <= lowest && *left >= layout::AREA);
        let left = left.ok_or_else(|| {
            fault::invalid(format_args!("a VM of {size} bytes of RAM; it needs {next} and its tables"))
        })?;
        let edges = (1..=kinds).map(|number| Part { offset: edge(number), size: layout::AREA }).collect();
        // The other half of what is left is for marks. Of two kinds, the first one has room too.
        let tables = Part { offset: start, size: (left / 2).next_multiple_of(layout::AREA) };
        let lower = if kinds == 1 { vec![] } else { marks::blocks(next..lowest) };
        let upper = match upper_read_only {
            true => vec![],
            false => marks::blocks(tables.offset + tables.size..highest),
        };
        let (marks, ends_anonymous) = ([lower, upper].concat(), ends_anonymous && !upper_read_only);
        Ok(Parts { image, cpus, dma, tables, marks, ends_anonymous, edges })
    }
}

impl Ram {
    /// Maps `size` bytes of these kinds, each of which has an equal part. `behind` bytes more are
    /// reserved after them. `vma` is that of [`RamKind::Module`].
    pub(super) fn map(
        root: &Root,
        (kinds, vma): (&[RamKind], Option<ModuleVma>),
        size: u64,
        behind: u64,
    ) -> Result<Ram, Failure> {
        if !(1..=MOST_KINDS).contains(&kinds.len()) {
            let found = kinds.len();
            return Err(fault::invalid(format_args!("RAM is of 1 to {MOST_KINDS} kinds, not {found}")));
        }
        let failed = |why: &dyn std::fmt::Display| fault::system("map", format_args!("{size} bytes"), why);
        let askew = if kinds.contains(&RamKind::ThpAskew) { ASKEW } else { 0 };
        let whole = size.saturating_add(behind).saturating_add(askew);
        let whole = usize::try_from(whole).map_err(|why| failed(&why))?;
        let (base, _) = backing::reserve(whole).map_err(|why| failed(&why))?;
        let base = base.with_addr(base.addr().saturating_add(askew as usize));
        let is_file =
            |kind: &RamKind| matches!(kind, RamKind::Memfd | RamKind::Module) || kind.huge_page().is_some();
        let ends_anonymous = kinds.last().is_some_and(|kind| !is_file(kind));
        let kinds_count = kinds.len() as u64;
        let ram = Ram { base: base.cast(), size, kinds: kinds_count, ends_anonymous, upper_read_only: false };
        let part = size / ram.kinds;
        for (kind, number) in kinds.iter().zip(0..) {
            let at = ram.at(Part { offset: part * number, size: part });
            backing::ram(root, (*kind, vma), at.cast(), part as usize)?;
        }
        Ok(ram)
    }

    /// Returns its bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the first address behind it.
    pub(super) fn behind(&self) -> NonNull<c_void> {
        self.base.with_addr(self.base.addr().saturating_add(self.size as usize)).cast()
    }

    /// Makes the upper half a memslot of its own, read-only.
    pub(super) fn with_read_only_half(self) -> Result<Ram, Failure> {
        match self.kinds {
            2 => Ok(Ram { upper_read_only: true, ..self }),
            // What the guest stores to is in the lower half of two.
            _ => Err(fault::invalid("the upper half of RAM is read-only only with two kinds")),
        }
    }

    /// Returns it as memory of devices, which have the addresses of the guest.
    pub(super) fn dma(&self) -> Dma {
        Dma { iova: layout::RAM, address: self.base.addr().get() as u64, size: self.size }
    }

    /// Returns its memslot, or that of each half.
    pub(super) fn slots(&self) -> (Slot, Option<Slot>) {
        let address = self.base.addr().get() as u64;
        let whole = Slot { ipa: layout::RAM, size: self.size, address, flags: Flags::None };
        match self.upper_read_only {
            false => (whole, None),
            true => {
                let half = self.size / 2;
                let upper = Slot {
                    ipa: whole.ipa + half,
                    size: self.size - half,
                    address: address + half,
                    flags: Flags::ReadOnly,
                };
                (Slot { size: half, ..whole }, Some(upper))
            }
        }
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
impl Ram {
    /// Maps anonymous memory.
    pub(super) fn anonymous(size: u64) -> Ram {
        Ram::map(&Root::machine(), (&[RamKind::Anonymous], None), size, 0).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap() {
        let segment = |start, end| Segment { start, end, write: false, execute: true };
        let image = [segment(0x40_0000, 0x41_2345), segment(0x42_0000, 0x42_0001)];
        let parts = Parts::of(&Ram::anonymous(64 << 20), &image, 2, Some(300 << 10)).unwrap();
        let cpus = parts.cpus.iter().flat_map(|cpu| [cpu.mailbox, cpu.stack, cpu.buffer]);
        let all: Vec<_> =
            parts.image.iter().copied().chain(cpus).chain(parts.dma).chain([parts.tables]).collect();
        assert_eq!(all.len(), 2 + 2 * 3 + 2);
        assert_eq!(all[0], Part { offset: 0, size: 0x2_0000 });
        assert!(all.windows(2).all(|two| two[0].offset + two[0].size == two[1].offset), "{all:x?}");
        let behind: Vec<_> = [parts.tables]
            .into_iter()
            .chain(parts.marks.iter().copied())
            .chain(parts.edges.clone())
            .collect();
        assert!(behind.windows(2).all(|two| two[0].offset + two[0].size <= two[1].offset), "{behind:x?}");
        assert!(parts.marks.len() > 10, "{:x?}", parts.marks);
        assert_eq!(parts.edges[0].last_word().offset + WORD, 64 << 20);
        assert!(Parts::of(&Ram::anonymous(1 << 20), &image, 2, None).is_err());
    }

    #[test]
    fn each_kind_of_memory_has_a_half_that_is_used_to_its_end() {
        let kinds = [RamKind::Memfd, RamKind::NoThp];
        let ram = Ram::map(&Root::machine(), (&kinds, None), 5 << 20, 1 << 20).unwrap();
        let image = [Segment { start: 0x40_0000, end: 0x42_0000, write: false, execute: true }];
        let parts = Parts::of(&ram, &image, 1, None).unwrap();
        let half = 5 << 19;
        assert_eq!(parts.tables.offset, half);
        let ends: Vec<_> = parts.edges.iter().map(|edge| edge.last_word().offset + WORD).collect();
        assert_eq!(ends, [half, 2 * half]);
        for edge in &parts.edges {
            ram.write(edge.last_word(), b"end");
        }
        let (lower, upper) = ram.with_read_only_half().unwrap().slots();
        let upper = upper.unwrap();
        assert_eq!((lower.ipa, lower.size, lower.flags), (layout::RAM, half, Flags::None));
        let of_upper = (upper.ipa, upper.size, upper.address - lower.address, upper.flags);
        assert_eq!(of_upper, (layout::RAM + half, half, half, Flags::ReadOnly));
        assert!(Ram::anonymous(1 << 20).with_read_only_half().is_err() && ram.slots().1.is_none());
        assert_eq!(ram.behind().addr().get() - ram.base.addr().get(), 5 << 20);
        let askew = Ram::map(&Root::machine(), (&[RamKind::ThpAskew], None), 4 << 20, 0).unwrap();
        assert_eq!(askew.slots().0.address % HUGE_PAGE, ASKEW);
        // The copy of the program does not fit into the first half.
        let large = [Segment { end: 0x62_0000, ..image[0] }];
        assert!(
            Parts::of(&ram, &large, 1, None).is_err()
                && Ram::map(&Root::machine(), (&[], None), 1 << 20, 0).is_err()
        );
        let three = [RamKind::Thp; 3];
        assert!(
            Ram::map(&Root::machine(), (&three, None), 3 << 20, 0).unwrap_err().message.contains("not 3")
        );
    }

    #[test]
    fn what_is_written_is_there() {
        let ram = Ram::anonymous(1 << 20);
        let part = Part { offset: layout::AREA, size: layout::AREA };
        ram.write(part, b"abc");
        // SAFETY: within the RAM.
        let read = unsafe { std::slice::from_raw_parts(ram.at(part).as_ptr(), 4) };
        assert_eq!((read, ram.ipa(part)), (&b"abc\0"[..], layout::RAM + layout::AREA));
    }
}
