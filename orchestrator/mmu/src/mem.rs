//! Memory that a walk reads.

use crate::Stage2;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The page size of [`RecordingMem`] and [`PageMem`], in bytes, whatever the tables' granule.
pub const PAGE_SIZE: usize = 4096;
const IN_PAGE: u64 = PAGE_SIZE as u64 - 1;

/// Physical memory. An address without memory reads as None.
pub trait PhysMem {
    /// Returns the little-endian word at `pa`, which is a multiple of 8.
    fn read_u64(&self, pa: u64) -> Option<u64>;
}

/// A wrapper that records which pages are read, so that only these have to be kept for a later
/// walk.
pub struct RecordingMem<'a> {
    mem: &'a dyn PhysMem,
    last: Cell<Option<u64>>,
    pages: RefCell<BTreeSet<u64>>,
}

impl<'a> RecordingMem<'a> {
    pub fn new(mem: &'a dyn PhysMem) -> Self {
        Self { mem, last: Cell::new(None), pages: RefCell::default() }
    }

    /// Returns the addresses of the 4 KiB pages read so far. Pages without memory are not among
    /// them.
    pub fn pages(&self) -> BTreeSet<u64> {
        self.pages.borrow().clone()
    }
}

impl PhysMem for RecordingMem<'_> {
    fn read_u64(&self, pa: u64) -> Option<u64> {
        let value = self.mem.read_u64(pa)?;
        let page = pa & !IN_PAGE;
        // A walk reads a table from front to back, so this asks the set once a page instead of once
        // a word.
        if self.last.replace(Some(page)) != Some(page) {
            self.pages.borrow_mut().insert(page);
        }
        Some(value)
    }
}

/// Memory of which only some 4 KiB pages are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageMem {
    pages: BTreeMap<u64, Box<[u8; PAGE_SIZE]>>,
}

/// The reason why bytes are not a page of memory.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PageError {
    #[error("{0:#x} is not the address of a 4 KiB page")]
    Misaligned(u64),
    #[error("the page at {address:#x} has {length} bytes instead of 4096")]
    Length { address: u64, length: usize },
}

impl PageMem {
    /// Puts a page at `address`, and replaces the one that is there.
    ///
    /// Fails if `address` is not a multiple of 4096 or `bytes` are not 4096.
    pub fn insert(&mut self, address: u64, bytes: &[u8]) -> Result<(), PageError> {
        if address & IN_PAGE != 0 {
            return Err(PageError::Misaligned(address));
        }
        let page = bytes.try_into().map_err(|_| PageError::Length { address, length: bytes.len() })?;
        self.pages.insert(address, Box::new(page));
        Ok(())
    }
}

impl PhysMem for PageMem {
    fn read_u64(&self, pa: u64) -> Option<u64> {
        let (page, offset) = (self.pages.get(&(pa & !IN_PAGE))?, (pa & IN_PAGE) as usize);
        Some(u64::from_le_bytes(*page.get(offset..)?.first_chunk()?))
    }
}

/// A guest's physical memory: addresses are IPAs, which `stage2` translates. An IPA that stage 2
/// does not map, or through which it lets no walk read ([`Stage2::lets_walk`]), has no memory.
#[derive(Clone, Copy)]
pub struct ThroughStage2<'a> {
    stage2: &'a Stage2,
    mem: &'a dyn PhysMem,
}

impl<'a> ThroughStage2<'a> {
    pub fn new(stage2: &'a Stage2, mem: &'a dyn PhysMem) -> Self {
        Self { stage2, mem }
    }
}

impl PhysMem for ThroughStage2<'_> {
    fn read_u64(&self, ipa: u64) -> Option<u64> {
        let leaf = self.stage2.translate(self.mem, ipa).ok()?;
        if !self.stage2.lets_walk(&leaf) {
            return None;
        }
        self.mem.read_u64(leaf.pa_of(ipa)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_4096_bytes_at_a_multiple_of_4096() {
        let mut mem = PageMem::default();
        let bytes: Vec<u8> = (0..512u64).flat_map(u64::to_le_bytes).collect();
        assert_eq!(mem.insert(0x1800, &bytes), Err(PageError::Misaligned(0x1800)));
        assert_eq!(mem.insert(0x1000, &bytes[1..]), Err(PageError::Length { address: 0x1000, length: 4095 }));
        assert_eq!(mem, PageMem::default());
        assert_eq!(mem.insert(0x1000, &bytes), Ok(()));
        let words = [0xff8, 0x1000, 0x1008, 0x1ff8, 0x2000].map(|pa| mem.read_u64(pa));
        assert_eq!(words, [None, Some(0), Some(1), Some(511), None]);
        assert_eq!(mem.read_u64(0x1ffc), None, "reaches beyond the page");
    }

    #[test]
    fn pages_that_were_read_are_recorded() {
        let mut mem = PageMem::default();
        for page in [0x1000, 0x2000, 0x3000] {
            mem.insert(page, &[7; PAGE_SIZE]).unwrap();
        }
        let recording = RecordingMem::new(&mem);
        assert_eq!(recording.pages(), [].into());
        for pa in [0x3008, 0x9000, 0x1ff8, 0x1000, 0x3000] {
            assert_eq!(recording.read_u64(pa), mem.read_u64(pa));
        }
        assert_eq!(recording.pages(), [0x1000, 0x3000].into());
    }
}
