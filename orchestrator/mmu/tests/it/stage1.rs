//! Stage 1, alone and through stage 2.

use crate::builder::*;
use proptest::prelude::*;
use s2lab_mmu::{
    Exec, Fault, MemoryType, PhysMem, RecordingMem, Shareability, Stage1, Stage1Attr, Stage1Leaf, Stage2,
    ThroughStage2, combine,
};
use std::collections::BTreeMap;

/// MAIR_EL1 as Linux writes it; AttrIndx 0 WB, 1 tagged, 2 NC, 3 nGnRnE, 4 nGnRE.
const MAIR: u64 = 0x04_00_44_f0_ff;
/// SCTLR_EL1.M and C.
const MMU_ON: u64 = 1 | 1 << 2;
const TBI0: u64 = 1 << 37;
const TBI1: u64 = 1 << 38;

/// TCR_EL1 with both halves alike.
fn tcr(format: Format, va_bits: u32) -> u64 {
    let tsz = u64::from(64 - va_bits);
    tsz | tsz << 16 | format.tg0() << 14 | format.tg1() << 30 | format.ps() << 32 | u64::from(format.ds) << 59
}

/// The first level is the last one whose descriptors still leave at least two of them.
fn start(format: Format, va_bits: u32) -> (i8, u64) {
    let level = (-1..=3)
        .rev()
        .find(|l| format.span(*l) != 0 && (1 << va_bits) / format.span(*l) <= format.page / 8)
        .unwrap();
    (level, (1 << va_bits) / format.span(level))
}

fn tables(format: Format, va_bits: u32, base: u64) -> Tables {
    let (level, entries) = start(format, va_bits);
    Tables::new(format, level, entries, base)
}

const FORMATS: [(Format, u32, i8); 9] = [
    (K4, 39, 1),
    (K4, 48, 0),
    (K4_LPA2, 52, -1),
    (K4_LPA2, 48, 0),
    (K16, 47, 1),
    (K16, 48, 0),
    (K16_LPA2, 52, 0),
    (K64, 48, 1),
    (K64_LPA, 52, 1),
];

#[test]
fn every_format_starts_where_it_should() {
    for (format, va_bits, level) in FORMATS {
        assert_eq!(start(format, va_bits).0, level, "{format:?} {va_bits}");
        for high in [false, true] {
            let mut t = tables(format, va_bits, 0x8000_0000);
            let va = format.page * 5;
            let ipa = format.page * 0x77;
            t.map(va, ipa, 3, AF | 2 << 2);
            let ttbr = if high { [0, t.base] } else { [t.base, 0] };
            let s = Stage1::new(ttbr[0] | 0x5 << 48 | 1, ttbr[1], tcr(format, va_bits), MAIR, MMU_ON);
            let va = if high { va | u64::MAX << va_bits } else { va };
            let leaf = s.translate(&t, va + 9).unwrap_or_else(|e| panic!("{format:?} {va_bits}: {e}"));
            assert_eq!((leaf.va, leaf.ipa, leaf.size, leaf.level), (va, ipa, format.page, Some(3)));
            assert_eq!(leaf.ipa_of(va + 9), Some(ipa + 9));
            assert_eq!(leaf.attr.memory_type(), Some(MemoryType::NormalNC));
            assert_eq!(leaf.sh, (!format.ds).then_some(Shareability::Non));
        }
    }
}

#[test]
fn ds_is_res0_with_64k_tables() {
    let mut t = tables(K64, 48, 0x8000_0000);
    t.map(0x1_0000, 0x7_0000, 3, AF | 3 << 8);
    let leaf = Stage1::new(t.base, 0, tcr(K64, 48) | 1 << 59, MAIR, MMU_ON).translate(&t, 0x1_0000).unwrap();
    assert_eq!((leaf.ipa, leaf.sh), (0x7_0000, Some(Shareability::Inner)));
}

#[test]
fn with_the_mmu_off_all_is_device() {
    let s = Stage1::new(1, 2, 3, MAIR, 0);
    let leaf = s.translate(&Nothing, 0x1234_5678).unwrap();
    assert_eq!((leaf.ipa_of(0x1234_5678), leaf.level), (Some(0x1234_5678), None));
    assert_eq!(leaf.attr.memory_type(), Some(MemoryType::DeviceNGnRnE));
    let tagged = 0x3f << 56 | 0x1234_5678;
    assert_eq!(s.translate(&Nothing, tagged), Err(Fault::OutOfRange { input: tagged, bits: 52 }));
    let leaf = Stage1::new(1, 2, TBI0, MAIR, 0).translate(&Nothing, tagged).unwrap();
    assert_eq!((leaf.va, leaf.ipa_of(tagged)), (0x1234_5000, Some(0x1234_5678)));
}

