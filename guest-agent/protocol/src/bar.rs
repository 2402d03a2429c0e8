//! A BAR of a PCI device.

use serde::{Deserialize, Serialize};

/// A memory BAR in sysfs `resource`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    pub index: u8,
    /// The physical address at this level.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    pub prefetchable: bool,
}

impl Bar {
    /// Returns the BAR that a scenario means by a device's name: the largest prefetchable one, of
    /// equal ones the first.
    pub fn chosen(bars: impl IntoIterator<Item = Bar>) -> Option<Bar> {
        let prefetchable = bars.into_iter().filter(|bar| bar.prefetchable);
        prefetchable.max_by_key(|bar| (bar.size, std::cmp::Reverse(bar.index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_bar_is_the_largest_prefetchable_one_and_of_equal_ones_the_first() {
        let bar = |index, size, prefetchable| Bar { index, start: 0, size, prefetchable };
        let chosen = |bars: &[Bar]| Bar::chosen(bars.iter().copied()).map(|bar| bar.index);
        let bars = [bar(0, 4096, true), bar(2, 8192, true), bar(3, 8192, true), bar(4, 1 << 20, false)];
        assert_eq!(chosen(&bars), Some(2));
        let reversed: Vec<_> = bars.into_iter().rev().collect();
        assert_eq!(chosen(&reversed), Some(2), "the order in which they are named does not count");
        assert_eq!(chosen(&[bar(4, 1 << 20, false)]), None);
    }
}
