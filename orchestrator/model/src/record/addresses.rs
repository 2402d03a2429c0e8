//! Sets of addresses, as disjoint ranges.

use std::ops::Range;

/// Addresses, as ascending ranges that neither meet nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AddressSet(Vec<Range<u64>>);

impl AddressSet {
    /// Returns the union of ranges in any order. Empty ranges are left out.
    pub(crate) fn of(ranges: impl IntoIterator<Item = Range<u64>>) -> AddressSet {
        let mut all: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        all.sort_by_key(|range| range.start);
        let mut set: Vec<Range<u64>> = vec![];
        for range in all {
            match set.last_mut().filter(|last| range.start <= last.end) {
                Some(last) => last.end = last.end.max(range.end),
                None => set.push(range),
            }
        }
        AddressSet(set)
    }

    pub(crate) fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    /// Returns true if an address of `range` is in the set.
    pub(crate) fn meets(&self, range: &Range<u64>) -> bool {
        let after = self.0.partition_point(|one| one.end <= range.start);
        !range.is_empty() && self.0.get(after).is_some_and(|one| one.start < range.end)
    }

    /// Returns the addresses that are also in `range`.
    pub(crate) fn within(&self, range: &Range<u64>) -> AddressSet {
        AddressSet::of(self.0.iter().map(|one| one.start.max(range.start)..one.end.min(range.end)))
    }

    /// Returns the addresses that are not in `other`.
    pub(crate) fn without(&self, other: &AddressSet) -> AddressSet {
        let mut left = vec![];
        let mut others = other.0.iter().peekable();
        for one in &self.0 {
            let mut start = one.start;
            while let Some(gone) = others.next_if(|gone| gone.end <= one.end) {
                left.push(start..gone.start);
                start = start.max(gone.end);
            }
            let end = others.peek().map_or(one.end, |gone| gone.start.min(one.end));
            left.push(start..end);
        }
        AddressSet::of(left)
    }
}

#[cfg(test)]
mod tests {
    use super::AddressSet;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::ops::Range;

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        proptest::collection::vec(
            (0u64..60, 0u64..20).prop_map(|(start, length)| start..start + length),
            0..8,
        )
    }

    fn members(set: &AddressSet) -> BTreeSet<u64> {
        set.ranges().iter().cloned().flatten().collect()
    }

    proptest! {
        /// A set of numbers is the reference.
        #[test]
        fn it_is_a_set(one in ranges(), other in ranges(), from in 0u64..60, length in 0u64..20) {
            let reference = |of: &[Range<u64>]| of.iter().cloned().flatten().collect::<BTreeSet<u64>>();
            let (all, others) = (reference(&one), reference(&other));
            let (set, rest) = (AddressSet::of(one), AddressSet::of(other));
            prop_assert_eq!(members(&set), all.clone());
            prop_assert!(set.0.is_sorted_by(|a, b| a.end < b.start), "{set:?}");
            prop_assert_eq!(members(&set.without(&rest)), &all - &others);
            let range = from..from + length;
            let within: BTreeSet<u64> = all.into_iter().filter(|n| range.contains(n)).collect();
            prop_assert_eq!(members(&set.within(&range)), within.clone());
            prop_assert_eq!(set.meets(&range), !within.is_empty());
        }
    }
}
