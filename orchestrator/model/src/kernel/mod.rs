//! Kernels: the entries of `images/kernels.yaml` and what they declare.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

mod load;

pub use load::load;

/// A fact that a kernel declares about itself; expectations choose by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trait {
    /// vfio-pci marks its VMAs as safe for Normal-NC (VM_ALLOW_ANY_UNCACHED).
    WcConveyed,
    /// KVM maps marked device memory Normal-NC at stage 2.
    WcHonoured,
}

impl Trait {
    pub const ALL: [Self; 2] = [Self::WcConveyed, Self::WcHonoured];
}

impl Display for Trait {
    /// The word that files use.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WcConveyed => "wc-conveyed",
            Self::WcHonoured => "wc-honoured",
        })
    }
}

/// The file `images/kernels.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kernels {
    /// All kernels, by name.
    #[serde(rename = "kernels")]
    #[schemars(extend("propertyNames" = load::names(), "minProperties" = 1))]
    pub entries: BTreeMap<String, KernelEntry>,
    /// Names of the kernels that `run` takes if it is told none; in this order.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub default: Vec<String>,
    /// Name of the one kernel that guests boot in every cell.
    pub guest: String,
}

/// One kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Written", into = "Written")]
pub struct KernelEntry {
    /// One sentence: what it is and why it is here.
    pub about: String,
    /// What it declares; may be empty, but is always said.
    pub traits: BTreeSet<Trait>,
    pub provider: Provider,
}

/// Where a kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    Debian(Debian),
}

/// An arm64 kernel package of Debian's archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debian {
    /// A kernel's metapackage, whose dependency names the image of the day, or one image's own package.
    pub package: String,
    /// Suites in which to look; the newest version in any of them is taken. Never a host's name: which mirror serves them
    /// is the machine's business.
    pub suites: Vec<String>,
}

/// An entry as it is written: `provider` decides which further keys there are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "provider", rename_all = "kebab-case", deny_unknown_fields)]
enum Written {
    /// An arm64 kernel package of Debian's archive.
    Debian {
        /// One sentence: what it is and why it is here.
        about: String,
        /// What it declares about itself; may be empty.
        traits: BTreeSet<Trait>,
        /// A kernel's metapackage, or one image's own package.
        #[schemars(extend("format" = "package"))]
        package: String,
        /// Suites in which to look; the newest version in any of them is taken.
        #[schemars(schema_with = "load::suites")]
        suites: Vec<String>,
    },
}

impl From<Written> for KernelEntry {
    fn from(written: Written) -> Self {
        match written {
            Written::Debian { about, traits, package, suites } => {
                Self { about, traits, provider: Provider::Debian(Debian { package, suites }) }
            }
        }
    }
}

impl From<KernelEntry> for Written {
    fn from(KernelEntry { about, traits, provider }: KernelEntry) -> Self {
        match provider {
            Provider::Debian(Debian { package, suites }) => Self::Debian { about, traits, package, suites },
        }
    }
}
