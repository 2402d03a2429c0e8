//! Tables that no hypervisor wrote: the walk stays bounded and reports them.

use crate::builder::*;
use proptest::prelude::*;
use s2lab_mmu::{AnomalyKind, Fault, Limits, PhysMem, RecordingMem, Stage1, Stage2, ThroughStage2, ranges};

const BASE: u64 = 0x4000_0000;

fn tables(format: Format, ipa_bits: u32) -> (Tables, Stage2) {
    let (vtcr, start_level, entries) = kvm_vtcr(format, ipa_bits);
    (Tables::new(format, start_level, entries, BASE), Stage2::new(BASE, vtcr, HCR).unwrap())
}

/// The only anomaly of a walk.
fn anomaly(tables: &Tables, stage2: &Stage2) -> (u64, i8, AnomalyKind) {
    let walk = stage2.walk(tables);
    assert_eq!(walk.anomaly_count, 1, "{:?}", walk.anomalies);
    let a = walk.anomalies[0];
    (a.ipa, a.level, a.kind)
}

#[test]
fn a_table_of_itself_ends_at_once() {
    let (mut t, s) = tables(K4, 48);
    t.words.insert(BASE, vec![BASE | 0b11; 512]);
    let walk = s.walk(&t);
    assert_eq!((walk.leaves.len(), walk.tables.len(), walk.anomaly_count), (0, 1, 512));
    assert_eq!(walk.anomalies.len(), Limits::default().anomalies);
    assert_eq!(walk.anomalies[1].kind, AnomalyKind::TableAgain { table: BASE });
    assert_eq!((walk.anomalies[1].ipa, walk.anomalies[1].level), (1 << 39, 1));
    // The MMU would take the table for a page at level 3; so does the translation of one address.
    assert_eq!(s.translate(&t, 0x1234).unwrap().pa, BASE);
}

#[test]
fn a_loop_over_two_tables_and_a_shared_table_are_told() {
    let (mut t, s) = tables(K4, 48);
    t.map(0x1000, 0x9000, 3, 0);
    let level1 = *t.word(0, 0) & 0xffff_ffff_f000;
    t.words.get_mut(&level1).unwrap()[5] = BASE | 0b11;
    assert_eq!(anomaly(&t, &s), (5 << 30, 2, AnomalyKind::TableAgain { table: BASE }));

    let (mut t, s) = tables(K4, 40);
    t.map(0x1000, 0x9000, 3, 0);
    *t.word(7 << 30, 1) = *t.word(0, 1);
    let table = *t.word(0, 1) & 0xffff_ffff_f000;
    assert_eq!(anomaly(&t, &s), (7 << 30, 2, AnomalyKind::TableAgain { table }));
    // The second of the concatenated start tables is a start table, too.
    *t.word(7 << 30, 1) = (BASE + 0x1000) | 0b11;
    assert_eq!(anomaly(&t, &s), (7 << 30, 2, AnomalyKind::TableAgain { table: BASE + 0x1000 }));

    // A start table of 256 bytes in the middle of its page.
    let (vtcr, ..) = kvm_vtcr(K4, 44);
    let s = Stage2::new(BASE + 0x100, vtcr, HCR).unwrap();
    let mut t = Tables::new(K4, 0, 512, BASE);
    *t.word(0x20 << 39, 0) = BASE | 0b11;
    assert_eq!(anomaly(&t, &s), (0, 1, AnomalyKind::TableAgain { table: BASE }));
}

