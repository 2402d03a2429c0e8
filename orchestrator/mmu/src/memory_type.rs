//! The seven memory types, by name.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use thiserror::Error;

/// Defines variants, names and order in one list.
macro_rules! memory_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A memory type as the Arm architecture names it (DDI 0487, B2, "Memory types and
        /// attributes").
        ///
        /// The order is from the strictest to the most relaxed: the lesser one of two stages wins.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum MemoryType {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl MemoryType {
            /// All memory types, strictest first.
            pub const ALL: [MemoryType; [$($name),*].len()] = [$(MemoryType::$variant),*];

            /// Returns the name that reports, scenarios and events use.
            pub const fn name(self) -> &'static str {
                match self { $(MemoryType::$variant => $name,)* }
            }
        }
    };
}

memory_types! {
    /// No gathering, no reordering, no early write acknowledgement.
    DeviceNGnRnE = "Device-nGnRnE",
    /// KVM's choice for device memory, unless the VMA is marked as safe for Normal-NC.
    DeviceNGnRE = "Device-nGnRE",
    DeviceNGRE = "Device-nGRE",
    DeviceGRE = "Device-GRE",
    /// Inner and outer non-cacheable; Linux calls it write-combining.
    NormalNC = "Normal-NC",
    NormalWT = "Normal-WT",
    NormalWB = "Normal-WB",
}

impl MemoryType {
    /// Returns true for the four Device types.
    pub const fn is_device(self) -> bool {
        matches!(self, Self::DeviceNGnRnE | Self::DeviceNGnRE | Self::DeviceNGRE | Self::DeviceGRE)
    }
}

impl fmt::Display for MemoryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that is not the name of a memory type.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a memory type; the types are {names}", names = MemoryType::ALL.map(MemoryType::name).join(", "))]
pub struct UnknownMemoryType(pub String);

impl FromStr for MemoryType {
    type Err = UnknownMemoryType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|t| t.name() == text).ok_or_else(|| UnknownMemoryType(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_everywhere() {
        let names = "Device-nGnRnE Device-nGnRE Device-nGRE Device-GRE Normal-NC Normal-WT Normal-WB";
        assert_eq!(MemoryType::ALL.map(|t| t.to_string()).join(" "), names);
        for t in MemoryType::ALL {
            assert_eq!(t.name().parse(), Ok(t));
            assert_eq!(serde_json::to_string(&t).unwrap(), format!("\"{t}\""));
            assert_eq!(serde_json::from_str::<MemoryType>(&format!("\"{t}\"")).unwrap(), t);
            assert_eq!(t.is_device(), t.name().starts_with("Device"));
        }
        assert_eq!(format!("{:<10}|", MemoryType::NormalNC), "Normal-NC |");
        let error = "normal-nc".parse::<MemoryType>().unwrap_err().to_string();
        assert!(
            error.starts_with("`normal-nc` is not a memory type; the types are Device-nGnRnE, "),
            "{error}"
        );
    }

    #[test]
    fn the_order_is_that_of_strictness() {
        assert!(MemoryType::ALL.is_sorted());
    }
}
