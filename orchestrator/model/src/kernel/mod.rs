//! Kernels: the entries of `images/kernels.yaml` and what they declare.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

mod load;
mod schema;
mod written;

pub use load::load;
pub use schema::schema;

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

/// What a kernel says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Traits {
    /// It has these traits and no others.
    Exactly(BTreeSet<Trait>),
    /// It has these traits. Whether it has others is to be seen: something that declares nothing was put on top.
    AtLeast(BTreeSet<Trait>),
}

impl Traits {
    /// Every set of traits that the kernel may have, the smallest first.
    pub fn possible(&self) -> Vec<BTreeSet<Trait>> {
        match self {
            Self::Exactly(traits) => vec![traits.clone()],
            Self::AtLeast(traits) => Trait::ALL.iter().filter(|open| !traits.contains(open)).fold(
                vec![traits.clone()],
                |sets, open| {
                    let with = sets.iter().map(|set| set.iter().chain([open]).copied().collect());
                    sets.iter().cloned().chain(with).collect()
                },
            ),
        }
    }

    /// Whether the kernel has the trait; none if that is open.
    pub fn has(&self, of: Trait) -> Option<bool> {
        match self {
            Self::Exactly(traits) => Some(traits.contains(&of)),
            Self::AtLeast(traits) => traits.contains(&of).then_some(true),
        }
    }
}

/// The file `images/kernels.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kernels {
    /// All kernels, by name.
    #[serde(rename = "kernels")]
    #[schemars(extend("propertyNames" = schema::names(), "minProperties" = 1))]
    pub entries: BTreeMap<String, KernelEntry>,
    /// Names of the kernels that `run` takes if it is told none; in this order.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub default: Vec<String>,
    /// Name of the one kernel that guests boot in every cell.
    pub guest: String,
}

/// One kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "written::Written", into = "written::Written")]
pub struct KernelEntry {
    /// One sentence: what it is and why it is here.
    pub about: String,
    /// What it declares; may be empty, but is always said.
    pub traits: BTreeSet<Trait>,
    pub provider: Provider,
}

/// Where a kernel comes from. Paths are relative to the folder of `kernels.yaml`, or absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    Debian(Debian),
    Source(Source),
    Tree(Tree),
    Image(Image),
}

impl Provider {
    /// The word that files use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Debian(_) => "debian",
            Self::Source(_) => "source",
            Self::Tree(_) => "tree",
            Self::Image(_) => "image",
        }
    }
}

/// An arm64 kernel package of Debian's archive: a kernel's metapackage, whose dependency names the image of the day, or one
/// image's own package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debian {
    pub package: Package,
}

/// Debian's source of a kernel, built by s2lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Such as `linux-source-6.1`.
    pub package: Package,
    /// Fragments of a configuration; a later one wins. What none of them asks for is not set.
    pub config: Vec<String>,
    /// Files, or folders of files that are taken by name; applied in order.
    pub patches: Vec<String>,
}

/// A kernel's tree on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    pub path: String,
    /// Whether s2lab builds it; else it is taken as it was built.
    pub build: bool,
    /// Fragments to build it with; none: the tree's own `.config`.
    pub config: Vec<String>,
}

/// An Image and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub path: String,
    /// A folder of modules; none: all are built in.
    pub modules: Option<String>,
    pub config: Option<String>,
    pub system_map: Option<String>,
}

/// A package in Debian's archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: Version,
    /// Suites in which to look. Never a host's name: which mirror serves them is the machine's business.
    pub suites: Vec<String>,
}

/// Which of the archive's versions is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// This one, until somebody writes another.
    Fixed(String),
    /// The newest in any of the suites when it is first asked for; `s2lab store refresh` moves it.
    Newest,
}
