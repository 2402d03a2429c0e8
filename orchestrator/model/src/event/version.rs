//! The version of the event log.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The version that this s2lab writes.
pub const LOG_VERSION: Version = Version { major: 2, minor: 4 };

/// `MAJOR.MINOR`. A new kind of event and a new optional key are a minor: a reader of the same
/// major skips what it does not know. All else is a major, which other readers refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl Version {
    /// Returns true if this s2lab reads a log of this version.
    pub fn is_read(self) -> bool {
        self.major == LOG_VERSION.major
    }

    /// Returns true if a log of this version may have keys and kinds that this s2lab does not know.
    pub fn is_ahead(self) -> bool {
        self.is_read() && self.minor > LOG_VERSION.minor
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Version, String> {
        // One version has one text.
        let number = |digits: &str| digits.parse::<u32>().ok().filter(|number| number.to_string() == digits);
        let halves = text.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
        let (major, minor) = halves.ok_or_else(|| format!("{text:?} is no version"))?;
        Ok(Version { major, minor })
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_one_text() {
        assert_eq!(Version::try_from("2.10".to_owned()), Ok(Version { major: 2, minor: 10 }));
        for text in ["", "2", "2.", ".0", "02.0", "2.00", "+2.0", "2.0.0", "2.-1", "2.4294967296", " 2.0"] {
            assert!(Version::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