#[test]
fn each_anomaly_is_told_where_it_is() {
    let (mut t, s) = tables(K4, 40);
    *t.word(3 << 30, 1) = 0xdead_0000 | 0b11;
    assert_eq!(anomaly(&t, &s), (3 << 30, 2, AnomalyKind::TableOutsideMemory { table: 0xdead_0000 }));
    assert_eq!(
        s.translate(&t, (3 << 30) + 0x20_0000).unwrap_err().to_string(),
        "0xc0200000: nothing at 0xdead0008, where the level 2 descriptor should be"
    );

    let (mut t, s) = tables(K4, 40);
    *t.word(0x5000, 3) = 0x7d5;
    assert_eq!(anomaly(&t, &s), (0x5000, 3, AnomalyKind::ReservedDescriptor { descriptor: 0x7d5 }));
    assert!(s.translate(&t, 0x5000).unwrap_err().to_string().contains("reserved kind"));

    // 512 GiB blocks exist with LPA2 only.
    let (mut t, s) = tables(K4, 48);
    *t.word(0, 0) = 0x7d5;
    assert_eq!(anomaly(&t, &s), (0, 0, AnomalyKind::ReservedDescriptor { descriptor: 0x7d5 }));
    let (mut t, s) = tables(K4_LPA2, 48);
    *t.word(0, 0) = 0x4d5;
    assert_eq!((s.walk(&t).anomaly_count, s.walk(&t).leaves[0].size), (0, 1 << 39));
    // 64 GiB blocks of 16K tables and 4 TiB blocks of 64K tables need 52-bit addresses.
    for (format, wide) in [(K16, K16_LPA2), (K64, K64_LPA)] {
        let (mut t, s) = tables(format, 48);
        *t.word(0, 1) = 0x4d5;
        assert!(matches!(anomaly(&t, &s), (0, 1, AnomalyKind::ReservedDescriptor { .. })));
        let (mut t, s) = tables(wide, 48);
        *t.word(0, 1) = 0x4d5;
        assert_eq!((s.walk(&t).anomaly_count, s.walk(&t).leaves.len()), (0, 1));
    }

    // A block whose PA is not a multiple of its size; bit 16 (nT) is no address bit.
    let (mut t, s) = tables(K4, 40);
    let descriptor = t.map(0x20_0000, 0x20_0000, 2, 1 << 16);
    assert_eq!(s.walk(&t).anomaly_count, 0);
    assert_eq!(s.walk(&t).leaves[0].descriptor, descriptor);
    let descriptor = t.map(0x20_0000, 0x30_0000, 2, 0);
    assert_eq!(anomaly(&t, &s), (0x20_0000, 2, AnomalyKind::MisalignedBlock { descriptor }));
    assert_eq!(s.walk(&t).leaves[0].pa, 0x20_0000);
}

#[test]
fn addresses_beyond_the_physical_space_are_told() {
    let (vtcr, start_level, entries) = kvm_vtcr(K4, 40);
    let s = Stage2::new(BASE, vtcr & !(7 << 16) | 1 << 16, HCR).unwrap(); // PS: 36 bits
    assert_eq!(s.pa_bits(), 36);
    let mut t = Tables::new(K4, start_level, entries, BASE);
    t.map(0, 1 << 36, 3, 0);
    assert_eq!(anomaly(&t, &s), (0, 3, AnomalyKind::AddressSize { output: 1 << 36 }));
    let beyond = |level, output, bits| Err(Fault::AddressSize { input: 0, level, output, bits });
    assert_eq!(s.translate(&t, 0), beyond(3, 1 << 36, 36));
    *t.word(0, 1) = 1 << 37 | 0b11;
    assert_eq!(anomaly(&t, &s), (0, 1, AnomalyKind::AddressSize { output: 1 << 37 }));
    assert_eq!(s.translate(&t, 0), beyond(1, 1 << 37, 36));
    let s = Stage2::new(1 << 40, vtcr & !(7 << 16), HCR).unwrap();
    assert_eq!(anomaly(&t, &s), (0, 1, AnomalyKind::AddressSize { output: 1 << 40 }));
    assert_eq!(s.translate(&t, 0), beyond(0, 1 << 40, 32));
}

#[test]
fn a_misaligned_start_table_is_told() {
    let (vtcr, start_level, entries) = kvm_vtcr(K4, 40);
    let mut t = Tables::new(K4, start_level, entries, BASE);
    t.map(0, 0x1000, 3, 0);
    // Two tables side by side: aligned to 8 KiB.
    let s = Stage2::new(BASE + 0x1000, vtcr, HCR).unwrap();
    assert_eq!(anomaly(&t, &s), (0, 1, AnomalyKind::StartMisaligned { base: BASE + 0x1000 }));
    assert_eq!(s.walk(&t).leaves.len(), 1);
}

