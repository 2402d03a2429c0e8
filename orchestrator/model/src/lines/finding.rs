//! The lines of `[findings]`: for each finding what it is about, the promise that it breaks, and
//! that it is about the lab; the expected and the found value; evidence.

use super::{COLUMN, LineError, Text, line};
use crate::scenario::Promise;
use std::{fmt, str::FromStr};

/// A line of `[findings]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindingLine {
    /// The first line of a finding.
    What {
        what: Text,
        promise: Option<Promise>,
        /// It is about the lab, and shows nothing about the kernel.
        lab: bool,
    },
    Expected(Text),
    Found(Text),
    /// Evidence may differ from run to run, and never compares.
    Evidence(Text),
}

const EXPECTED: &str = "  expected ";
const FOUND: &str = "  found    ";
const EVIDENCE: &str = "  | ";
const LAB: &str = "lab";

impl FindingLine {
    /// Returns true if the line compares.
    pub fn compares(&self) -> bool {
        !matches!(self, FindingLine::Evidence(_))
    }
}

impl fmt::Display for FindingLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindingLine::What { what, promise, lab } => {
                what.fmt(f)?;
                promise.iter().try_for_each(|promise| write!(f, "{COLUMN}{promise}"))?;
                if *lab { write!(f, "{COLUMN}{LAB}") } else { Ok(()) }
            }
            FindingLine::Expected(text) => write!(f, "{EXPECTED}{text}"),
            FindingLine::Found(text) => write!(f, "{FOUND}{text}"),
            FindingLine::Evidence(text) => write!(f, "{EVIDENCE}{text}"),
        }
    }
}

impl FromStr for FindingLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(
            text,
            "WHAT  PROMISE, WHAT  lab, or indented `expected TEXT`, `found    TEXT`, `| TEXT`",
            |text| {
                if let Some(text) = text.strip_prefix(EXPECTED) {
                    return text.parse().ok().map(FindingLine::Expected);
                }
                if let Some(text) = text.strip_prefix(FOUND) {
                    return text.parse().ok().map(FindingLine::Found);
                }
                if let Some(text) = text.strip_prefix(EVIDENCE) {
                    return text.parse().ok().map(FindingLine::Evidence);
                }
                let (text, lab) = match text.strip_suffix(LAB).and_then(|text| text.strip_suffix(COLUMN)) {
                    Some(text) => (text, true),
                    None => (text, false),
                };
                let (what, promise) = match text.split_once(COLUMN) {
                    Some((what, promise)) => (what, Some(Promise::try_from(promise.to_owned()).ok()?)),
                    None => (text, None),
                };
                Some(FindingLine::What { what: what.parse().ok()?, promise, lab })
            },
        )
    }
}
