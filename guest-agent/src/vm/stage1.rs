//! The stage 1 of a VM (Arm ARM DDI 0487, D8.3).

use super::ram::{Part, Ram};
use super::tables::{INPUT_BITS, Tables};
use s2lab_protocol::{Failure, MapKind};
use std::ptr::NonNull;

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

/// A memory type. Its number is the index in MAIR_EL1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attribute {
    WriteBack = 0,
    NonCacheable = 1,
    DeviceNGnRE = 2,
}

/// MAIR_EL1: an octet for each [`Attribute`] (DDI 0487, "MAIR_EL1").
pub(super) const MAIR: u64 = 0xff | 0x44 << 8 | 0x04 << 16;
/// TCR_EL1: T0SZ for [`INPUT_BITS`], tables that are write-back and inner shareable, 4 KiB pages, no
/// walks by TTBR1_EL1, and output addresses of 40 bits.
pub(super) const TCR: u64 =
    (64 - INPUT_BITS) as u64 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | 1 << 23 | 0b010 << 32;
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
pub(super) struct Stage1(Tables);

impl Stage1 {
    /// Makes tables that map nothing.
    pub(super) fn new(ram: Ram, tables: Part) -> Result<Stage1, Failure> {
        Tables::new(ram, tables).map(Stage1)
    }

    /// TTBR0_EL1.
    pub(super) fn root(&self) -> u64 {
        self.0.root()
    }

    /// Returns the number of bytes of tables.
    pub(super) fn used(&self) -> u64 {
        self.0.used()
    }

    /// Yields the addresses of the tables that were made since `used` bytes were in use.
    pub(super) fn since(&self, used: u64) -> impl Iterator<Item = NonNull<u8>> {
        self.0.since(used)
    }

    /// Maps `size` bytes from the virtual address `va` to `ipa`. No page of it may be mapped yet.
    pub(super) fn map(
        &mut self,
        va: u64,
        ipa: u64,
        size: u64,
        attribute: Attribute,
        rights: Rights,
    ) -> Result<(), Failure> {
        let mut bits = (attribute as u64) << 2 | INNER | ACCESSED | UXN;
        bits |= if rights.write { 0 } else { READ_ONLY };
        bits |= if rights.execute { 0 } else { PXN };
        self.0.map(va, ipa, size, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout;
    use super::*;

    fn fresh(size: u64) -> Stage1 {
        let tables = Part { offset: layout::AREA, size };
        Stage1::new(Ram::anonymous(layout::AREA + size), tables).unwrap()
    }

    #[test]
    fn pages_lead_to_their_ipas_with_type_and_rights() {
        let mut stage1 = fresh(1 << 20);
        let (write, execute) =
            (Rights { write: true, execute: false }, Rights { write: false, execute: true });
        stage1.map(layout::WINDOWS, layout::BARS, 4 << 20, Attribute::NonCacheable, write).unwrap();
        stage1.map(0x40_0000, layout::RAM, 0x2000, Attribute::WriteBack, execute).unwrap();
        let page = |va| stage1.0.leaf(va);
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
    fn each_attribute_is_an_octet() {
        let octet = |attribute: Attribute| MAIR >> (8 * attribute as u64) & 0xff;
        let of = [Attribute::WriteBack, Attribute::NonCacheable, Attribute::DeviceNGnRE];
        assert_eq!(of.map(octet), [0xff, 0x44, 0x04]);
    }
}
