//! Summary of leaves as ranges.

use crate::Stage2Leaf;
use std::fmt;

/// Neighbouring leaves that are alike: the same level and the same attribute bits, contiguous in
/// IPA and PA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub first: Stage2Leaf,
    /// The number of leaves.
    pub count: u64,
}

impl Range {
    /// Returns true if `leaf` begins where the range ends, and is like its leaves.
    fn continues_with(&self, leaf: &Stage2Leaf) -> bool {
        let (ipa, pa) = (self.end(), self.first.pa + self.size());
        let next = Stage2Leaf { ipa, pa, descriptor: leaf.descriptor, ..self.first };
        next == *leaf && self.first.attributes() == leaf.attributes()
    }

    /// The bytes of the whole range.
    pub fn size(&self) -> u64 {
        self.count * self.first.size
    }

    /// The first IPA after the range.
    pub fn end(&self) -> u64 {
        self.first.ipa + self.size()
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stage2Leaf { ipa, pa, size, level, attr, read, write, exec, .. } = self.first;
        let (read, write) = (if read { "r" } else { "-" }, if write { "w" } else { "-" });
        let (count, size, end) = (self.count, Size(size), self.end());
        write!(
            f,
            "{ipa:#x}..{end:#x} -> {pa:#x}  {count} x {size} level {level}  {attr}  {read}{write}  {exec}"
        )
    }
}

struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')].into_iter().find(|(bits, _)| self.0 >> bits > 0) {
            Some((bits, unit)) => write!(f, "{}{unit}", self.0 >> bits),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Merges alike neighbours of `leaves`, which are sorted by IPA as
/// [`Stage2::walk`](crate::Stage2::walk) returns them.
pub fn ranges(leaves: &[Stage2Leaf]) -> impl Iterator<Item = Range> {
    let mut leaves = leaves.iter().peekable();
    std::iter::from_fn(move || {
        let mut range = Range { first: *leaves.next()?, count: 1 };
        while leaves.next_if(|leaf| range.continues_with(leaf)).is_some() {
            range.count += 1;
        }
        Some(range)
    })
}