#[test]
fn limits_hold_and_are_told() {
    let (mut t, s) = tables(K4, 40);
    for n in 0..10 {
        t.map(n << 30, 0, 3, 0);
    }
    let walk = s.walk_within(&t, Limits { tables: 12, ..Limits::default() });
    assert_eq!((walk.tables.len(), walk.leaves.len()), (12, 5), "two start tables, then two for each leaf");
    assert_eq!((walk.anomalies[0].kind, walk.anomaly_count), (AnomalyKind::TooManyTables, 5));
    let walk = s.walk_within(&t, Limits { leaves: 4, ..Limits::default() });
    assert_eq!((walk.anomalies[0].kind, walk.anomalies[0].ipa), (AnomalyKind::TooManyLeaves, 4 << 30));
    assert_eq!((walk.leaves.len(), walk.anomaly_count), (4, 1));
    assert_eq!(s.walk_within(&t, Limits { leaves: 10, tables: 22, anomalies: 0 }).anomaly_count, 0);
}

/// Garbage, a function of the address; most words are tables or leaves in a few pages, so that
/// loops are common.
struct Garbage {
    seed: u64,
    pages: u64,
}

impl PhysMem for Garbage {
    fn read_u64(&self, pa: u64) -> Option<u64> {
        assert_eq!(pa % 8, 0, "aligned reads only");
        if pa >> 12 >= self.pages && self.pages != 0 {
            return None;
        }
        let mut z = self.seed ^ pa.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let near = if self.pages == 0 {
            z
        } else {
            z & !0x000f_ffff_ffff_f000 | (((z >> 12) % (self.pages + 2)) << 12)
        };
        Some(if z >> 60 < 12 { near | 0b11 } else { near })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn garbage_is_walked_within_bounds(
        seed: u64, pages in 0u64..40, vttbr: u64, vtcr: u64, tg in 0u64..3, format in 0usize..4, hcr: u64, probe: u64,
    ) {
        // Half of the registers make sense.
        let vtcr = match format {
            0 | 1 => vtcr,
            2 => kvm_vtcr(K4, 40).0,
            _ => kvm_vtcr(K4_LPA2, 48).0,
        } & !(3 << 14) | if format < 2 { tg << 14 } else { 0 };
        let vttbr = if format % 2 == 0 { vttbr & 0xffff } else { vttbr };
        let Ok(stage2) = Stage2::new(vttbr, vtcr, hcr | 1) else { return Ok(()) };
        let limits = Limits { tables: 64, leaves: 2000, anomalies: 10 };
        let mem = Garbage { seed, pages };
        let recording = RecordingMem::new(&mem);
        let walk = stage2.walk_within(&recording, limits);
        prop_assert!(walk.leaves.len() <= limits.leaves && walk.anomalies.len() <= limits.anomalies);
        prop_assert!(walk.tables.len() <= limits.tables.max(16));
        prop_assert!(walk.anomalies.len() == walk.anomaly_count.min(limits.anomalies));
        for pair in walk.leaves.windows(2) {
            prop_assert!(pair[0].ipa + pair[0].size <= pair[1].ipa, "sorted, without overlap");
        }
        for leaf in &walk.leaves {
            let translated = stage2.translate(&mem, leaf.ipa + probe % leaf.size);
            prop_assert_eq!(translated.as_ref(), Ok(leaf));
            prop_assert!(leaf.pa % leaf.size == 0 && leaf.pa >> stage2.pa_bits() == 0);
        }
        prop_assert_eq!(ranges(&walk.leaves).map(|r| r.count).sum::<u64>(), walk.leaves.len() as u64);
        let _ = stage2.translate(&mem, probe);
        if pages != 0 {
            let kept = keep(&mem, recording.pages());
            prop_assert_eq!(stage2.walk_within(&kept, limits), walk);
        }
    }

    #[test]
    fn garbage_in_stage_1_is_no_harm(seed: u64, pages in 0u64..40, r: [u64; 4], near: bool, va: u64) {
        let mem = Garbage { seed, pages };
        let ttbr = |t: u64| if near { t & 0xffff } else { t };
        let stage1 = Stage1::new(ttbr(r[0]), ttbr(r[1]), r[2], r[3], 1);
        for va in [va, va >> 16, va | 0xffff << 48, va | 0xff << 48] {
            if let Ok(leaf) = stage1.translate(&mem, va) {
                prop_assert!(leaf.ipa_of(va).is_some(), "{leaf:x?} does not hold {va:#x}");
                prop_assert!(leaf.ipa % leaf.size == 0 && leaf.va % leaf.size == 0);
            }
            let stage2 = Stage2::new(0, kvm_vtcr(K4, 40).0, 1).unwrap();
            let _ = stage1.translate(&ThroughStage2::new(&stage2, &mem), va);
        }
    }
}