#[test]
fn with_the_cache_off_no_normal_memory_is_cacheable() {
    let mut t = tables(K4, 48, 0x8000_0000);
    for index in 0..8u64 {
        t.map(index << 12, 0x5000, 3, AF | index << 2);
    }
    // By index: WB, tagged WB, NC, Device-nGnRnE, Device-nGnRE, WT, a reserved value, WB inside and
    // NC outside.
    let mair = 0x4f_80_bb_04_00_44_f0_ff;
    let of = |sctlr, index: u64| {
        let stage1 = Stage1::new(t.base, 0, tcr(K4, 48), mair, sctlr);
        stage1.translate(&t, index << 12).unwrap().attr.memory_type()
    };
    let off = [Some(MemoryType::NormalNC); 3].into_iter().chain([
        Some(MemoryType::DeviceNGnRnE),
        Some(MemoryType::DeviceNGnRE),
        Some(MemoryType::NormalNC),
        None,
        Some(MemoryType::NormalNC),
    ]);
    assert_eq!((0..8).map(|index| of(1, index)).collect::<Vec<_>>(), off.collect::<Vec<_>>());
    assert_eq!([of(MMU_ON, 0), of(MMU_ON, 7)], [Some(MemoryType::NormalWB), None]);
}

#[test]
fn default_cacheability_turns_stage_1_off() {
    let s = Stage1::new(1, 2, 3, MAIR, MMU_ON).under(1 << 12);
    let leaf = s.translate(&Nothing, 0x1234_5678).unwrap();
    assert_eq!(leaf.ipa_of(0x1234_5678), Some(0x1234_5678));
    assert_eq!(leaf.attr.memory_type(), Some(MemoryType::NormalWB));
}

struct Nothing;
impl PhysMem for Nothing {
    fn read_u64(&self, _: u64) -> Option<u64> {
        None
    }
}

fn one(bits: u64) -> Stage1Leaf {
    let mut t = tables(K4, 48, 0x8000_0000);
    t.map(0x1000, 0x5000, 3, bits);
    Stage1::new(t.base, 0, tcr(K4, 48), MAIR, MMU_ON).translate(&t, 0x1000).unwrap()
}

#[test]
fn permissions() {
    // AP[2:1] in bits 7:6, PXN 53, UXN 54.
    let cases = [
        (0, false, true, true, true),
        (1 << 6, true, true, true, false),
        (1 << 7, false, false, true, true),
        (1 << 6 | 1 << 7, true, false, true, true),
        (1 << 6 | 1 << 7 | 1 << 53, true, false, true, false),
        (1 << 6 | 1 << 7 | 1 << 54, true, false, false, true),
        (1 << 6 | 1 << 53 | 1 << 54, true, true, false, false),
        // Execute-only for EL0 (Linux arch/arm64/include/asm/pgtable-prot.h, PAGE_EXECONLY).
        (1 << 7 | 1 << 53, false, false, true, false),
    ];
    for (bits, user, write, el0, el1) in cases {
        let leaf = one(AF | bits);
        assert_eq!((leaf.user, leaf.write, leaf.exec), (user, write, Exec { el0, el1 }), "{bits:#x}");
    }
    assert!(one(AF).af);
    assert!(!one(0).af);
    assert_eq!(one(3 << 8).sh, Some(Shareability::Inner));
    assert_eq!(one(1 << 2).attr, Stage1Attr::TaggedWriteBack);
    assert_eq!(one(4 << 2).attr.memory_type(), Some(MemoryType::DeviceNGnRE));
}

#[test]
fn tables_restrict_what_lies_below_unless_disabled() {
    let leaf = |table_bits: u64, tcr_bits: u64| {
        let mut t = tables(K4, 48, 0x8000_0000);
        t.map(0x1000, 0x5000, 3, AF | 1 << 6);
        *t.word(0, 0) |= table_bits;
        let leaf =
            Stage1::new(t.base, 0, tcr(K4, 48) | tcr_bits, MAIR, MMU_ON).translate(&t, 0x1000).unwrap();
        (leaf.user, leaf.write, leaf.exec.el0, leaf.exec.el1)
    };
    const HPD0: u64 = 1 << 41;
    assert_eq!(leaf(0, 0), (true, true, true, false));
    assert_eq!(leaf(1 << 61, 0), (false, true, true, true), "APTable[0]: EL0 may only execute");
    assert_eq!(leaf(1 << 62, 0), (true, false, true, true), "APTable[1]: read-only");
    assert_eq!(leaf(1 << 60, 0), (true, true, false, false), "UXNTable");
    assert_eq!(leaf(1 << 59 | 1 << 62, 0), (true, false, true, false), "PXNTable");
    assert_eq!(leaf(0b1111 << 59, HPD0), (true, true, true, false));
}

