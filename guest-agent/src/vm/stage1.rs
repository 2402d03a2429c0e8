//! The stage 1 of a VM: tables in its RAM, written by the VMM (Arm ARM DDI 0487, D8.3).

use super::layout;
use super::ram::{Part, Ram};
use crate::fault;
use s2lab_protocol::{Failure, MapKind};
use std::ptr::NonNull;

/// The bits of a virtual address.
const VA_BITS: u32 = 48;
/// The bits of a page's offset: 4 KiB.
const PAGE_BITS: u32 = layout::PAGE.trailing_zeros();
/// The bits of an index into a table.
const INDEX_BITS: u32 = PAGE_BITS - 3;
/// The levels below the one of pages.
const LEVELS: u32 = (VA_BITS - PAGE_BITS).div_ceil(INDEX_BITS);

/// A descriptor is valid; at the last level it is a page, elsewhere it leads to a table.
const VALID: u64 = 0b11;
/// Inner shareable.
const INNER: u64 = 0b11 << 8;
/// The access flag.
const ACCESSED: u64 = 1 << 10;
/// AP[2]: read-only.
const READ_ONLY: u64 = 1 << 7;
/// Never executable at EL1.
const PXN: u64 = 1 << 53;
/// Never executable at EL0.
const UXN: u64 = 1 << 54;
/// The address in a descriptor.
const ADDRESS: u64 = ((1 << 48) - 1) & !(layout::PAGE - 1);

/// A memory type. Its number is the index in MAIR_EL1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attribute {
    WriteBack = 0,
    NonCacheable = 1,
    DeviceNGnRE = 2,
}

/// MAIR_EL1: an octet for each [`Attribute`] (DDI 0487, "MAIR_EL1").
pub(super) const MAIR: u64 = 0xff | 0x44 << 8 | 0x04 << 16;
/// TCR_EL1: T0SZ for [`VA_BITS`], tables that are write-back and inner shareable, 4 KiB pages, no
/// walks by TTBR1_EL1, and output addresses of 40 bits.
pub(super) const TCR: u64 =
    (64 - VA_BITS) as u64 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | 1 << 23 | 0b010 << 32;
/// SCTLR_EL1: MMU and caches on, and the bits that are 1 where their feature is missing (DDI 0487,
/// "SCTLR_EL1": RES1 of ARMv8.0).
pub(super) const SCTLR: u64 = 1 | 1 << 2 | 1 << 12 | 0x30d0_0800;

/// The permissions of a mapping at EL1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) write: bool,
    pub(super) execute: bool,
}

impl Attribute {
    /// The stage-1 type of a mapped BAR.
    pub(super) fn of(map: MapKind) -> Attribute {
        match map {
            MapKind::Wc => Attribute::NonCacheable,
            MapKind::Device => Attribute::DeviceNGnRE,
        }
    }
}

/// The tables.
#[derive(Debug)]
pub(super) struct Stage1 {
    ram: Ram,
    /// The part of RAM for tables.
    tables: Part,
    /// The bytes of it that are in use. The first table is the root.
    used: u64,
}

impl Stage1 {
    /// Makes tables that map nothing.
    pub(super) fn new(ram: Ram, tables: Part) -> Result<Stage1, Failure> {
        let mut stage1 = Stage1 { ram, tables, used: 0 };
        stage1.table()?;
        Ok(stage1)
    }

    /// TTBR0_EL1.
    pub(super) fn root(&self) -> u64 {
        self.ram.ipa(self.tables)
    }

    /// Returns the number of bytes of tables.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Yields the addresses of the tables that were made since `used` bytes were in use.
    pub(super) fn since(&self, used: u64) -> impl Iterator<Item = NonNull<u8>> {
        let places = (used..self.used).step_by(layout::PAGE as usize);
        places.map(|place| self.ram.at(Part { offset: self.tables.offset + place, size: layout::PAGE }))
    }

    /// Maps `size` bytes from the virtual address `va` to `ipa`, page by page. No page of it may be
    /// mapped yet: no CPU has such an entry in its TLB, so nothing has to be invalidated.
    pub(super) fn map(
        &mut self,
        va: u64,
        ipa: u64,
        size: u64,
        attribute: Attribute,
        rights: Rights,
    ) -> Result<(), Failure> {
        let mut bits = (attribute as u64) << 2 | INNER | ACCESSED | UXN | VALID;
        bits |= if rights.write { 0 } else { READ_ONLY };
        bits |= if rights.execute { 0 } else { PXN };
        for offset in (0..size).step_by(layout::PAGE as usize) {
            let slot = self.slot(va + offset)?;
            if self.word(slot) != 0 {
                return Err(fault::invalid(format_args!("{:#x} is mapped already", va + offset)));
            }
            self.set(slot, ((ipa + offset) & ADDRESS) | bits);
        }
        Ok(())
    }

