//! The lines of one part of a report, within bounds.

use super::{LineError, line};
use crate::hash::digest;
use std::{fmt, str::FromStr};

/// The bytes of the longest part of a report, without its last line.
pub const LONGEST_PART: usize = 512 << 10;
/// The bytes before each line, and its line feed.
const AROUND: usize = 3;

/// The lines of a part. What a part is too small for is counted, and compares by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<L> {
    pub lines: Vec<L>,
    pub further: Option<Further>,
}

/// The lines that a part is too small for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Further {
    pub count: usize,
    /// The SHA-256 of those lines that compare, in hexadecimal.
    pub sha256: String,
}

impl<L> Default for Part<L> {
    fn default() -> Self {
        Part { lines: vec![], further: None }
    }
}

impl<L: fmt::Display> Part<L> {
    /// The part of `lines` that fits. `compares` says which of the others the digest is made of.
    pub fn new(mut lines: Vec<L>, compares: impl Fn(&L) -> bool) -> Part<L> {
        let mut bytes = 0;
        let fits = lines.iter().position(|line| {
            bytes += AROUND + line.to_string().len();
            bytes > LONGEST_PART
        });
        let further = fits.map(|fits| {
            let rest = lines.split_off(fits);
            let compared: Vec<_> = rest.iter().filter(|line| compares(line)).map(L::to_string).collect();
            Further { count: rest.len(), sha256: digest(compared.join("\n").as_bytes()) }
        });
        Part { lines, further }
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.further.is_none()
    }
}

impl<L: Clone> Part<L> {
    /// The part without the lines that `keep` is false for.
    pub fn only(&self, keep: impl Fn(&L) -> bool) -> Part<L> {
        let lines = self.lines.iter().filter(|line| keep(line)).cloned().collect();
        Part { lines, further: self.further.clone() }
    }
}

impl Further {
    /// The rest of what has no lines.
    pub(crate) fn of(rest: &[String]) -> Further {
        Further { count: rest.len(), sha256: digest(rest.join("\n").as_bytes()) }
    }
}

impl fmt::Display for Further {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "and {} more, sha256 {}", self.count, self.sha256)
    }
}

impl FromStr for Further {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "and N more, sha256 DIGEST", |text| {
            let (count, sha256) = text.strip_prefix("and ")?.split_once(" more, sha256 ")?;
            let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let fine = sha256.len() == 64 && sha256.bytes().all(digit);
            fine.then_some(Further { count: count.parse().ok()?, sha256: sha256.into() })
        })
    }
}
