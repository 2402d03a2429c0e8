//! Groups of leaves with the contiguous bit. The MMU may cache such a group as one TLB entry and
//! use any leaf of it for all, so what holds for one leaf holds for its neighbours too.

use crate::{Granule, Stage2Leaf};

/// Returns the number of leaves in a group at `level` (DDI 0487, D8, "The Contiguous bit"), or None
/// if the bit has no meaning there.
fn group(granule: Granule, level: i8) -> Option<u64> {
    match (granule, level) {
        (Granule::K4, 1..=3) => Some(16),
        (Granule::K16, 2) => Some(32),
        (Granule::K16, 3) => Some(128),
        (Granule::K64, 2 | 3) => Some(32),
        _ => None,
    }
}

/// Returns the first leaf of each group with the contiguous bit whose leaves are not alike. Leaves
/// are alike if the group is complete and aligned, its addresses are contiguous, and everything but
/// the access flag is equal. `leaves` come from a walk, in ascending order of IPA.
pub fn unlike_neighbours(leaves: &[Stage2Leaf], granule: Granule) -> Vec<Stage2Leaf> {
    let start = |leaf: &Stage2Leaf| {
        leaf.ipa - leaf.ipa % leaf.size.saturating_mul(group(granule, leaf.level).unwrap_or(1)).max(1)
    };
    let groups = leaves.chunk_by(|a, b| a.level == b.level && start(a) == start(b));
    let unlike = groups.filter_map(|leaves| {
        let marked = leaves.iter().find(|leaf| leaf.contiguous)?;
        let count = group(granule, marked.level);
        (count != Some(leaves.len() as u64) || !alike(leaves)).then_some(*marked)
    });
    unlike.collect()
}

/// Returns true if any leaf of a complete group may stand for all. Hardware and KVM set the access
/// flag of each leaf separately.
fn alike(leaves: &[Stage2Leaf]) -> bool {
    let Some(first) = leaves.first() else { return true };
    let size = first.size.saturating_mul(leaves.len() as u64).max(1);
    let permissions = |leaf: &Stage2Leaf| (leaf.read, leaf.write, leaf.exec, leaf.dbm);
    let of = |leaf: &Stage2Leaf| {
        let distance = leaf.pa.wrapping_sub(leaf.ipa);
        (distance, leaf.attr, leaf.sh, permissions(leaf), leaf.contiguous)
    };
    first.pa % size == 0 && leaves.iter().all(|leaf| of(leaf) == of(first))
}
