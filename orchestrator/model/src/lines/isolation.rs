//! `  maps only its own: 256M of RAM at 0x40000000, nic`: what the guest was given, and whether
//! stage 2 maps anything else.

use super::words::{hex, size};
use super::{LineError, Word, line};
use crate::scenario::Size;
use std::{fmt, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    Own {
        memory: Size,
        /// The first IPA of the guest's RAM.
        start: u64,
        devices: Vec<Word>,
    },
    Foreign,
}

const OWN: &str = "maps only its own: ";
const FOREIGN: &str = "maps what is not its own";

impl Isolation {
    /// Returns true if a line begins as one of this kind, which no region's does.
    pub(super) fn begins(text: &str) -> bool {
        text.starts_with(OWN) || text == FOREIGN
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Isolation::Own { memory, start, devices } = self else { return f.write_str(FOREIGN) };
        write!(f, "{OWN}{memory} of RAM at {start:#x}")?;
        devices.iter().try_for_each(|device| write!(f, ", {device}"))
    }
}

impl FromStr for Isolation {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "maps only its own: SIZE of RAM at IPA, DEVICE", |text| {
            if text == FOREIGN {
                return Some(Isolation::Foreign);
            }
            let mut words = text.strip_prefix(OWN)?.split(", ");
            let (memory, start) = words.next()?.split_once(" of RAM at ")?;
            let devices = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
            Some(Isolation::Own { memory: size(memory)?, start: hex(start)?, devices })
        })
    }
}
