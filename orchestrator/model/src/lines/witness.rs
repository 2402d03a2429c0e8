//! `walk  agrees`: what one witness said.

use super::{LineError, Text, Word, columns, line};
use std::{fmt, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    pub name: Word,
    pub testimony: Testimony,
}

/// The testimony of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Testimony {
    Agrees,
    Contradicts,
    /// Nothing, for this reason.
    Silent(Text),
}

const AGREES: &str = "agrees";
const CONTRADICTS: &str = "contradicts";
const SILENT: &str = "silent: ";

impl fmt::Display for Testimony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Testimony::Agrees => f.write_str(AGREES),
            Testimony::Contradicts => f.write_str(CONTRADICTS),
            Testimony::Silent(why) => write!(f, "{SILENT}{why}"),
        }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.name, self.testimony)
    }
}

impl FromStr for Witness {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "NAME  agrees|contradicts|silent: REASON", |text| {
            let [name, said] = columns(text)?;
            let testimony = match said {
                AGREES => Testimony::Agrees,
                CONTRADICTS => Testimony::Contradicts,
                silent => Testimony::Silent(silent.strip_prefix(SILENT)?.parse().ok()?),
            };
            Some(Witness { name: name.parse().ok()?, testimony })
        })
    }
}
