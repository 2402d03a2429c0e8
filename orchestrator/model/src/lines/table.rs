//! The lines of `[tables]`: the stage-2 tables of each look.

use super::{COLUMN, Leaves, LineError, Range, line};
use crate::steps::LookLine;
use std::{fmt, str::FromStr};

/// A line of `[tables]`. Those of a look follow it and are indented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Table {
    Look(LookLine),
    Range(Range),
    /// The number of ranges that are not shown.
    MoreRanges(usize),
    /// Leaves of RAM, wherever they are. They vary from run to run and never compare.
    Ram(Leaves),
    /// The number of kinds of leaves of RAM that are not shown.
    MoreRam(usize),
}

const RAM: &str = "ram varies  ";
const RANGES: &str = " more ranges";
const KINDS: &str = " more kinds";

impl Table {
    /// Returns true if the line compares while the kernel's image is the same.
    pub fn compares(&self) -> bool {
        !matches!(self, Table::Ram(_) | Table::MoreRam(_))
    }

    /// The line without what stands in the promised part.
    pub fn shape(&self) -> String {
        match self {
            Table::Range(range) => format!("{COLUMN}{}", range.shape()),
            line => line.to_string(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Table::Look(look) => look.fmt(f),
            Table::Range(range) => write!(f, "{COLUMN}{range}"),
            Table::MoreRanges(n) => write!(f, "{COLUMN}and {n}{RANGES}"),
            Table::Ram(leaves) => write!(f, "{COLUMN}{RAM}{leaves}"),
            Table::MoreRam(n) => write!(f, "{COLUMN}{RAM}and {n}{KINDS}"),
        }
    }
}

impl FromStr for Table {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let Some(of_look) = text.strip_prefix(COLUMN) else { return text.parse().map(Table::Look) };
        let more = |text: &str, what: &str| -> Option<usize> {
            text.strip_prefix("and ")?.strip_suffix(what)?.parse().ok()
        };
        line(text, "ram varies  and N more kinds", |_| {
            let ram = of_look.strip_prefix(RAM).and_then(|ram| more(ram, KINDS)).map(Table::MoreRam);
            ram.or_else(|| more(of_look, RANGES).map(Table::MoreRanges))
        })
        .or_else(|_| match of_look.strip_prefix(RAM) {
            Some(leaves) => leaves.parse().map(Table::Ram),
            None => of_look.parse().map(Table::Range),
        })
    }
}
