//! Numbers of bytes in their written form.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A number of bytes: a whole number, alone or with K, M or G (powers of 1024), like 64, 4K, 16M,
/// 1G.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Size(pub u64);

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes: a whole number, alone or with K, M or G (powers of 1024).",
            "type": ["string", "integer"],
            "format": "size",
            "pattern": "^[1-9][0-9]*[KMG]?$",
            "minimum": 1,
        })
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is not a size; write a whole number, alone or with K, M or G, like 16M");
        let (digits, shift) = match text.as_bytes() {
            [.., b'K'] => (&text[..text.len() - 1], 10),
            [.., b'M'] => (&text[..text.len() - 1], 20),
            [.., b'G'] => (&text[..text.len() - 1], 30),
            _ => (text.as_str(), 0),
        };
        if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let n: u64 = digits.parse().map_err(|_| bad())?;
        n.checked_mul(1 << shift).map(Self).ok_or_else(bad)
    }
}

/// The written forms of a size.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

impl TryFrom<Written> for Size {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(n) => n.to_string().try_into(),
            Written::Text(text) => text.try_into(),
        }
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match [(30, 'G'), (20, 'M'), (10, 'K')]
            .into_iter()
            .find(|(shift, _)| self.0.is_multiple_of(1 << shift))
        {
            Some((shift, unit)) if self.0 > 0 => write!(f, "{}{unit}", self.0 >> shift),
            _ => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes) in [("64", 64), ("4K", 4096), ("16M", 16 << 20), ("1G", 1 << 30)] {
            assert_eq!(Size::try_from(text.to_owned()), Ok(Size(bytes)));
        }
    }

    #[test]
    fn what_is_no_size() {
        for text in [
            "",
            "K",
            "0",
            "0K",
            "+5",
            "-5",
            "1.5G",
            "4k",
            "4 K",
            "0x10",
            "18014398509481984K",
            "99999999999999999999",
        ] {
            assert!(Size::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn display_reads_back(bytes in 1u64.., shift in 0u32..40) {
            let size = Size((bytes >> shift << shift).max(1));
            prop_assert_eq!(Size::try_from(size.to_string()), Ok(size));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = Size::try_from(text);
        }
    }
}
