//! A walk of arbitrary memory keeps its bounds, and agrees with the translation of each address.

use crate::memory::{Memory, registers};
use s2lab_mmu::{Limits, Stage2, ranges};

pub(crate) fn walk(data: &[u8]) {
    let Some(([vttbr, vtcr, hcr], memory)) = registers(data) else { return };
    let Ok(stage2) = Stage2::new(vttbr, vtcr, hcr | 1) else { return };
    let memory = Memory(memory);
    let limits = Limits { tables: 32, leaves: 4096, anomalies: 16 };
    let walk = stage2.walk_within(&memory, limits);
    assert!(walk.leaves.len() <= limits.leaves && walk.anomalies.len() <= limits.anomalies);
    assert!(walk.tables.len() <= limits.tables);
    assert_eq!(walk.anomalies.len(), walk.anomaly_count.min(limits.anomalies));
    for pair in walk.leaves.windows(2) {
        assert!(pair[0].ipa + pair[0].size <= pair[1].ipa);
    }
    for leaf in &walk.leaves {
        assert_eq!(stage2.translate(&memory, leaf.ipa + leaf.size / 2).as_ref(), Ok(leaf));
    }
    assert_eq!(ranges(&walk.leaves).map(|r| r.count).sum::<u64>(), walk.leaves.len() as u64);
}
