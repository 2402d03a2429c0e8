//! The number of a shard.

use crate::plan::MOST_CELLS;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One part of several: `2/3` is the second of three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShardNumber {
    /// The number of the part, from 1.
    index: u32,
    /// The number of parts.
    of: u32,
}

/// The reason why a text is not the number of a shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAShard {
    #[error("`{0}` is not I/N, such as 2/3")]
    Form(String),
    #[error("there is no shard {index} of {of}: shards count from 1")]
    Outside { index: u32, of: u32 },
    #[error("{of} shards are more than the {MOST_CELLS} cells that a run can have")]
    TooMany { of: u32 },
}

impl ShardNumber {
    /// All cells in one part.
    pub const WHOLE: Self = Self { index: 1, of: 1 };

    /// Returns the part `index`, from 1, of `of` parts.
    ///
    /// # Errors
    /// If there is no such part.
    pub fn new(index: u32, of: u32) -> Result<Self, NotAShard> {
        match () {
            () if u32::try_from(MOST_CELLS).is_ok_and(|most| of > most) => Err(NotAShard::TooMany { of }),
            () if (1..=of).contains(&index) => Ok(Self { index, of }),
            () => Err(NotAShard::Outside { index, of }),
        }
    }

    pub fn index(self) -> u32 {
        self.index
    }

    pub fn of(self) -> u32 {
        self.of
    }
}

impl fmt::Display for ShardNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for ShardNumber {
    type Err = NotAShard;

    fn from_str(text: &str) -> Result<Self, NotAShard> {
        let number = |digits: &str| {
            digits.parse::<u32>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let halves = text.split_once('/').and_then(|(index, of)| Some((number(index)?, number(of)?)));
        let (index, of) = halves.ok_or_else(|| NotAShard::Form(text.to_owned()))?;
        Self::new(index, of)
    }
}

impl TryFrom<String> for ShardNumber {
    type Error = NotAShard;

    fn try_from(text: String) -> Result<Self, NotAShard> {
        text.parse()
    }
}

impl From<ShardNumber> for String {
    fn from(number: ShardNumber) -> String {
        number.to_string()
    }
}
