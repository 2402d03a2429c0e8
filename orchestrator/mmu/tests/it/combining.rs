//! Combination of both stages: the architecture's table, and its rules written as properties.

use s2lab_mmu::MemoryType::{self, *};
use s2lab_mmu::{Stage1Attr, Stage2Attr, TypeAttr, combine, combine_attributes};

fn stage1(t: MemoryType) -> Stage1Attr {
    Stage1Attr::Type(TypeAttr::pure(t))
}

/// Rows are stage 1. Columns are MemAttr without FWB: 1, 5, 0xf; with FWB: 1, 5, 6, 7.
#[test]
fn every_row_of_the_table() {
    const COLUMNS: [(u8, bool); 7] =
        [(0x1, false), (0x5, false), (0xf, false), (0x1, true), (0x5, true), (0x6, true), (0x7, true)];
    let nrne = DeviceNGnRnE;
    let nre = DeviceNGnRE;
    let (nc, wt, wb) = (NormalNC, NormalWT, NormalWB);
    let rows = [
        (nre, [nre, nre, nre, nre, nre, wb, nre]),
        (nrne, [nrne, nrne, nrne, nrne, nrne, wb, nrne]),
        (DeviceGRE, [nre, DeviceGRE, DeviceGRE, nre, DeviceGRE, wb, DeviceGRE]),
        (nc, [nre, nc, nc, nre, nc, wb, nc]),
        (wt, [nre, nc, wt, nre, nc, wb, wt]),
        (wb, [nre, nc, wb, nre, nc, wb, wb]),
    ];
    for (s1, row) in rows {
        for ((mem_attr, fwb), expected) in COLUMNS.into_iter().zip(row) {
            let s2 = Stage2Attr::decode(mem_attr, fwb);
            assert_eq!(combine(stage1(s1), s2), Some(expected), "{s1} with {mem_attr:#x}, FWB {fwb}");
        }
    }
}

/// The rules as properties: gathering, reordering and early acknowledgement only if both stages
/// allow it; the lesser one of two cacheabilities.
#[test]
fn combining_allows_what_both_allow() {
    fn letters(t: MemoryType) -> Option<[bool; 3]> {
        let rest = t.name().strip_prefix("Device-")?;
        Some([!rest.contains("nG"), !rest.contains("nR"), !rest.contains("nE")])
    }
    fn rank(t: MemoryType) -> usize {
        ["NC", "WT", "WB"].iter().position(|c| t.name().ends_with(c)).unwrap()
    }
    for a in MemoryType::ALL {
        for b in MemoryType::ALL {
            let result = combine(stage1(a), Stage2Attr::Type(b.into())).unwrap();
            match (letters(a), letters(b)) {
                (Some(x), Some(y)) => {
                    assert_eq!(letters(result), Some([x[0] & y[0], x[1] & y[1], x[2] & y[2]]), "{a} {b}");
                }
                (Some(_), None) => assert_eq!(result, a),
                (None, Some(_)) => assert_eq!(result, b),
                (None, None) => assert_eq!(rank(result), rank(a).min(rank(b)), "{a} {b}"),
            }
        }
    }
}

#[test]
fn every_mem_attr_has_its_meaning() {
    // Table of MemAttr[3:0] without FEAT_S2FWB; outer first.
    let off = "Device-nGnRnE|Device-nGnRE|Device-nGRE|Device-GRE|reserved MemAttr 0b0100|Normal-NC|\
        inner Normal-WT outer Normal-NC|inner Normal-WB outer Normal-NC|reserved MemAttr 0b1000|\
        inner Normal-NC outer Normal-WT|Normal-WT|inner Normal-WB outer Normal-WT|reserved MemAttr 0b1100|\
        inner Normal-NC outer Normal-WB|inner Normal-WT outer Normal-WB|Normal-WB";
    let on = "Device-nGnRnE|Device-nGnRE|Device-nGRE|Device-GRE|reserved MemAttr 0b0100|Normal-NC|Normal-WB|as stage 1";
    let says = |range: std::ops::Range<u8>, fwb| {
        range.map(|bits| Stage2Attr::decode(bits, fwb).to_string()).collect::<Vec<_>>().join("|")
    };
    assert_eq!(says(0..16, false), off);
    assert_eq!(says(0..8, true), on);
    for bits in 8..16 {
        assert_eq!(Stage2Attr::decode(bits, true), Stage2Attr::Reserved(bits));
    }
}

