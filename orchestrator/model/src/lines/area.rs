//! The part of a guest's address space that lines of tables are about.

use super::Word;
use crate::scenario::{GICV, RAM};
use std::fmt;

/// A region, as lines name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// A device, by the scenario's name.
    Device(Word),
    Ram,
    /// The virtual CPU interface of a GICv2.
    Gicv,
    /// None of the others.
    Unknown,
}

const UNKNOWN: &str = "unknown region";

impl Area {
    /// A device. No scenario calls one `ram` or `gicv`, but a log could.
    pub fn device(name: &str) -> Area {
        Area::Device(Word::new(match name {
            RAM => "ram?",
            GICV => "gicv?",
            device => device,
        }))
    }

    pub(super) fn read(text: &str) -> Option<Area> {
        match text {
            RAM => Some(Area::Ram),
            GICV => Some(Area::Gicv),
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
            Area::Gicv => f.write_str(GICV),
            Area::Unknown => f.write_str(UNKNOWN),
        }
    }
}
