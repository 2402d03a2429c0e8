//! Words that scenarios, logs and agents share, and their one spelling.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The sysfs file through which the guest's user space maps the BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapKind {
    /// `resourceN_wc`: stage 1 Normal-NC.
    Wc,
    /// `resourceN`: stage 1 Device-nGnRE.
    Device,
}

impl MapKind {
    pub const ALL: [MapKind; 2] = [MapKind::Wc, MapKind::Device];

    /// The word in scenarios, logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            MapKind::Wc => "wc",
            MapKind::Device => "device",
        }
    }
}

impl fmt::Display for MapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no kind of mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownMapKind(pub String);

impl fmt::Display for UnknownMapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no kind of mapping", self.0)
    }
}

impl std::error::Error for UnknownMapKind {}

impl FromStr for MapKind {
    type Err = UnknownMapKind;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = MapKind::ALL.into_iter().find(|kind| kind.name() == word);
        found.ok_or_else(|| UnknownMapKind(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_spelling() {
        for kind in MapKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!("WC".parse::<MapKind>(), Err(UnknownMapKind("WC".into())));
    }
}