#[test]
fn what_a_report_may_call_a_leaf() {
    assert_eq!(Stage2Attr::decode(0xf, false).memory_type(), Some(NormalWB));
    assert_eq!(Stage2Attr::decode(0x6, true).memory_type(), Some(NormalWB));
    assert_eq!(Stage2Attr::decode(0x7, true).memory_type(), None);
    assert_eq!(Stage2Attr::decode(0x7, false).memory_type(), None, "mixed");
}

#[test]
fn mair_as_linux_writes_it() {
    // Linux 6.1 to 7.2, MAIR_EL1_SET with MTE: NORMAL 0xff, TAGGED 0xf0, NC 0x44, nGnRnE 0, nGnRE
    // 4.
    let says = [0xff, 0xf0, 0x44, 0x00, 0x04].map(|f| Stage1Attr::decode(f).to_string());
    assert_eq!(says, ["Normal-WB", "Normal-WB tagged", "Normal-NC", "Device-nGnRnE", "Device-nGnRE"]);
    assert_eq!(Stage1Attr::decode(0xf0).memory_type(), Some(NormalWB));
    assert_eq!(combine(Stage1Attr::decode(0xf0), Stage2Attr::decode(5, true)), Some(NormalNC));
}

#[test]
fn every_mair_field_has_its_meaning() {
    for field in 0..=u8::MAX {
        let (outer, inner) = (field >> 4, field & 0xf);
        // RW = 00 leaves only non-cacheable, and the four values that have a meaning of their own.
        let kind = |nibble: u8| match nibble {
            0x4 => Some(NormalNC),
            0x1..=0x3 | 0x8..=0xb => Some(NormalWT),
            0x5..=0x7 | 0xc..=0xf => Some(NormalWB),
            _ => None,
        };
        let expected = match (outer, inner) {
            (0, 0x0 | 0x1) => Some((DeviceNGnRnE, DeviceNGnRnE)),
            (0, 0x4 | 0x5) => Some((DeviceNGnRE, DeviceNGnRE)),
            (0, 0x8 | 0x9) => Some((DeviceNGRE, DeviceNGRE)),
            (0, 0xc | 0xd) => Some((DeviceGRE, DeviceGRE)),
            (0x4, 0) => Some((NormalNC, NormalNC)),
            (0xa, 0) => Some((NormalWT, NormalWT)),
            (0xf, 0) => Some((NormalWB, NormalWB)),
            _ => kind(outer).zip(kind(inner)),
        };
        let found = match Stage1Attr::decode(field) {
            Stage1Attr::Type(t) => Some((t.outer(), t.inner())),
            Stage1Attr::TaggedWriteBack => Some((NormalWB, NormalWB)),
            Stage1Attr::Reserved(f) => {
                assert_eq!(f, field);
                None
            }
        };
        assert_eq!(found, expected, "{field:#04x}");
    }
}

#[test]
fn reserved_and_mixed_come_to_nothing() {
    let reserved = Stage2Attr::Reserved(4);
    assert_eq!(combine(stage1(NormalWB), reserved), None);
    assert_eq!(combine(Stage1Attr::Reserved(0x06), Stage2Attr::decode(5, true)), None);
    // Inner WB, outer NC.
    let mixed = Stage2Attr::decode(0b0111, false);
    assert_eq!(combine(stage1(NormalWB), mixed), None);
    assert_eq!(combine(stage1(NormalNC), mixed), Some(NormalNC));
    assert_eq!(combine(stage1(DeviceGRE), mixed), Some(DeviceGRE), "Device is never mixed");
    assert_eq!(combine(Stage1Attr::decode(0x4f), Stage2Attr::AsStage1), None);
    assert_eq!(combine(Stage1Attr::decode(0x4f), Stage2Attr::ForcedWriteBack), Some(NormalWB));
    // Inner and outer are combined apart.
    let both = |field, mem_attr, fwb| {
        let of = combine_attributes(Stage1Attr::decode(field), Stage2Attr::decode(mem_attr, fwb))?;
        Some((of.inner(), of.outer()))
    };
    assert_eq!(both(0x4f, 0b1011, false), Some((NormalWB, NormalNC)));
    assert_eq!(both(0xbf, 0b1110, false), Some((NormalWT, NormalWT)));
    assert_eq!(both(0xbf, 0b0111, true), Some((NormalWB, NormalWT)));
    assert_eq!(both(0x06, 0b1111, false), None);
}
