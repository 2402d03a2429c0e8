//! The search for overlaps of memory ranges.

use std::ops::Range;

/// Ranges, possibly overlapping, that can be searched for one that overlaps another range: n log n
/// to make, log n to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlaps<T> {
    /// The ranges by first byte. Each has the range that, of it and those before it, reaches
    /// furthest.
    sorted: Vec<(u64, u64, T)>,
}

impl<T> Default for Overlaps<T> {
    fn default() -> Self {
        Self { sorted: vec![] }
    }
}

impl<T: Clone> Overlaps<T> {
    pub fn of(ranges: impl IntoIterator<Item = (Range<u64>, T)>) -> Self {
        let ranges = ranges.into_iter().filter(|(range, _)| !range.is_empty());
        let mut sorted: Vec<_> = ranges.map(|(range, of)| (range.start, range.end, of)).collect();
        sorted.sort_by_key(|(start, ..)| *start);
        let mut furthest: Option<(u64, T)> = None;
        for (_, end, of) in &mut sorted {
            match &furthest {
                Some((far, label)) if far > end => (*end, *of) = (*far, label.clone()),
                _ => furthest = Some((*end, of.clone())),
            }
        }
        Self { sorted }
    }

    /// Returns a range that has a byte in common with `range`.
    pub fn with(&self, range: &Range<u64>) -> Option<&T> {
        let before = self.sorted.partition_point(|(start, ..)| *start < range.end);
        let (_, end, of) = self.sorted.get(before.checked_sub(1)?)?;
        (*end > range.start && !range.is_empty()).then_some(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_if_each_was_asked(ranges in proptest::collection::vec((0u64..60, 0u64..9), 0..12), at in 0u64..60, size in 0u64..9) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, size)| start..start + size).collect();
            let asked = at..at + size;
            let meets = |range: &Range<u64>| range.clone().any(|byte| asked.contains(&byte));
            let found = Overlaps::of(ranges.iter().map(|range| (range.clone(), range.clone())));
            let found = found.with(&asked);
            prop_assert_eq!(found.is_some(), ranges.iter().any(meets));
            prop_assert!(found.is_none_or(meets));
        }
    }
}