#[test]
fn the_top_byte_is_ignored_only_where_told() {
    let mut t = tables(K4, 48, 0x8000_0000);
    t.map(0x1000, 0x5000, 3, AF);
    let tagged = 0x3f00_0000_0000_1000;
    let s = |bits| Stage1::new(t.base, t.base, tcr(K4, 48) | bits, MAIR, MMU_ON);
    assert_eq!(s(0).translate(&t, tagged), Err(Fault::OutOfRange { input: tagged, bits: 48 }));
    assert_eq!(s(TBI1).translate(&t, tagged), Err(Fault::OutOfRange { input: tagged, bits: 48 }));
    let leaf = s(TBI0).translate(&t, tagged).unwrap();
    assert_eq!((leaf.va, leaf.ipa_of(tagged + 3)), (0x1000, Some(0x5003)));
    let tagged = 0x00ff_0000_0000_1000;
    let leaf = s(TBI1).translate(&t, tagged).unwrap();
    assert_eq!((leaf.va, leaf.ipa_of(tagged)), (0xffff_0000_0000_1000, Some(0x5000)));
    assert!(s(0).translate(&t, tagged).is_err());
    // The bits between the top byte and the address count in any case.
    assert!(s(TBI0).translate(&t, 0x0001_0000_0000_1000).is_err());
    assert!(s(TBI1).translate(&t, 0x00fe_0000_0000_1000).is_err());
}

#[test]
fn faults_say_what_and_where() {
    let t = tables(K4, 48, 0x8000_0000);
    let fault = |tcr_bits: u64, sctlr: u64, va: u64| {
        Stage1::new(t.base, t.base, tcr(K4, 48) | tcr_bits, MAIR, sctlr)
            .translate(&t, va)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(fault(0, 1, 0x4000), "0x4000 is not mapped: level 0 descriptor 0x0 is invalid");
    assert_eq!(fault(1 << 7, 1, 0x4000), "0x4000: walks of this half of the address space are disabled");
    assert_eq!(
        fault(1 << 7, 1, u64::MAX),
        "0xffffffffffffffff is not mapped: level 0 descriptor 0x0 is invalid"
    );
    assert_eq!(
        fault(1 << 23, 1, u64::MAX),
        "0xffffffffffffffff: walks of this half of the address space are disabled"
    );
    assert_eq!(fault(0, 1 | 1 << 25, 8), "0x8: SCTLR_EL1.EE is 1: big-endian tables are not supported");
    assert_eq!(fault(0x3f, 1, 8), "0x8: 1 address bits; 4K tables can have 16 to 48 here");
}

/// A guest's tables at scattered places of the host's memory: host PA = table's IPA moved by stage
/// 2.
struct Host<'a> {
    stage2: &'a Tables,
    guest: &'a Tables,
    /// Host page of each page of the guest's tables.
    pages: &'a BTreeMap<u64, u64>,
}

