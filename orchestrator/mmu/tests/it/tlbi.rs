//! TLBI instructions, by hand from DDI 0487, C5.5 and C6.2 (SYS).

use proptest::prelude::*;
use s2lab_mmu::{Granule, Ineffective, InvalidationScope, Ipas, Stage2, Stage2Leaf, Tlbi};

const E2H: u64 = 1 << 34;
const TGE: u64 = 1 << 27;

fn at_el2(word: u32, operand: u64) -> Tlbi {
    Tlbi { word, operand, el: 2, hcr: E2H }
}

fn ipas(word: u32, operand: u64, lpa2: bool) -> Option<Ipas> {
    match at_el2(word, operand).decode(lpa2)?.scope {
        InvalidationScope::Ipas(ipas) => Some(ipas),
        _ => None,
    }
}

const IPAS2E1IS: u32 = 0xd50c_8021;
const RIPAS2E1IS: u32 = 0xd50c_8041;

#[test]
fn every_instruction_has_its_name_and_reach() {
    use InvalidationScope::{All, Stage1, Vmid};
    for (word, name, broadcast, scope) in [
        (0xd508_811f, "VMALLE1OS", true, Some(Stage1)),
        (0xd508_831f, "VMALLE1IS", true, Some(Stage1)),
        (0xd508_871f, "VMALLE1", false, Some(Stage1)),
        (0xd50c_8020, "IPAS2E1IS", true, None),
        (0xd50c_8040, "RIPAS2E1IS", true, None),
        (0xd50c_80a0, "IPAS2LE1IS", true, None),
        (0xd50c_80c0, "RIPAS2LE1IS", true, None),
        (0xd50c_819f, "ALLE1OS", true, Some(All)),
        (0xd50c_81df, "VMALLS12E1OS", true, Some(Vmid)),
        (0xd50c_839f, "ALLE1IS", true, Some(All)),
        (0xd50c_83df, "VMALLS12E1IS", true, Some(Vmid)),
        (0xd50c_8400, "IPAS2E1OS", true, None),
        (0xd50c_8420, "IPAS2E1", false, None),
        (0xd50c_8440, "RIPAS2E1", false, None),
        (0xd50c_8460, "RIPAS2E1OS", true, None),
        (0xd50c_8480, "IPAS2LE1OS", true, None),
        (0xd50c_84a0, "IPAS2LE1", false, None),
        (0xd50c_84c0, "RIPAS2LE1", false, None),
        (0xd50c_84e0, "RIPAS2LE1OS", true, None),
        (0xd50c_879f, "ALLE1", false, Some(All)),
        (0xd50c_87df, "VMALLS12E1", false, Some(Vmid)),
    ] {
        // The nXS variant has CRn 9. A range has TG 0b01.
        for word in [word, word | 1 << 12] {
            let decoded = at_el2(word, 1 << 46).decode(false).unwrap();
            assert_eq!((decoded.name, decoded.broadcast), (name, broadcast), "{word:#x}");
            match (scope, decoded.scope) {
                (None, InvalidationScope::Ipas(_)) => {}
                (scope, found) => assert_eq!(scope, Some(found), "{word:#x}"),
            }
        }
    }
}

#[test]
fn what_is_not_about_a_guest_is_nothing() {
    // VAE1IS, ALLE2, DC ZVA, NOP, SYSL instead of SYS, IPAS2E1 with op2 3.
    for word in [0xd508_8320, 0xd50c_871f, 0xd50b_7420, 0xd503_201f, 0xd52c_8021, 0xd50c_8060] {
        assert_eq!(at_el2(word, 0).decode(false), None, "{word:#x}");
    }
    for el in [0, 1, 3] {
        assert_eq!(Tlbi { el, ..at_el2(IPAS2E1IS, 0) }.decode(false), None);
    }
    // VMALLE1IS of a host with VHE is about the host itself.
    let vmall = at_el2(0xd508_831f, 0);
    assert_eq!(Tlbi { hcr: E2H | TGE, ..vmall }.decode(false), None);
    for hcr in [0, E2H, TGE] {
        assert!(Tlbi { hcr, ..vmall }.decode(false).is_some(), "{hcr:#x}");
    }
    // A range without a granule.
    assert_eq!(at_el2(RIPAS2E1IS, 0).decode(false), None);
}

