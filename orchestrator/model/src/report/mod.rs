//! The report: what one cell produced, as canonical text that a person can read, accept and compare. The format is described
//! in `docs/formats.md`, its meaning in `docs/reports.md`.

mod build;
mod compare;
mod parse;
mod standing;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

pub use build::Account;
pub(crate) use build::difference;
pub use compare::{Comparison, Difference, Outcome, compare};
pub use parse::{LONGEST, ParseError};
pub use standing::{Gap, Standing};

/// Version of the report's format; a reader refuses any other.
pub const REPORT_VERSION: u32 = 1;

/// A report by its parts. Every text in it is escaped ([`crate::escape`]); lines may begin with spaces and never end with one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub key: String,
    /// The verdict as printed.
    pub verdict: String,
    /// The invariants that the scenario holds up.
    pub promises: Vec<String>,
    /// What was found wrong; a line that begins with [`DETAIL`] is evidence, and never compared.
    pub findings: Vec<String>,
    /// Compares exactly, always.
    pub promised: Vec<String>,
    /// Which witnesses spoke; compares as the promised part does.
    pub witnesses: Vec<String>,
    /// Compares exactly while the kernel's image is the same.
    pub shape: Vec<String>,
    /// Never compared.
    pub numbers: Vec<String>,
    /// Reports that differ here may not be compared.
    pub blocking: BTreeMap<String, String>,
    /// What may be under change.
    pub variable: BTreeMap<String, String>,
}

/// How a line of evidence begins in [`Report::findings`].
pub const DETAIL: &str = "  | ";
