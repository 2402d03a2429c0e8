//! `blocking cpu = neoverse-v1`: a fact about the circumstances of a cell.

use super::{LineError, Text, line};
use std::{fmt, str::FromStr};

/// A line of `[environment]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub kind: FactKind,
    pub name: Text,
    pub value: Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactKind {
    /// Reports that differ in it do not compare.
    Blocking,
    /// May be under change.
    Variable,
}

const BLOCKING: &str = "blocking ";
const VARIABLE: &str = "variable ";
const IS: &str = " = ";

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            FactKind::Blocking => BLOCKING,
            FactKind::Variable => VARIABLE,
        };
        write!(f, "{kind}{}{IS}{}", self.name, self.value)
    }
}

impl FromStr for Fact {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "blocking NAME = VALUE` or `variable NAME = VALUE", |text| {
            let (kind, fact) = match text.strip_prefix(BLOCKING) {
                Some(fact) => (FactKind::Blocking, fact),
                None => (FactKind::Variable, text.strip_prefix(VARIABLE)?),
            };
            let (name, value) = fact.split_once(IS)?;
            Some(Fact { kind, name: name.parse().ok()?, value: value.parse().ok()? })
        })
    }
}
