//! Times in their written form.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

/// The longest time, in seconds.
const MOST: u32 = 3600;

/// A time of whole seconds or minutes, from 1s to 60m: 30s, 5m.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timeout {
    seconds: u32,
}

impl Timeout {
    /// The time of a program, if its step has none.
    pub(crate) fn usual() -> Timeout {
        Timeout { seconds: 30 }
    }

    pub fn duration(self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

impl JsonSchema for Timeout {
    fn schema_name() -> Cow<'static, str> {
        "Timeout".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A time of whole seconds or minutes, from 1s to 60m.",
            "type": "string",
            "format": "timeout",
            "pattern": "^[1-9][0-9]*[sm]$",
        })
    }
}

impl TryFrom<String> for Timeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a time; write seconds or minutes from 1s to 60m, like 30s");
        let (digits, unit) = match text.as_bytes() {
            [.., b's'] => (&text[..text.len() - 1], 1),
            [.., b'm'] => (&text[..text.len() - 1], 60),
            _ => return Err(bad()),
        };
        if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let seconds = digits.parse().ok().and_then(|number: u32| number.checked_mul(unit));
        seconds.filter(|seconds| *seconds <= MOST).map(|seconds| Timeout { seconds }).ok_or_else(bad)
    }
}

impl From<Timeout> for String {
    fn from(timeout: Timeout) -> Self {
        timeout.to_string()
    }
}

impl std::fmt::Display for Timeout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.seconds.is_multiple_of(60) {
            true => write!(f, "{}m", self.seconds / 60),
            false => write!(f, "{}s", self.seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_time() {
        for text in
            ["", "s", "0s", "01s", "30", "30S", "1h", "-1s", "1.5s", "3601s", "61m", "4294967295m", " 1s"]
        {
            assert!(Timeout::try_from(text.to_owned()).is_err(), "{text}");
        }
        assert_eq!(Timeout::try_from("60m".to_owned()).unwrap().duration(), Duration::from_secs(3600));
    }

    proptest! {
        #[test]
        fn display_reads_back(seconds in 1u32..=MOST) {
            let timeout = Timeout { seconds };
            prop_assert_eq!(Timeout::try_from(timeout.to_string()), Ok(timeout));
        }
    }
}