#[test]
fn operands_of_one_ipa() {
    let hint = |granule, level| (Some(granule), Some(level));
    for (ttl, lpa2, expected) in [
        (0b0000, false, (None, None)),
        (0b0011, false, (None, None)),
        (0b0100, false, (None, None)),
        (0b0100, true, hint(Granule::K4, 0)),
        (0b0101, false, hint(Granule::K4, 1)),
        (0b0110, false, hint(Granule::K4, 2)),
        (0b0111, false, hint(Granule::K4, 3)),
        (0b1000, true, (None, None)),
        (0b1001, false, (None, None)),
        (0b1001, true, hint(Granule::K16, 1)),
        (0b1010, false, hint(Granule::K16, 2)),
        (0b1100, true, (None, None)),
        (0b1101, false, hint(Granule::K64, 1)),
        (0b1111, false, hint(Granule::K64, 3)),
    ] {
        let found = ipas(IPAS2E1IS, ttl << 44 | 0x800_0000, lpa2).unwrap();
        assert_eq!((found.start, found.size), (0x80_0000_0000, 1));
        assert_eq!((found.granule, found.level), expected, "{ttl:#06b} {lpa2}");
    }
    assert_eq!(ipas(IPAS2E1IS, 0xf << 36 | 0x1, false).unwrap().start, 0xf_0000_0000_1000);
}

#[test]
fn operands_of_ranges() {
    let operand = |tg: u64, scale: u64, num: u64, ttl: u64, base: u64| {
        tg << 46 | scale << 44 | num << 39 | ttl << 37 | base
    };
    let range = |operand, lpa2| {
        let Ipas { start, size, granule, level } = ipas(RIPAS2E1IS, operand, lpa2).unwrap();
        (start, size, granule.unwrap(), level)
    };
    // 16 MiB at 0x8000000000 by 4K pages: (NUM + 1) << (5 * SCALE + 1) = 2 * 2048 = 4096 pages. Linux
    // does that with SCALE 2, NUM 1.
    let whole = operand(0b01, 2, 1, 0, 0x800_0000);
    assert_eq!(range(whole, false), (0x80_0000_0000, 16 << 20, Granule::K4, None));
    assert_eq!(range(operand(0b01, 0, 0, 3, 1), false), (0x1000, 0x2000, Granule::K4, Some(3)));
    assert_eq!(range(operand(0b01, 3, 31, 1, 0), false), (0, 8 << 30, Granule::K4, Some(1)));
    assert_eq!(range(operand(0b10, 0, 0, 2, 2), false), (0x8000, 0x8000, Granule::K16, Some(2)));
    // Reserved without FEAT_LPA2: no hint.
    assert_eq!(range(operand(0b10, 0, 0, 1, 0), false).3, None);
    assert_eq!(range(operand(0b10, 0, 0, 1, 0), true).3, Some(1));
    // With VTCR_EL2.DS the base counts in 64K, whatever the granule.
    assert_eq!(range(operand(0b01, 0, 0, 0, 3), true), (0x3_0000, 0x2000, Granule::K4, None));
    assert_eq!(range(operand(0b11, 1, 0, 3, 1), false), (0x1_0000, 64 << 16, Granule::K64, Some(3)));
}

