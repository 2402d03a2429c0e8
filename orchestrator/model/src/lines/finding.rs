//! The lines of `[findings]`: for each finding what it is about, and the promise that it breaks;
//! the expected and the found value; evidence.

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
    },
    Expected(Text),
    Found(Text),
    /// Evidence may differ from run to run, and never compares.
    Evidence(Text),
}

const EXPECTED: &str = "  expected ";
const FOUND: &str = "  found    ";
const EVIDENCE: &str = "  | ";

impl FindingLine {
    /// Returns true if the line compares.
    pub fn compares(&self) -> bool {
        !matches!(self, FindingLine::Evidence(_))
    }
}

impl fmt::Display for FindingLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindingLine::What { what, promise: None } => what.fmt(f),
            FindingLine::What { what, promise: Some(promise) } => write!(f, "{what}{COLUMN}{promise}"),
            FindingLine::Expected(text) => write!(f, "{EXPECTED}{text}"),
            FindingLine::Found(text) => write!(f, "{FOUND}{text}"),
            FindingLine::Evidence(text) => write!(f, "{EVIDENCE}{text}"),
        }
    }
}

impl FromStr for FindingLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "WHAT  PROMISE, or indented `expected TEXT`, `found    TEXT`, `| TEXT`", |text| {
            if let Some(text) = text.strip_prefix(EXPECTED) {
                return text.parse().ok().map(FindingLine::Expected);
            }
            if let Some(text) = text.strip_prefix(FOUND) {
                return text.parse().ok().map(FindingLine::Found);
            }
            if let Some(text) = text.strip_prefix(EVIDENCE) {
                return text.parse().ok().map(FindingLine::Evidence);
            }
            let (what, promise) = match text.split_once(COLUMN) {
                Some((what, promise)) => (what, Some(Promise::try_from(promise.to_owned()).ok()?)),
                None => (text, None),
            };
            Some(FindingLine::What { what: what.parse().ok()?, promise })
        })
    }
}
