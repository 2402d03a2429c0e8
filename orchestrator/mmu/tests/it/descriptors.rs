//! Leaf descriptors that KVM writes, and their decoded form.

use crate::builder::*;
use aarch64_paging::descriptor::Stage2Attributes as A;
use s2lab_mmu::{Exec, Shareability, Stage2, Stage2Attr, Stage2Leaf};

/// Reads one 4K-granule descriptor at `level` through a table that holds nothing else.
fn leaf(format: Format, hcr: u64, level: i8, descriptor: u64) -> Stage2Leaf {
    let (vtcr, start_level, entries) = kvm_vtcr(format, 40);
    let mut tables = Tables::new(format, start_level, entries, 0x4000_0000);
    *tables.word(0, level) = descriptor;
    let stage2 = Stage2::new(tables.base, vtcr, hcr).unwrap();
    let walk = stage2.walk(&tables);
    assert_eq!((walk.leaves.len(), walk.anomaly_count), (1, 0), "{:?}", walk.anomalies);
    assert_eq!(stage2.translate(&tables, 0), Ok(walk.leaves[0]));
    walk.leaves[0]
}

/// Low bits of a page, of a 2M block and with LPA2, for RW, never-exec, AF, SH=inner; without and
/// with FWB. `None`: KVM does not write this one on such a machine.
#[test]
fn golden() {
    let rows = [
        ("Device-nGnRE", 0x7c7, 0x7c5, 0x4c7, Some("Device-nGnRE"), Some("Device-nGnRE")),
        ("Normal-NC", 0x7d7, 0x7d5, 0x4d7, Some("Normal-NC"), Some("Normal-NC")),
        ("RAM without FWB", 0x7ff, 0x7fd, 0x4ff, Some("Normal-WB"), None),
        ("RAM with FWB", 0x7db, 0x7d9, 0x4db, None, Some("Normal-WB")),
    ];
    for (name, page, block, lpa2, off, on) in rows {
        for (hcr, expected) in [(HCR, off), (HCR_FWB, on)] {
            let Some(expected) = expected else { continue };
            let forms = [
                (K4, 3, page, 0x80_0012_3000, 0x1000, Some(Shareability::Inner)),
                (K4, 2, block, 0x80_0020_0000, 0x20_0000, Some(Shareability::Inner)),
                (K4_LPA2, 3, lpa2, 0x80_0012_3000, 0x1000, None),
            ];
            for (format, level, low, pa, size, sh) in forms {
                let l = leaf(format, hcr, level, low | XN | pa);
                assert_eq!(l.attr.memory_type().unwrap().name(), expected, "{name} {low:#x}");
                let l = (l.ipa, l.pa, l.size, l.level, l.read, l.write, l.exec, l.af, l.sh, l.descriptor);
                assert_eq!(
                    l,
                    (0, pa, size, level, true, true, Exec::NEVER, true, sh, low | XN | pa),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn lpa2_takes_the_top_of_the_address_from_bits_9_and_8() {
    let l = leaf(K4_LPA2, HCR_FWB, 3, 0x4d7 | XN | 0b10 << 8 | 1 << 49 | 0x1000);
    assert_eq!(l.pa, 1 << 51 | 1 << 49 | 0x1000);
    let l = leaf(K4_LPA2, HCR_FWB, 2, 0x4d5 | XN | 0b01 << 8 | 0x20_0000);
    assert_eq!(l.pa, 1 << 50 | 0x20_0000);
}

#[test]
fn execution_is_told_by_two_bits() {
    for (xn, el0, el1, name) in [
        (0b00, true, true, "exec"),
        (0b01, true, false, "exec-el0"),
        (0b10, false, false, "never-exec"),
        (0b11, false, true, "exec-el1"),
    ] {
        let l = leaf(K4, HCR, 3, 0x7ff | xn << 53);
        assert_eq!((l.exec, l.exec.to_string()), (Exec { el0, el1 }, name.into()));
        assert_eq!(l.exec.is_never(), xn == 0b10);
    }
}

#[test]
fn each_bit_is_read_alone() {
    let base = 0x403; // valid page, AF
    let none = leaf(K4, HCR, 3, base);
    let same = |l: Stage2Leaf| Stage2Leaf { descriptor: base, ..l };
    assert_eq!(same(leaf(K4, HCR, 3, base | 1 << 6)), Stage2Leaf { read: true, ..none });
    assert_eq!(same(leaf(K4, HCR, 3, base | 1 << 7)), Stage2Leaf { write: true, ..none });
    assert_eq!(same(leaf(K4, HCR, 3, base & !AF)), Stage2Leaf { af: false, ..none });
    assert_eq!(same(leaf(K4, HCR, 3, base | 1 << 51)), Stage2Leaf { dbm: true, ..none });
    assert_eq!(same(leaf(K4, HCR, 3, base | 1 << 52)), Stage2Leaf { contiguous: true, ..none });
    for (bits, sh) in [(1, Shareability::Reserved), (2, Shareability::Outer), (3, Shareability::Inner)] {
        assert_eq!(same(leaf(K4, HCR, 3, base | bits << 8)), Stage2Leaf { sh: Some(sh), ..none });
    }
    for bit in 0..4 {
        let l = leaf(K4, HCR, 3, base | 1 << (55 + bit));
        assert_eq!(same(l), Stage2Leaf { software: 1 << bit, ..none });
    }
    for ignored in 59..64 {
        assert_eq!(same(leaf(K4, HCR, 3, base | 1 << ignored)), none, "bit {ignored}");
    }
}

/// The fields by DDI 0487, D8, "Block descriptor and Page descriptor formats": what of a descriptor
/// is type and address, and what is attributes. The last column is written by hand from the fields.
#[test]
fn attributes_are_all_but_the_type_and_the_address() {
    for (format, level, descriptor, attributes) in [
        // MemAttr 0b0101, S2AP 0b11, SH 0b11, AF; XN 0b10.
        (K4, 3, 0x0040_0080_0012_37d7, 0x0040_0000_0000_07d4),
        (K4, 2, 0x0040_0080_0020_07d5, 0x0040_0000_0000_07d4),
        // MemAttr 0b0001, S2AP 0b01, SH 0b10; FnXS; XN 0b11, contiguous, DBM.
        (K4, 3, 0x0078_0080_0012_3a47, 0x0078_0000_0000_0a44),
        // Software bits 58:55, PBHA 62:59 and bit 63.
        (K4, 3, 0xff80_0000_0000_1403, 0xff80_0000_0000_0400),
        // Bit 16: nT of a block, address of a page.
        (K4, 2, 0x0000_0000_0021_0401, 0x0000_0000_0001_0400),
        (K4, 3, 0x0000_0000_0021_0403, 0x0000_0000_0000_0400),
        // Bits 9:8 are address with DS=1, so the same bits have no SH.
        (K4_LPA2, 3, 0x0040_0080_0012_37d7, 0x0040_0000_0000_04d4),
        (K4_LPA2, 2, 0x0040_0080_0020_06d5, 0x0040_0000_0000_04d4),
        // The address of a 64K page begins at bit 16; bits 15:12 are its top.
        (K64_LPA, 3, 0x0040_0080_0012_f7d7, 0x0040_0000_0000_07d4),
        (K64_LPA, 2, 0x0040_0080_2000_f7d5, 0x0040_0000_0000_07d4),
    ] {
        let found = leaf(format, HCR_FWB, level, descriptor).attributes();
        assert_eq!(found, attributes, "{descriptor:#x} at level {level}: {found:#x}");
    }
}

#[test]
fn agrees_with_the_attributes_of_another_crate() {
    let cases = [
        (A::MEMATTR_DEVICE_nGnRnE, "Device-nGnRnE"),
        (A::MEMATTR_DEVICE_nGnRE, "Device-nGnRE"),
        (A::MEMATTR_NORMAL_OUTER_NC | A::MEMATTR_NORMAL_INNER_NC, "Normal-NC"),
        (A::MEMATTR_NORMAL_OUTER_WT | A::MEMATTR_NORMAL_INNER_WT, "Normal-WT"),
        (A::MEMATTR_NORMAL_OUTER_WB | A::MEMATTR_NORMAL_INNER_WB, "Normal-WB"),
        (A::MEMATTR_NORMAL_OUTER_WB | A::MEMATTR_NORMAL_INNER_NC, "inner Normal-NC outer Normal-WB"),
    ];
    for (mem_attr, name) in cases {
        let attributes =
            A::VALID | A::TABLE_OR_PAGE | mem_attr | A::S2AP_ACCESS_RW | A::SH_INNER | A::ACCESS_FLAG | A::XN;
        let l = leaf(K4, HCR, 3, attributes.bits() as u64 | 0x1_2345_6000);
        assert_eq!(l.attr.to_string(), name);
        assert!(matches!(l.attr, Stage2Attr::Type(_)));
        let rest = (l.pa, l.read, l.write, l.exec, l.af, l.sh);
        assert_eq!(rest, (0x1_2345_6000, true, true, Exec::NEVER, true, Some(Shareability::Inner)));
    }
    let read_only = A::VALID | A::TABLE_OR_PAGE | A::S2AP_ACCESS_RO | A::SH_OUTER;
    let l = leaf(K4, HCR, 3, read_only.bits() as u64);
    assert_eq!((l.read, l.write, l.af, l.sh), (true, false, false, Some(Shareability::Outer)));
}