impl PhysMem for Host<'_> {
    fn read_u64(&self, pa: u64) -> Option<u64> {
        let at = |ipa: &u64| self.guest.read_u64(ipa + pa % 4096);
        self.pages.get(&(pa & !0xfff)).and_then(at).or_else(|| self.stage2.read_u64(pa))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn both_stages_together(
        (format, va_bits, _) in proptest::sample::select(&FORMATS[..]),
        seeds in proptest::collection::vec((any::<u64>(), any::<u64>(), 0u64..5), 1..25),
        ram: bool,
    ) {
        // The guest maps pages.
        let mut guest = tables(format, va_bits, 0x1000_0000);
        let mut expected = BTreeMap::new();
        for (va, ipa, index) in seeds {
            let va = (va >> (64 - va_bits)) & !(format.page - 1);
            let ipa = (ipa >> 24) & !(format.page - 1);
            guest.map(va, ipa, 3, AF | index << 2);
            expected.insert(va, (ipa, index));
        }
        // The host puts every 4 KiB page of the guest's tables somewhere else, in reverse order.
        let (vtcr, level, entries) = kvm_vtcr(K4, 40);
        let mut stage2 = Tables::new(K4, level, entries, 0x7_0000_0000);
        let mut pages = BTreeMap::new();
        for (table, words) in &guest.words {
            for ipa in (*table..table + 8 * words.len() as u64).step_by(4096) {
                let pa = 0x40_0000_0000 - ipa;
                stage2.map(ipa, pa, 3, 0x7fc);
                pages.insert(pa, ipa);
            }
        }
        let host = Host { stage2: &stage2, guest: &guest, pages: &pages };
        let s2 = Stage2::new(stage2.base, vtcr, HCR).unwrap();
        let s1 = Stage1::new(guest.base, 0, tcr(format, va_bits), MAIR, MMU_ON);

        let recording = RecordingMem::new(&host);
        for (va, (ipa, index)) in &expected {
            let leaf = s1.translate(&ThroughStage2::new(&s2, &recording), *va).unwrap();
            prop_assert_eq!((leaf.va, leaf.ipa), (*va, *ipa));
            let named = [MemoryType::NormalWB, MemoryType::NormalWB, MemoryType::NormalNC, MemoryType::DeviceNGnRnE,
                MemoryType::DeviceNGnRE][*index as usize];
            prop_assert_eq!(leaf.attr.memory_type(), Some(named));
            let s2_attr = s2lab_mmu::Stage2Attr::decode(if ram { 0xf } else { 5 }, false);
            let effective = if ram { named } else { named.min(MemoryType::NormalNC) };
            prop_assert_eq!(combine(leaf.attr, s2_attr), Some(effective));
        }
        // Again from the kept pages, both stages.
        let kept = keep(&host, recording.pages());
        for (va, (ipa, _)) in &expected {
            prop_assert_eq!(s1.translate(&ThroughStage2::new(&s2, &kept), *va).map(|l| l.ipa), Ok(*ipa));
        }
        prop_assert!(s1.translate(&Nothing, *expected.keys().next().unwrap()).is_err());
    }
}

#[test]
fn a_guest_table_that_stage_2_does_not_let_read_is_not_read() {
    const PTW: u64 = 1 << 2;
    let mut guest = tables(K4, 39, 0x1000_0000);
    guest.map(0x1000, 0x5000, 3, AF);
    let (vtcr, level, entries) = kvm_vtcr(K4, 40);
    let write_back = 0x7fc;
    let device = write_back & !(0b1111 << 2) | 1 << 2;
    let no_flag = write_back & !AF;
    // Attributes, and further bits of HCR_EL2.
    for (bits, hcr, readable) in [
        (write_back, 0, true),
        (write_back, PTW, true),
        (write_back & !(1 << 6), 0, false),
        (device, 0, true),
        (device, PTW, false),
        (device, PTW | HCR_FWB, false),
        // KVM clears the flag as RAM ages.
        (no_flag, 0, true),
    ] {
        let mut stage2 = Tables::new(K4, level, entries, 0x7_0000_0000);
        let mut pages = BTreeMap::new();
        for ipa in guest.words.keys() {
            stage2.map(*ipa, ipa + 0x1_0000_0000, 3, bits);
            pages.insert(ipa + 0x1_0000_0000, *ipa);
        }
        let host = Host { stage2: &stage2, guest: &guest, pages: &pages };
        let s2 = Stage2::new(stage2.base, vtcr, HCR | hcr).unwrap();
        let s1 = Stage1::new(guest.base, 0, tcr(K4, 39), MAIR, MMU_ON);
        let found = s1.translate(&ThroughStage2::new(&s2, &host), 0x1000);
        assert_eq!(found.is_ok(), readable, "{bits:#x} {hcr:#x}");
    }
}

/// A start table beyond the output size is a fault of level 0, at whatever level the walk starts.
#[test]
fn a_start_table_out_of_reach_is_a_fault_of_level_0() {
    let t = tables(K4, 39, 1 << 33);
    let size = |bits: u64| {
        let tcr = tcr(K4, 39) & !(0b111 << 32) | bits << 32;
        Stage1::new(t.base, 0, tcr, MAIR, MMU_ON).translate(&t, 0x1000)
    };
    let beyond = Fault::AddressSize { input: 0x1000, level: 0, output: 1 << 33, bits: 32 };
    assert_eq!(size(0), Err(beyond));
    assert!(matches!(size(1), Err(Fault::Translation { level: 1, .. })));
}
