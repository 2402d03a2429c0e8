//! `look stored, guest g0`: the lines below are of this look at this guest.

use super::{LineError, Word, line};
use std::{fmt, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub name: Word,
    pub guest: Word,
}

impl Look {
    pub(crate) fn new(name: &str, guest: &str) -> Look {
        Look { name: Word::new(name), guest: Word::new(guest) }
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "look {}, guest {}", self.name, self.guest)
    }
}

impl FromStr for Look {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "look NAME, guest GUEST", |text| {
            let (name, guest) = text.strip_prefix("look ")?.split_once(", guest ")?;
            Some(Look { name: name.parse().ok()?, guest: guest.parse().ok()? })
        })
    }
}
