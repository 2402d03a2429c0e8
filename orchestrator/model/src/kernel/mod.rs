//! Kernels: the entries of `images/kernels.yaml` and their declarations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

mod files;
mod load;
mod schema;
mod written;

pub use files::{FileKind, NamedFile, check_named, named_files};
pub(crate) use load::NAME_LENGTH;
pub use load::load;
pub use schema::schema;

/// A fact that a kernel declares about itself. Expectations and exclusions depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trait {
    /// vfio-pci marks its VMAs as safe for Normal-NC (VM_ALLOW_ANY_UNCACHED).
    WcConveyed,
    /// KVM maps marked device memory Normal-NC at stage 2.
    WcHonoured,
    /// KVM maps device memory with leaves that are no larger than those of the VMM's own stage 1, or
    /// with pages (Linux commit 71cc2c67fb8f, in 7.3, 7.2.10, 6.18.56, 6.12.113 and 6.1.192).
    PfnmapStage1Leaf,
    /// KVM maps device memory Normal-WB if the VMM's VMA is cacheable and the CPU has FEAT_S2FWB and CTR_EL0.DIC
    /// (Linux commit 0c67288e0c8b, in 6.17).
    CacheableByVma,
    /// KVM in protected mode gives a guest RAM alone: its code at EL2 shares each page, and refuses a BAR with
    /// EINVAL (Linux 6.14, commit fce886a60207, arch/arm64/kvm/pkvm.c, pkvm_pgtable_stage2_map, and
    /// arch/arm64/kvm/hyp/nvhe/mem_protect.c, __pkvm_host_share_guest).
    ProtectedRamAlone,
}

impl Trait {
    pub const ALL: [Self; 5] = [
        Self::WcConveyed,
        Self::WcHonoured,
        Self::PfnmapStage1Leaf,
        Self::CacheableByVma,
        Self::ProtectedRamAlone,
    ];

    /// Returns true if two reports may differ in it, unless an expectation names it: it is about the shape of
    /// tables, or about VMAs or a mode of KVM that few scenarios have.
    pub fn is_minor(self) -> bool {
        matches!(self, Self::PfnmapStage1Leaf | Self::CacheableByVma | Self::ProtectedRamAlone)
    }
}

impl Display for Trait {
    /// Writes the word that files use.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WcConveyed => "wc-conveyed",
            Self::WcHonoured => "wc-honoured",
            Self::PfnmapStage1Leaf => "pfnmap-stage1-leaf",
            Self::CacheableByVma => "cacheable-by-vma",
            Self::ProtectedRamAlone => "protected-ram-alone",
        })
    }
}

/// The declared traits of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Traits {
    /// The kernel has these traits and no others.
    Exactly(BTreeSet<Trait>),
    /// The kernel has these traits and may have others: something that declares nothing was put on
    /// top.
    AtLeast(BTreeSet<Trait>),
}

impl Traits {
    /// Returns every set of traits that the kernel may have, the smallest first.
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

    /// Returns the same with those traits that `keep` returns true for.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Trait) -> bool) -> Traits {
        let kept = |traits: &BTreeSet<Trait>| traits.iter().copied().filter(|one| keep(one)).collect();
        match self {
            Self::Exactly(traits) => Self::Exactly(kept(traits)),
            Self::AtLeast(traits) => Self::AtLeast(kept(traits)),
        }
    }

    /// Returns true if the kernel has the trait, or None if that is open.
    pub fn has(&self, of: Trait) -> Option<bool> {
        match self {
            Self::Exactly(traits) => Some(traits.contains(&of)),
            Self::AtLeast(traits) => traits.contains(&of).then_some(true),
        }
    }
}

impl Display for Traits {
    /// Writes the traits, `none`, or `any` if nothing is declared.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let list =
            |traits: &BTreeSet<Trait>| traits.iter().map(Trait::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Exactly(traits) if traits.is_empty() => f.write_str("none"),
            Self::Exactly(traits) => f.write_str(&list(traits)),
            Self::AtLeast(traits) if traits.is_empty() => f.write_str("any"),
            Self::AtLeast(traits) => write!(f, "at least {}", list(traits)),
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
    /// The kernels that `run` takes if none is given, in this order.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub default: Vec<String>,
    /// The name of the one kernel that guests boot in every cell.
    pub guest: String,
    /// A kernel that guests boot in place of it once it is in the cache. No host boots it.
    #[serde(rename = "quick-guest", default, skip_serializing_if = "Option::is_none")]
    pub quick_guest: Option<KernelEntry>,
}

impl Kernels {
    /// The name of the quick guests' kernel, where names of kernels are expected.
    pub const QUICK_GUEST: &str = "quick-guest";

    /// Returns the kernel of that name, also the quick one for guests.
    pub fn entry(&self, name: &str) -> Option<&KernelEntry> {
        let quick = self.quick_guest.as_ref().filter(|_| name == Self::QUICK_GUEST);
        self.entries.get(name).or(quick)
    }

    /// Returns the names of all kernels that guests or hosts boot.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let quick = self.quick_guest.iter().map(|_| Self::QUICK_GUEST);
        self.entries.keys().map(String::as_str).chain(quick)
    }
}

/// One kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "written::Written", into = "written::Written")]
pub struct KernelEntry {
    /// One sentence: what it is and why it is here.
    pub about: String,
    /// The declared traits. The set may be empty but is never missing.
    pub traits: BTreeSet<Trait>,
    pub provider: Provider,
}

/// The source of a kernel. Paths are relative to the folder of `kernels.yaml`, or absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    Debian(Debian),
    Source(Source),
    Tree(Tree),
    Image(Image),
}

impl Provider {
    /// Returns the word that files use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Debian(_) => "debian",
            Self::Source(_) => "source",
            Self::Tree(_) => "tree",
            Self::Image(_) => "image",
        }
    }
}

/// An arm64 kernel package of Debian's archive: a metapackage, which depends on the current image,
/// or the package of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debian {
    pub package: Package,
}

/// Debian's source of a kernel, built by s2lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The package of the source, such as `linux-source-6.1`.
    pub package: Package,
    /// Configuration fragments. A later one wins. An option that is in none of them is not set.
    pub config: Vec<String>,
    /// Files, or folders whose files are taken by name, in the order in which they are applied.
    pub patches: Vec<String>,
}

/// A kernel tree on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    pub path: String,
    /// True if s2lab builds it; false if it is taken as it was built.
    pub build: bool,
    /// Fragments to build it with. If there are none, the tree's own `.config` is used.
    pub config: Vec<String>,
}

/// An Image and its accompanying files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub path: String,
    /// A folder of modules. None: everything is built in.
    pub modules: Option<String>,
    pub config: Option<String>,
    pub system_map: Option<String>,
}

/// A package in Debian's archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: Version,
    /// The suites to search. It never names a host: the machine's configuration chooses the mirror.
    pub suites: Vec<String>,
}

/// The choice of one of the archive's versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// This version, until somebody changes the entry.
    Fixed(String),
    /// The newest in any of the suites when it is first needed; `s2lab cache refresh` moves it.
    Newest,
}
