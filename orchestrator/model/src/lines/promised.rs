//! The lines of `[promised]`: step by step what was seen, as far as it must not vary.

use super::{COLUMN, Isolation, LineError, Mapping, Question, Region};
use crate::steps::StepLine;
use std::{fmt, str::FromStr};

/// A line of `[promised]`. Those of a look follow it and are indented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promised {
    Step(StepLine),
    Unreadable,
    Region(Region),
    Mapping(Mapping),
    Question(Question),
    Isolation(Isolation),
}

const UNREADABLE: &str = "not readable";

impl fmt::Display for Promised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Promised::Step(line) => line.fmt(f),
            Promised::Unreadable => write!(f, "{COLUMN}{UNREADABLE}"),
            Promised::Region(line) => write!(f, "{COLUMN}{line}"),
            Promised::Mapping(line) => write!(f, "{COLUMN}{line}"),
            Promised::Question(line) => write!(f, "{COLUMN}{line}"),
            Promised::Isolation(line) => write!(f, "{COLUMN}{line}"),
        }
    }
}

impl FromStr for Promised {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let Some(of_look) = text.strip_prefix(COLUMN) else { return text.parse().map(Promised::Step) };
        let second = of_look.split(COLUMN).nth(1).unwrap_or_default();
        Ok(match of_look {
            UNREADABLE => Promised::Unreadable,
            _ if Isolation::begins(of_look) => Promised::Isolation(of_look.parse()?),
            _ if Question::begins(second) => Promised::Question(of_look.parse()?),
            _ if second.starts_with("mapped ") => Promised::Mapping(of_look.parse()?),
            _ => Promised::Region(of_look.parse()?),
        })
    }
}
