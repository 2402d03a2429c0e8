//! `u64` as `0x...` text in JSON: people read addresses and registers, and JSON numbers lose bits
//! above 2^53.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use std::collections::BTreeMap;

pub fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{value:#x}"))
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    parse(&String::deserialize(from)?)
}

fn parse<E: Error>(text: &str) -> Result<u64, E> {
    let digits = text.strip_prefix("0x").ok_or_else(|| E::custom(format_args!("`{text}` lacks 0x")))?;
    u64::from_str_radix(digits, 16).map_err(|e| E::custom(format_args!("`{text}`: {e}")))
}

/// Maps from names to such values.
pub mod values {
    use super::*;

    pub fn serialize<S: Serializer>(map: &BTreeMap<String, u64>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(map.iter().map(|(k, v)| (k, format!("{v:#x}"))))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, u64>, D::Error> {
        BTreeMap::<String, String>::deserialize(from)?.into_iter().map(|(k, v)| Ok((k, parse(&v)?))).collect()
    }
}

/// Maps from addresses to text.
pub mod keys {
    use super::*;

    pub fn serialize<S: Serializer>(map: &BTreeMap<u64, String>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(map.iter().map(|(k, v)| (format!("{k:#x}"), v)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u64, String>, D::Error> {
        BTreeMap::<String, String>::deserialize(from)?.into_iter().map(|(k, v)| Ok((parse(&k)?, v))).collect()
    }
}
