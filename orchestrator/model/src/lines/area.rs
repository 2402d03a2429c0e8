//! The part of a guest's address space that lines of tables are about.

use super::Word;
use crate::scenario::RAM;
use std::fmt;

/// A region, as lines name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// A device, by the scenario's name.
    Device(Word),
    Ram,
    /// Neither RAM nor a BAR.
    Unknown,
}

const UNKNOWN: &str = "unknown region";

impl Area {
    /// A device. No scenario calls one `ram`, but a log could.
    pub fn device(name: &str) -> Area {
        Area::Device(Word::new(if name == RAM { "ram?" } else { name }))
    }

    pub(super) fn read(text: &str) -> Option<Area> {
        match text {
            RAM => Some(Area::Ram),
            UNKNOWN => Some(Area::Unknown),
            device => device.parse().ok().map(Area::Device),
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Area::Device(name) => name.fmt(f),
            Area::Ram => f.write_str(RAM),
            Area::Unknown => f.write_str(UNKNOWN),
        }
    }
}
