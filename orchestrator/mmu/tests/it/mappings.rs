//! Random mappings, built and walked back.

use crate::builder::*;
use proptest::prelude::*;
use s2lab_mmu::{Fault, RecordingMem, Stage2, Stage2Leaf};
use std::collections::BTreeMap;

const FORMATS: [(Format, u32); 12] = [
    (K4, 33),
    (K4, 36),
    (K4, 40),
    (K4, 44),
    (K4, 48),
    (K4_LPA2, 44),
    (K4_LPA2, 52),
    (K16, 40),
    (K16, 48),
    (K16_LPA2, 52),
    (K64, 48),
    (K64_LPA, 52),
];

/// Attributes as KVM may set them: MemAttr, S2AP, SH (address with LPA2), AF, XN, SW bits.
fn bits(format: Format, seed: u64) -> u64 {
    let sh = if format.ds { 0 } else { seed >> 8 & 0b11 };
    (seed & 0xff & !0b11) | sh << 8 | (seed >> 10 & 1) << 10 | (seed & 0b1111 << 51) | (seed & 0b1111 << 55)
}

/// The mappings by IPA: the PA, level and descriptor.
type Expected = BTreeMap<u64, (u64, i8, u64)>;

/// Builds leaves of all sizes at random places, dense enough to have neighbours, without overlap.
fn build(format: Format, ipa_bits: u32, seeds: &[(u64, u64, u64)]) -> (Tables, u64, Expected) {
    let (vtcr, start_level, entries) = kvm_vtcr(format, ipa_bits);
    let mut tables = Tables::new(format, start_level, entries, 0x7_0000_0000);
    let mut expected = Expected::new();
    let pa_mask = if format.wide { (1 << 52) - 1 } else { (1 << 48) - 1 };
    for (place, pa, attributes) in seeds {
        let levels: Vec<i8> =
            format.blocks.iter().copied().chain([3, 3]).filter(|l| *l >= start_level).collect();
        let level = levels[(place % levels.len() as u64) as usize];
        let span = format.span(level);
        // Crowded: a few slots, at both ends of the address space.
        let slots = (1u64 << ipa_bits) / span;
        let slot = (place >> 8) % 40 % slots;
        let ipa = span * if place & 0x80 != 0 { slots - 1 - slot } else { slot };
        let overlaps =
            expected.iter().any(|(other, (_, l, _))| ipa < other + format.span(*l) && *other < ipa + span);
        if overlaps {
            continue;
        }
        let pa = pa & pa_mask & !(span - 1);
        let descriptor = tables.map(ipa, pa, level, bits(format, *attributes));
        expected.insert(ipa, (pa, level, descriptor));
    }
    (tables, vtcr, expected)
}

fn seen(leaves: &[Stage2Leaf]) -> Expected {
    leaves.iter().map(|l| (l.ipa, (l.pa, l.level, l.descriptor))).collect()
}

