//! Dates of nights. Logic gets a date as an input, and never reads a clock.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A day of the calendar, written `2026-12-24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date(jiff::civil::Date);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a date; a date is written like 2026-12-24")]
pub struct DateError {
    text: String,
}

/// The most characters of a wrong date that an error quotes.
const LONGEST: usize = 40;

impl From<jiff::civil::Date> for Date {
    fn from(date: jiff::civil::Date) -> Self {
        Self(date)
    }
}

impl FromStr for Date {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        // A date has one text.
        let date = text.parse().ok().filter(|date: &jiff::civil::Date| date.to_string() == text);
        date.map(Self).ok_or_else(|| DateError { text: text.chars().take(LONGEST).collect() })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Date {
    type Error = DateError;

    fn try_from(text: String) -> Result<Self, DateError> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(date: Date) -> String {
        date.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_has_one_text() {
        let date: Date = "2028-02-29".parse().unwrap();
        assert_eq!(date.to_string(), "2028-02-29");
        assert!(date < "2028-03-01".parse().unwrap());
        for wrong in
            ["", "2026-02-29", "2026-13-01", "20261224", "2026-12-24T00:00", "24.12.2026", "2026-1-2"]
        {
            assert!(wrong.parse::<Date>().is_err(), "{wrong}");
        }
    }
}
