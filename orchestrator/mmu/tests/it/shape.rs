//! `ranges`: leaves in few words.

use crate::builder::*;
use proptest::prelude::*;
use s2lab_mmu::{Exec, Shareability, Stage2, Stage2Attr, Stage2Leaf, Walk, ranges};

fn page(ipa: u64, pa: u64) -> Stage2Leaf {
    Stage2Leaf {
        ipa,
        pa,
        size: 0x1000,
        level: 3,
        descriptor: 0,
        attr: Stage2Attr::decode(5, true),
        read: true,
        write: true,
        exec: Exec::NEVER,
        af: true,
        dbm: false,
        contiguous: false,
        sh: Some(Shareability::Inner),
        software: 0,
    }
}

#[test]
fn a_bar_in_blocks_and_its_rest_in_pages() {
    let (vtcr, start_level, entries) = kvm_vtcr(K4, 44);
    let mut t = Tables::new(K4, start_level, entries, 0x4000_0000);
    let bar = 0x80_0000_0000;
    for n in 0..8 {
        t.map(bar + (n << 21), bar + (n << 21), 2, 0x7d4 | XN);
    }
    t.map(bar + (8 << 21), bar + (8 << 21), 3, 0x7d4 | XN);
    let leaves = Stage2::new(t.base, vtcr, HCR_FWB).unwrap().walk(&t).leaves;
    let lines: Vec<_> = ranges(&leaves).map(|range| range.to_string()).collect();
    assert_eq!(
        lines,
        [
            "0x8000000000..0x8001000000 -> 0x8000000000  8 x 2M level 2  Normal-NC  rw  never-exec",
            "0x8001000000..0x8001001000 -> 0x8001000000  1 x 4K level 3  Normal-NC  rw  never-exec",
        ]
    );
}

#[test]
fn a_region_is_every_leaf_that_reaches_into_it() {
    let walk = Walk {
        leaves: vec![
            Stage2Leaf { size: 0x20_0000, level: 2, ..page(0x20_0000, 0) },
            page(0x40_0000, 0),
            page(0x40_1000, 0),
            page(0x50_0000, 0),
        ],
        ..Walk::default()
    };
    let firsts = |ipa, size| walk.region(ipa, size).iter().map(|l| l.ipa).collect::<Vec<_>>();
    assert_eq!(firsts(0x3f_f000, 0x2000), [0x20_0000, 0x40_0000]);
    assert_eq!(firsts(0x40_0000, 0x1000), [0x40_0000]);
    assert_eq!(firsts(0x40_0fff, 2), [0x40_0000, 0x40_1000]);
    assert_eq!(firsts(0x40_2000, 0xf_e000), []);
    assert_eq!(firsts(0, u64::MAX).len(), 4);
    assert_eq!(firsts(0x40_1000, u64::MAX), [0x40_1000, 0x50_0000]);
    assert_eq!((firsts(0x40_0000, 0), firsts(0x30_0000, 0)), (vec![], vec![]));
}

#[test]
fn what_parts_leaves_and_what_does_not() {
    let (a, b) = (page(0x1000, 0x5000), page(0x2000, 0x6000));
    let parted = |b: Stage2Leaf| ranges(&[a, b]).count() == 2;
    assert!(!parted(b));
    // The type and the address of a descriptor are no attributes.
    assert!(!parted(Stage2Leaf { descriptor: 0x6003, ..b }));
    for other in [
        Stage2Leaf { ipa: 0x3000, ..b },
        Stage2Leaf { pa: 0x7000, ..b },
        Stage2Leaf { pa: 0x5000, ..b },
        Stage2Leaf { size: 0x20_0000, level: 2, ..b },
        Stage2Leaf { attr: Stage2Attr::decode(1, true), ..b },
        Stage2Leaf { attr: Stage2Attr::AsStage1, ..b },
        Stage2Leaf { read: false, ..b },
        Stage2Leaf { write: false, ..b },
        Stage2Leaf { exec: Exec { el0: true, el1: false }, ..b },
        Stage2Leaf { sh: None, ..b },
        Stage2Leaf { af: false, ..b },
        Stage2Leaf { dbm: true, ..b },
        Stage2Leaf { contiguous: true, ..b },
        Stage2Leaf { software: 1, ..b },
        // FnXS and PBHA have no field of their own.
        Stage2Leaf { descriptor: 1 << 11, ..b },
        Stage2Leaf { descriptor: 1 << 62, ..b },
    ] {
        assert!(parted(other), "{other:?}");
    }
    assert_eq!(ranges(&[]).next(), None);
}

proptest! {
    #[test]
    fn ranges_cover_exactly_the_leaves(steps in proptest::collection::vec((0u64..3, 0u64..3, any::<bool>()), 0..80)) {
        let (mut ipa, mut pa, mut leaves) = (0, 0x10_0000, vec![]);
        for (gap, jump, write) in steps {
            (ipa, pa) = (ipa + gap / 2 * 0x1000, pa + jump / 2 * 0x1000);
            leaves.push(Stage2Leaf { write, ..page(ipa, pa) });
            (ipa, pa) = (ipa + 0x1000, pa + 0x1000);
        }
        let ranges: Vec<_> = ranges(&leaves).collect();
        let mut again = vec![];
        for r in &ranges {
            prop_assert_eq!(r.size(), r.count * 0x1000);
            prop_assert_eq!(r.end(), r.first.ipa + r.size());
            for n in 0..r.count {
                let Stage2Leaf { ipa, pa, write, .. } = r.first;
                again.push(Stage2Leaf { write, ..page(ipa + n * 0x1000, pa + n * 0x1000) });
            }
        }
        prop_assert_eq!(again, leaves);
        for pair in ranges.windows(2) {
            let [one, other] = [pair[0].first, pair[1].first];
            let next = (pair[0].end(), one.pa + pair[0].size(), one.write);
            prop_assert_ne!(next, (other.ipa, other.pa, other.write), "neighbours that are alike are merged");
        }
    }
}
