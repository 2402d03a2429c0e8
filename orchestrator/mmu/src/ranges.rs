//! Summary of leaves as ranges.

use crate::{Exec, Shareability, Stage2Attr, Stage2Leaf};
use std::fmt;

/// Neighbouring leaves that are alike: same level, attributes and permissions, contiguous in IPA
/// and PA.
///
/// The access flag, the dirty-bit modifier and software bits may differ: they change as the guest
/// runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub ipa: u64,
    pub pa: u64,
    /// The bytes of the whole range.
    pub size: u64,
    /// The number of leaves.
    pub count: u64,
    /// The bytes of one leaf.
    pub leaf_size: u64,
    pub level: i8,
    pub attr: Stage2Attr,
    pub read: bool,
    pub write: bool,
    pub exec: Exec,
    pub sh: Option<Shareability>,
}

impl Range {
    fn of(leaf: &Stage2Leaf) -> Self {
        Self {
            ipa: leaf.ipa,
            pa: leaf.pa,
            size: leaf.size,
            count: 1,
            leaf_size: leaf.size,
            level: leaf.level,
            attr: leaf.attr,
            read: leaf.read,
            write: leaf.write,
            exec: leaf.exec,
            sh: leaf.sh,
        }
    }

    /// Returns true if `leaf` begins where the range ends, and is like its leaves.
    fn continues_with(&self, leaf: &Stage2Leaf) -> bool {
        let next = Self {
            ipa: self.ipa + self.size,
            pa: self.pa + self.size,
            size: leaf.size,
            count: 1,
            ..self.clone()
        };
        next == Self::of(leaf)
    }

    /// Returns the first IPA after the range.
    pub fn end(&self) -> u64 {
        self.ipa + self.size
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { ipa, pa, count, level, attr, exec, .. } = self;
        let (read, write) = (if self.read { "r" } else { "-" }, if self.write { "w" } else { "-" });
        let size = Size(self.leaf_size);
        let end = self.end();
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
        let mut range = Range::of(leaves.next()?);
        while let Some(leaf) = leaves.next_if(|leaf| range.continues_with(leaf)) {
            range.size += leaf.size;
            range.count += 1;
        }
        Some(range)
    })
}
