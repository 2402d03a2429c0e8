//! The report: what one cell produced, as canonical text that a person can read, accept and
//! compare. The format is described in `docs/formats.md`, its meaning in `docs/reports.md`.

mod build;
mod compare;
mod parse;
mod standing;
#[cfg(test)]
mod tests;
mod text;

use crate::lines::{FindingLine, LONGEST_PART, Number, Part, Promised, Shape, Table, Text, Witness};
use crate::plan::Key;
use crate::scenario::Promise;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) use compare::{Compared, conditions, variables};
pub use compare::{Comparison, Difference, Outcome, comparable, compare};
pub use parse::ParseError;
pub use standing::{Gap, Standing};

/// The version of the report's format; a reader refuses any other.
pub const REPORT_VERSION: u32 = 2;
/// The bytes of the longest report that is read: one of seven parts, and room for what is around
/// them.
pub const LONGEST: usize = 8 * LONGEST_PART;

/// A report by its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub key: Key,
    /// The verdict as printed.
    pub verdict: Text,
    /// The promises that the scenario checks.
    pub promises: BTreeSet<Promise>,
    /// The findings. All but the evidence compares exactly, always.
    pub findings: Part<FindingLine>,
    /// The part that always compares exactly.
    pub promised: Part<Promised>,
    /// Compares exactly, but for witnesses that only the newer report knows.
    pub witnesses: Part<Witness>,
    /// The part that compares exactly while the kernel's image is the same.
    pub shape: Part<Shape>,
    /// All but RAM compares exactly while the kernel's image is the same.
    pub tables: Part<Table>,
    /// The part that is never compared.
    pub numbers: Part<Number>,
    /// Reports that differ here do not compare.
    pub blocking: BTreeMap<Text, Text>,
    /// The facts that may change.
    pub variable: BTreeMap<Text, Text>,
}

impl Report {
    /// A report without any line.
    pub fn empty(key: Key, verdict: Text) -> Report {
        Report {
            key,
            verdict,
            promises: BTreeSet::new(),
            findings: Part::default(),
            promised: Part::default(),
            witnesses: Part::default(),
            shape: Part::default(),
            tables: Part::default(),
            numbers: Part::default(),
            blocking: BTreeMap::new(),
            variable: BTreeMap::new(),
        }
    }
}
