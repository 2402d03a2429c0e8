//! Texts from guests and kernels, escaped.

use super::{COLUMN, LineError};
use crate::escape;
use std::{fmt, ops::Deref, str::FromStr};

/// A text in one column: visible ASCII with single spaces, see [`escape`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(String);

/// A name: a text without spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(String);

impl Text {
    pub fn new(text: &str) -> Text {
        Text(escape::line(text))
    }
}

impl Word {
    pub fn new(text: &str) -> Word {
        Word(escape::line(text).replace(' ', "\\u{20}"))
    }
}

impl FromStr for Text {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let spaces = text.starts_with(' ') || text.ends_with(' ') || text.contains(COLUMN);
        let fine = !text.is_empty() && !spaces && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        fine.then(|| Text(text.to_owned())).ok_or(LineError { form: "TEXT" })
    }
}

impl FromStr for Word {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let fine = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
        fine.then(|| Word(text.to_owned())).ok_or(LineError { form: "NAME" })
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