proptest! {
    #[test]
    fn what_was_mapped_is_found(
        (format, ipa_bits) in proptest::sample::select(&FORMATS[..]),
        seeds in proptest::collection::vec(any::<(u64, u64, u64)>(), 0..60),
        probes in proptest::collection::vec(any::<u64>(), 20),
        fwb: bool,
    ) {
        let (tables, vtcr, expected) = build(format, ipa_bits, &seeds);
        let stage2 = Stage2::new(tables.base, vtcr, if fwb { HCR_FWB } else { HCR }).unwrap();
        let recording = RecordingMem::new(&tables);
        let walk = stage2.walk(&recording);

        prop_assert_eq!(walk.anomalies.clone(), vec![]);
        prop_assert_eq!(walk.leaves.len(), expected.len());
        prop_assert_eq!(seen(&walk.leaves), expected.clone());
        prop_assert!(walk.leaves.is_sorted_by_key(|l| l.ipa));
        for l in &walk.leaves {
            prop_assert_eq!(l.size, format.span(l.level));
            let bit = |n: u32| l.descriptor & 1 << n != 0;
            prop_assert_eq!((l.read, l.write, l.af), (bit(6), bit(7), bit(10)));
            prop_assert_eq!(l.exec.is_never(), bit(54) && !bit(53));
        }

        // Later, from kept pages alone.
        let kept = keep(&tables, recording.pages());
        prop_assert_eq!(&stage2.walk(&kept), &walk);

        // Address by address.
        for l in &walk.leaves {
            for ipa in [l.ipa, l.ipa + l.size / 2 + 7, l.ipa + l.size - 1] {
                let found = stage2.translate(&kept, ipa);
                prop_assert_eq!(found.as_ref(), Ok(l));
                prop_assert_eq!(l.pa_of(ipa), Some(l.pa + (ipa - l.ipa)));
            }
            prop_assert_eq!(l.pa_of(l.ipa + l.size), None);
        }
        for probe in probes {
            let ipa = probe >> (64 - ipa_bits);
            let at = expected.range(..=ipa).next_back().filter(|(first, (_, level, _))| ipa < *first + format.span(*level));
            match (stage2.translate(&tables, ipa), at) {
                (Ok(leaf), Some((first, _))) => prop_assert_eq!(leaf.ipa, *first),
                (Err(Fault::Translation { input, descriptor: 0, .. }), None) => prop_assert_eq!(input, ipa),
                other => prop_assert!(false, "{other:?} at {ipa:#x}"),
            }
            let beyond = ipa | 1 << ipa_bits;
            prop_assert_eq!(stage2.translate(&tables, beyond), Err(Fault::OutOfRange { input: beyond, bits: ipa_bits }));
        }
    }
}

/// Builds the tables of a guest as measured: 256 MiB of RAM in scattered pages, and a BAR.
fn guest() -> (Tables, Stage2) {
    let (vtcr, start_level, entries) = kvm_vtcr(K4, 40);
    let mut tables = Tables::new(K4, start_level, entries, 0x4000_0000);
    for n in 0..5000u64 {
        tables.map(0x4000_0000 + n * 13 % 65536 * 0x1000, 0x1_0000_0000 + n * 0x1000, 3, 0x7d8 & !0b11);
    }
    for n in 0..8 {
        tables.map(0x80_0000_0000 + (n << 21), 0x80_0000_0000 + (n << 21), 2, 0x7d4 | XN);
    }
    let stage2 = Stage2::new(tables.base, vtcr, HCR_FWB).unwrap();
    (tables, stage2)
}

/// The machine stands still while its tables are read: no descriptor is read twice.
#[test]
fn a_walk_reads_each_descriptor_once() {
    struct Counting<'a>(&'a Tables, std::cell::Cell<usize>);
    impl s2lab_mmu::PhysMem for Counting<'_> {
        fn read_u64(&self, pa: u64) -> Option<u64> {
            self.1.set(self.1.get() + 1);
            self.0.read_u64(pa)
        }
    }
    let (tables, stage2) = guest();
    let counting = Counting(&tables, Default::default());
    let walk = stage2.walk(&counting);
    assert_eq!(walk.leaves.len(), 5008);
    assert_eq!(counting.1.get(), walk.tables.len() * 512);
    assert_eq!(walk.tables.len(), tables.words.values().map(|w| w.len() / 512).sum::<usize>());
}

#[test]
#[ignore = "measures time: cargo test --release -- --ignored --nocapture"]
fn a_walk_is_fast() {
    let (tables, stage2) = guest();
    // Memory as the lab has it: one mapping.
    struct Flat(Vec<u64>);
    impl s2lab_mmu::PhysMem for Flat {
        fn read_u64(&self, pa: u64) -> Option<u64> {
            self.0.get(usize::try_from(pa.checked_sub(0x4000_0000)? / 8).ok()?).copied()
        }
    }
    let end = tables.words.keys().max().unwrap() + 0x1000;
    let flat = Flat((0x4000_0000..end).step_by(8).map(|pa| tables.read_u64(pa).unwrap_or(0)).collect());
    use s2lab_mmu::PhysMem;
    let mut times: Vec<_> = (0..20)
        .map(|_| {
            let begin = std::time::Instant::now();
            let walk = stage2.walk(&RecordingMem::new(&flat));
            assert_eq!(walk.leaves.len(), 5008);
            begin.elapsed()
        })
        .collect();
    times.sort();
    println!("walk of 5008 leaves: median {:?}, slowest {:?}", times[10], times[19]);
    assert!(times[10] < std::time::Duration::from_millis(5));
}