    /// Returns the place of the last descriptor for `va`, with the tables that lead to it.
    fn slot(&mut self, va: u64) -> Result<u64, Failure> {
        let mut table = self.root();
        for level in (1..=LEVELS).rev() {
            let index = va >> (PAGE_BITS + INDEX_BITS * (level - 1)) & ((1 << INDEX_BITS) - 1);
            let slot = table + index * 8;
            if level == 1 {
                return Ok(slot);
            }
            table = match self.word(slot) & ADDRESS {
                0 => {
                    let next = self.table()?;
                    self.set(slot, next | VALID);
                    next
                }
                next => next,
            };
        }
        Ok(table)
    }

    /// Returns the IPA of a new table.
    fn table(&mut self) -> Result<u64, Failure> {
        let place = self.used;
        if place + layout::PAGE > self.tables.size {
            return Err(fault::invalid("the RAM of the VM has no room for another table"));
        }
        self.used += layout::PAGE;
        Ok(self.root() + place)
    }

    fn pointer(&self, slot: u64) -> *mut u64 {
        let offset = slot - self.root();
        self.ram.at(Part { offset: self.tables.offset + offset, size: 8 }).cast().as_ptr()
    }

    fn word(&self, slot: u64) -> u64 {
        // SAFETY: an aligned word of a table.
        u64::from_le(unsafe { self.pointer(slot).read_volatile() })
    }

    fn set(&mut self, slot: u64, word: u64) {
        // SAFETY: an aligned word of a table, which only CPUs of the VM read besides.
        unsafe { self.pointer(slot).write_volatile(word.to_le()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(size: u64) -> Stage1 {
        let tables = Part { offset: layout::AREA, size };
        Stage1::new(Ram::anonymous(layout::AREA + size), tables).unwrap()
    }

    /// Walks the tables like an MMU.
    fn walk(stage1: &Stage1, va: u64) -> Option<u64> {
        let mut table = stage1.root();
        for shift in [39, 30, 21, 12] {
            let word = stage1.word(table + (va >> shift & 0x1ff) * 8);
            if word & 1 == 0 {
                return None;
            }
            if shift == 12 {
                return Some(word);
            }
            table = word & ADDRESS;
        }
        None
    }

    #[test]
    fn pages_lead_to_their_ipas_with_type_and_rights() {
        let mut stage1 = fresh(1 << 20);
        let (write, execute) =
            (Rights { write: true, execute: false }, Rights { write: false, execute: true });
        stage1.map(layout::WINDOWS, layout::BARS, 4 << 20, Attribute::NonCacheable, write).unwrap();
        stage1.map(0x40_0000, layout::RAM, 0x2000, Attribute::WriteBack, execute).unwrap();
        let page = |va| walk(&stage1, va);
        // Index 1, AP 0b00, SH 0b11, AF, PXN and UXN.
        assert_eq!(page(layout::WINDOWS + 0x12_3000), Some((layout::BARS + 0x12_3000) | 0x60_0000_0000_0707));
        // Index 0, AP 0b10, SH 0b11, AF, UXN.
        assert_eq!(page(0x40_1000), Some((layout::RAM + 0x1000) | 0x40_0000_0000_0783));
        // The tables of all four levels, then those of another path: level 1 to 3.
        let used = fresh(1 << 20).used();
        assert_eq!((used, stage1.since(used).count()), (layout::PAGE, 2 + 2 + 3));
        assert_eq!(stage1.since(stage1.used()).count(), 0);
        for unmapped in [0x40_2000, layout::WINDOWS - 0x1000, layout::WINDOWS + (4 << 20), 0xffff_ffff_f000] {
            assert_eq!(page(unmapped), None, "{unmapped:#x}");
        }
    }

    #[test]
    fn a_page_is_mapped_once_and_tables_have_an_end() {
        let mut stage1 = fresh(8 * layout::PAGE);
        let rights = Rights { write: true, execute: true };
        stage1.map(0x1000, 0, 0x1000, Attribute::DeviceNGnRE, rights).unwrap();
        let again = stage1.map(0, 0, 0x2000, Attribute::DeviceNGnRE, rights).unwrap_err();
        assert!(again.message.contains("0x1000 is mapped already"), "{}", again.message);
        let many = stage1.map(1 << 40, 0, 1 << 30, Attribute::DeviceNGnRE, rights).unwrap_err();
        assert!(many.message.contains("no room"), "{}", many.message);
    }

    #[test]
    fn each_attribute_is_an_octet() {
        let octet = |attribute: Attribute| MAIR >> (8 * attribute as u64) & 0xff;
        let of = [Attribute::WriteBack, Attribute::NonCacheable, Attribute::DeviceNGnRE];
        assert_eq!(of.map(octet), [0xff, 0x44, 0x04]);
    }
}
