//! Leaves that are allowed only because of their content.

use super::{kept::KeptMemory, virt};
use s2lab_mmu::{PAGE_SIZE, PhysMem, Stage2Leaf};
use std::collections::{BTreeSet, HashMap};

/// The most pages of 4 KiB that are read for their content: two of the host's huge zero pages, and
/// its small one.
const MOST_ZERO_PAGES: u64 = 1 << 11;

/// Returns the read-only leaves of RAM that need zeroes: those over the host's own memory, because
/// its zero page is there, and those of the flash. The same pages are needed whenever the look is
/// decoded.
pub(super) fn zeros(ram: &[Stage2Leaf], kept: &KeptMemory, memory: &dyn PhysMem) -> BTreeSet<u64> {
    const PAGE: u64 = PAGE_SIZE as u64;
    let mut known: HashMap<u64, bool> = HashMap::new();
    let mut is_zero = |page: u64| {
        if known.len() as u64 == MOST_ZERO_PAGES && !known.contains_key(&page) {
            return false;
        }
        *known
            .entry(page)
            .or_insert_with(|| (page..page + PAGE).step_by(8).all(|word| memory.read_u64(word) == Some(0)))
    };
    let asked = |leaf: &&Stage2Leaf| {
        !leaf.write
            && (virt::FLASH.contains(&leaf.ipa) || kept.over(&(leaf.pa..leaf.pa + leaf.size)).is_some())
    };
    let whole = ram.iter().filter(asked).filter(|leaf| {
        leaf.size / PAGE <= MOST_ZERO_PAGES
            && (leaf.pa..leaf.pa + leaf.size).step_by(PAGE_SIZE).all(&mut is_zero)
    });
    whole.map(|leaf| leaf.ipa).collect()
}
