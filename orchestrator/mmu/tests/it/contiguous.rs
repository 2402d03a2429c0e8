//! Groups with the contiguous bit.

use crate::builder::*;
use proptest::prelude::*;
use s2lab_mmu::{Stage2, unlike_neighbours};

const BIT: u64 = 1 << 52;
const RAM: u64 = 0x7d8;
/// The leaves of a group by DDI 0487, D8, "The Contiguous bit", written down a second time, with
/// the bytes that they map.
const GROUPS: [(Format, i8, u64, u64); 7] = [
    (K4, 1, 16, 16 << 30),
    (K4, 2, 16, 32 << 20),
    (K4, 3, 16, 64 << 10),
    (K16, 2, 32, 1 << 30),
    (K16, 3, 128, 2 << 20),
    (K64, 2, 32, 16 << 30),
    (K64, 3, 32, 2 << 20),
];

/// Returns the offsets of the unlike leaves that are found in a group of `count` leaves. `bits`
/// returns a leaf's PA offset in the group and its other bits, or None to leave the leaf out.
fn found(
    (format, level, count, bytes): (Format, i8, u64, u64),
    pa: u64,
    bits: impl Fn(u64) -> Option<(u64, u64)>,
) -> Vec<u64> {
    let (vtcr, start_level, entries) = kvm_vtcr(format, 44);
    let mut tables = Tables::new(format, start_level, entries, 0x10_0000);
    let first = 5 * bytes;
    for n in 0..count {
        if let Some((offset, bits)) = bits(n) {
            tables.map(first + n * format.span(level), pa + offset, level, bits);
        }
    }
    let stage2 = Stage2::new(tables.base, vtcr, HCR_FWB).unwrap();
    let walk = stage2.walk(&tables);
    assert_eq!(walk.anomalies, []);
    unlike_neighbours(&walk.leaves, stage2.granule()).iter().map(|leaf| leaf.ipa - first).collect()
}

#[test]
fn a_whole_group_is_alike_at_each_granule_and_level() {
    for group @ (format, level, count, bytes) in GROUPS {
        let span = format.span(level);
        assert_eq!(count * span, bytes);
        let all = |n: u64| Some((n * span, RAM | BIT));
        assert_eq!(found(group, 7 * bytes, all), [], "{group:?}");
        // Not aligned; one absent, at either end; one elsewhere.
        assert_eq!(found(group, 7 * bytes + span, all), [0], "{group:?}");
        for absent in [0, count - 1] {
            let without = |n| all(n).filter(|_| n != absent);
            assert_eq!(found(group, 7 * bytes, without), [u64::from(absent == 0) * span], "{group:?}");
        }
        assert_eq!(found(group, 7 * bytes, |n| Some(((n ^ 1) * span, RAM | BIT))), [0], "{group:?}");
        // One leaf alone has the bit; without any bit there is no group.
        let one = |n| Some((n * span, RAM | if n == 3 { BIT } else { 0 }));
        assert_eq!(found(group, 7 * bytes, one), [3 * span], "{group:?}");
        assert_eq!(found(group, 7 * bytes + span, |n| Some((n * span, RAM))), [], "{group:?}");
    }
}

#[test]
fn what_parts_a_group() {
    let group = GROUPS[2];
    let with = |other: u64| found(group, 0, |n| Some((n * 0x1000, if n == 9 { other } else { RAM } | BIT)));
    // S2AP, MemAttr, SH, XN, DBM; not the access flag.
    for bit in [1 << 6, 1 << 7, 1 << 2, 1 << 8, 1 << 54, 1 << 51] {
        assert_eq!(with(RAM ^ bit), [0], "{bit:#x}");
    }
    assert_eq!(with(RAM ^ AF), []);
}

#[test]
fn a_table_in_a_group_parts_it() {
    let (vtcr, start_level, entries) = kvm_vtcr(K4, 44);
    let mut tables = Tables::new(K4, start_level, entries, 0x10_0000);
    for n in 0..16 {
        let (at, level) = (n << 21, if n == 7 { 3 } else { 2 });
        tables.map(at, at, level, RAM | if n == 7 { 0 } else { BIT });
    }
    let leaves = Stage2::new(tables.base, vtcr, HCR_FWB).unwrap().walk(&tables).leaves;
    let unlike = unlike_neighbours(&leaves, s2lab_mmu::Granule::K4);
    assert_eq!(unlike.iter().map(|leaf| leaf.ipa).collect::<Vec<_>>(), [0, 8 << 21]);
}

/// A level without groups must not have the bit.
#[test]
fn a_level_without_groups_may_not_have_the_bit() {
    let mut tables = Tables::new(K64_LPA, 1, 1, 0x10_0000);
    let (vtcr, ..) = kvm_vtcr(K64_LPA, 44);
    let vtcr = vtcr & !(3 << 6) | 2 << 6;
    tables.map(0, 0, 1, RAM | BIT);
    let stage2 = Stage2::new(tables.base, vtcr, HCR_FWB).unwrap();
    assert_eq!(unlike_neighbours(&stage2.walk(&tables).leaves, stage2.granule()).len(), 1);
}

proptest! {
    /// The result is the same as if each leaf with the bit was compared with each place of its
    /// group.
    #[test]
    fn as_if_each_was_asked(marks in proptest::collection::vec((any::<bool>(), 0u8..40), 48)) {
        let (vtcr, start_level, entries) = kvm_vtcr(K4, 44);
        let mut tables = Tables::new(K4, start_level, entries, 0x10_0000);
        let whole = marks[0].0;
        for (n, (bit, other)) in (0u64..).zip(&marks) {
            // Mostly groups as they should be, else one of a few differences.
            let bit = if whole { n / 16 % 2 == 0 } else { *bit };
            let bits = RAM | if bit { BIT } else { 0 };
            match other {
                0 => continue,
                1 => tables.map(n << 12, (n + 1) << 12, 3, bits),
                2 => tables.map(n << 12, n << 12, 3, bits ^ 1 << 7),
                _ => tables.map(n << 12, n << 12, 3, bits),
            };
        }
        let leaves = Stage2::new(tables.base, vtcr, HCR_FWB).unwrap().walk(&tables).leaves;
        let at = |page: u64| leaves.iter().find(|leaf| leaf.ipa == page << 12);
        let mut expected = vec![];
        for first in [0, 16, 32] {
            let group: Vec<_> = (first..first + 16).map(at).collect();
            let Some(marked) = group.iter().flatten().find(|leaf| leaf.contiguous) else { continue };
            let same = |(n, leaf): (u64, &Option<&s2lab_mmu::Stage2Leaf>)| {
                leaf.is_some_and(|leaf| leaf.contiguous && leaf.write == marked.write && leaf.pa == (marked.pa & !0xffff) + (n << 12))
            };
            if !(0..).zip(&group).all(same) {
                expected.push(marked.ipa);
            }
        }
        let found: Vec<_> = unlike_neighbours(&leaves, s2lab_mmu::Granule::K4).iter().map(|leaf| leaf.ipa).collect();
        prop_assert_eq!(found, expected);
    }
}
