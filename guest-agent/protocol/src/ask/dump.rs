//! KVM's own account of a guest's stage 2.

use super::{Ask, HostRequest};
use serde::{Deserialize, Serialize};

/// Asks for the part of KVM's dump of a guest's stage 2 that is in [`crate::BAR_WINDOWS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dump {
    pub guest: String,
}

impl Ask for Dump {
    type Level = HostRequest;
    type Answer = Dumped;
    const DOING: &str = "read KVM's dump of stage 2";

    fn request(self) -> HostRequest {
        HostRequest::Dump(self)
    }
}

/// The dump, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Dumped {
    /// Ranges with leaves, in the dump's order; at most [`DumpedRange::MOST`].
    Ranges(Vec<DumpedRange>),
    Missing(String),
}

/// Neighbouring leaves with the same level and flags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DumpedRange {
    /// The IPA of the first byte.
    pub ipa: u64,
    /// The IPA after the last byte.
    pub end: u64,
    pub level: i8,
    /// The kernel's own words, with a space between them.
    pub flags: String,
}

impl DumpedRange {
    /// The most ranges in one answer.
    pub const MOST: usize = 1024;
    /// The longest flags, in bytes. No kernel has more than 30.
    pub const LONGEST_FLAGS: usize = 64;
}