/// A 2 MiB block of 4K tables, as a walk returns it.
fn block(ipa: u64) -> Stage2Leaf {
    struct Memory(u64);
    impl s2lab_mmu::PhysMem for Memory {
        fn read_u64(&self, pa: u64) -> Option<u64> {
            let index = self.0 >> 21 & 511;
            Some(if pa == 0x8000 + 8 * (self.0 >> 30) {
                0x1_0003
            } else if pa == 0x1_0000 + 8 * index {
                0x4000_07d5
            } else {
                0
            })
        }
    }
    let stage2 = Stage2::new(0x8000, 24 | 1 << 6 | 5 << 16, 1).unwrap();
    stage2.walk(&Memory(ipa)).leaves[0]
}

#[test]
fn a_hint_must_be_the_leafs() {
    let leaf = block(0x4020_0000);
    assert_eq!((leaf.ipa, leaf.level), (0x4020_0000, 2));
    let of = |granule, level| Ipas { start: leaf.ipa, size: 1, granule, level };
    assert_eq!(of(None, None).removes(&leaf, Granule::K4), Ok(()));
    assert_eq!(of(Some(Granule::K4), Some(2)).removes(&leaf, Granule::K4), Ok(()));
    assert_eq!(of(Some(Granule::K4), Some(3)).removes(&leaf, Granule::K4), Err(Ineffective::Level(3)));
    let other = of(Some(Granule::K16), Some(2)).removes(&leaf, Granule::K4);
    assert_eq!(other, Err(Ineffective::Granule(Granule::K16)));
    let range = |start| Ipas { start, size: 4 << 20, granule: Some(Granule::K4), level: Some(2) };
    assert_eq!(range(0x4020_0000).removes(&leaf, Granule::K4), Ok(()));
    assert_eq!(range(0x4010_0000).removes(&leaf, Granule::K4), Err(Ineffective::Unaligned(2)));
    // One IPA of a block removes the block.
    let meets = |start| Ipas { start, ..of(None, None) }.meets(&leaf);
    assert_eq!([0x401f_ffff, 0x4020_0000, 0x403f_f000, 0x4040_0000].map(meets), [false, true, true, false]);
}

proptest! {
    /// The inverse of Linux's encoding (6.12 arch/arm64/include/asm/tlbflush.h, __TLBI_VADDR_RANGE and
    /// __flush_tlb_range_op): the ranges for a number of pages cover exactly these.
    #[test]
    fn linux_ranges_cover_the_pages(start in 0u64..1 << 24, pages in 1u64..1 << 20) {
        let (mut at, mut left) = (start, pages);
        let mut covered = vec![];
        if left % 2 == 1 {
            let one = ipas(IPAS2E1IS, at, false).unwrap();
            covered.push((one.start, 0x1000));
            (at, left) = (at + 1, left - 1);
        }
        for scale in (0..4).rev() {
            let unit = 1 << (5 * scale + 1);
            while left >= unit {
                let num = (left / unit).min(32) - 1;
                let operand = 1 << 46 | scale << 44 | num << 39 | at;
                let range = ipas(RIPAS2E1IS, operand, false).unwrap();
                covered.push((range.start, range.size));
                (at, left) = (at + (num + 1) * unit, left - (num + 1) * unit);
            }
        }
        let mut end = start << 12;
        for (from, size) in covered {
            prop_assert_eq!(from, end);
            end += size;
        }
        prop_assert_eq!(end, (start + pages) << 12);
    }

    #[test]
    fn no_instruction_panics(word: u32, operand: u64, el in 0u8..4, hcr: u64, lpa2: bool) {
        let tlbi = |word| Tlbi { word, operand, el, hcr }.decode(lpa2);
        tlbi(word);
        // SYS instructions are one in 8192 words.
        for decoded in [tlbi(word & 0x7_ffff | 0xd508_0000), tlbi(word & 0xfff | 0xd50c_8000)] {
            if let Some(InvalidationScope::Ipas(ipas)) = decoded.map(|decoded| decoded.scope) {
                let leaf = block(0x4020_0000);
                let _ = (ipas.meets(&leaf), ipas.removes(&leaf, Granule::K64), ipas.to_string());
            }
        }
    }
}
