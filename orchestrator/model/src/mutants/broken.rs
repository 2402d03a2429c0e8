//! The promises that a mutant breaks.

use crate::scenario::Promise;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// The promises that a mutant breaks. Its text is `I1 I6`, `I9 alarm`, `alarm`, or `nothing`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Broken {
    pub promises: BTreeSet<Promise>,
    /// True if it also shows, or only, in a finding that names no promise: a crash, an error of
    /// KVM_RUN, a guest that makes no progress, tables that are not freed.
    pub alarm: bool,
}

const ALARM: &str = "alarm";
const NOTHING: &str = "nothing";

impl Broken {
    /// Returns true if it breaks nothing: no cell may fail for it.
    pub fn is_nothing(&self) -> bool {
        self.promises.is_empty() && !self.alarm
    }
}

impl TryFrom<String> for Broken {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == NOTHING {
            return Ok(Self::default());
        }
        let mut broken = Self::default();
        for word in text.split_whitespace() {
            match word {
                ALARM => broken.alarm = true,
                word => {
                    let promise = Promise::try_from(word.to_owned())
                        .map_err(|why| format!("{why}; `{ALARM}` and `{NOTHING}` are the other words"))?;
                    broken.promises.insert(promise);
                }
            }
        }
        match broken.is_nothing() {
            true => Err(format!("it names no promise; `{NOTHING}` says that it breaks none")),
            false => Ok(broken),
        }
    }
}

impl From<Broken> for String {
    fn from(broken: Broken) -> String {
        broken.to_string()
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nothing() {
            return f.write_str(NOTHING);
        }
        let promises = self.promises.iter().map(ToString::to_string);
        let words: Vec<_> = promises.chain(self.alarm.then(|| ALARM.to_owned())).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_reads_back() {
        for text in ["I1", "I1 I6 I13", "I9 alarm", "alarm", "nothing"] {
            assert_eq!(Broken::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        assert_eq!(Broken::try_from("I13  I1".to_owned()).unwrap().to_string(), "I1 I13");
        for wrong in ["", " ", "I18", "I1,I2", "nothing I1", "I1 nothing", "Alarm"] {
            assert!(Broken::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
