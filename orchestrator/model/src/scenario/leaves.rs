//! The properties of stage-2 leaves that an expectation can name.

use s2lab_mmu::{MemoryType, Shareability};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The word for a region without a leaf.
pub(super) const NOTHING: &str = "none";

/// What stage 2 has in a region: leaves of one type, or no leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Stage2Type {
    Type(MemoryType),
    Nothing,
}

impl Stage2Type {
    /// Returns the word that scenarios and findings use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Type(of) => of.name(),
            Self::Nothing => NOTHING,
        }
    }
}

impl TryFrom<String> for Stage2Type {
    type Error = s2lab_mmu::UnknownMemoryType;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == NOTHING { Ok(Self::Nothing) } else { text.parse().map(Self::Type) }
    }
}

impl From<Stage2Type> for String {
    fn from(of: Stage2Type) -> String {
        of.name().to_owned()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Exec {
    /// Every leaf forbids it at every exception level.
    Never,
}

/// S2AP of a leaf (DDI 0487, D8, "Stage 2 data accesses").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Every leaf allows loads and stores.
    Rw,
    /// Every leaf allows loads only.
    R,
    /// Every leaf forbids both.
    None,
}

impl Access {
    /// Returns the word for what a leaf allows. A leaf that allows only stores is `w`, which no
    /// expectation can name: KVM writes none.
    pub(crate) const fn of(read: bool, write: bool) -> &'static str {
        match (read, write) {
            (true, true) => "rw",
            (true, false) => "r",
            (false, true) => "w",
            (false, false) => "none",
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rw => Self::of(true, true),
            Self::R => Self::of(true, false),
            Self::None => Self::of(false, false),
        })
    }
}

/// SH of a leaf. The descriptors of FEAT_LPA2 have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// Non-shareable.
    Non,
    /// Outer shareable.
    Outer,
    /// Inner shareable: KVM's choice for every leaf.
    Inner,
}

impl From<Share> for Shareability {
    fn from(share: Share) -> Shareability {
        match share {
            Share::Non => Shareability::Non,
            Share::Outer => Shareability::Outer,
            Share::Inner => Shareability::Inner,
        }
    }
}

/// The access flag of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccessFlag {
    Set,
    Clear,
}

impl AccessFlag {
    pub(crate) const fn of(af: bool) -> AccessFlag {
        if af { Self::Set } else { Self::Clear }
    }
}

impl fmt::Display for AccessFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Set => "set",
            Self::Clear => "clear",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the three enums are those of the leaves, so that a finding compares like with
    /// like.
    #[test]
    fn one_word_for_one_thing() {
        let word = |value: serde_json::Value| value.as_str().unwrap().to_owned();
        for of in [Access::Rw, Access::R, Access::None] {
            assert_eq!(word(serde_json::to_value(of).unwrap()), of.to_string());
        }
        for of in [Share::Non, Share::Outer, Share::Inner] {
            assert_eq!(word(serde_json::to_value(of).unwrap()), Shareability::from(of).to_string());
        }
        for of in [true, false].map(AccessFlag::of) {
            assert_eq!(word(serde_json::to_value(of).unwrap()), of.to_string());
        }
    }

    #[test]
    fn a_type_is_one_of_seven_or_none() {
        for of in MemoryType::ALL.map(Stage2Type::Type).into_iter().chain([Stage2Type::Nothing]) {
            let text = serde_json::to_string(&of).unwrap();
            assert_eq!(text, format!("\"{}\"", of.name()));
            assert_eq!(serde_json::from_str::<Stage2Type>(&text).unwrap(), of);
        }
        assert!(serde_json::from_str::<Stage2Type>("\"None\"").is_err());
    }
}
