//! The regions of the host's own stage 2, which expectations and reports name at looks `of: host`.

use crate::record::host_look::{HostTables, Withheld};
use crate::scenario::{Access, RAM, Stage2Type};
use s2lab_mmu::Stage2Leaf;
use std::collections::BTreeSet;
use std::fmt;

/// A region of the host's own stage 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostRegion {
    /// The RAM of the host.
    Ram,
    /// Whatever is not RAM.
    Mmio,
    /// The memory of the hypervisor.
    Hypervisor,
    /// The stacks of the hypervisor.
    Stacks,
}

/// The facts that a look has seen of a region.
pub(crate) enum HostRegionSeen<'a> {
    Leaves(&'a [Stage2Leaf]),
    Withheld(&'a Withheld),
}

impl HostRegion {
    pub(crate) const ALL: [HostRegion; 4] =
        [HostRegion::Ram, HostRegion::Mmio, HostRegion::Hypervisor, HostRegion::Stacks];

    pub(crate) fn name(self) -> &'static str {
        match self {
            HostRegion::Ram => RAM,
            HostRegion::Mmio => "mmio",
            HostRegion::Hypervisor => "hypervisor",
            HostRegion::Stacks => "stacks",
        }
    }

    /// Returns the region of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|region| region.name() == name)
    }

    /// Returns the keys with which an expectation asserts something of it.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        match self {
            HostRegion::Ram | HostRegion::Mmio => &["stage2", "exec", "access"],
            HostRegion::Hypervisor | HostRegion::Stacks => &["stage2"],
        }
    }

    /// Returns true if an expectation may ask for this type of it. The host's own memory is never unmapped, and the
    /// hypervisor's has no type.
    pub(crate) fn may_have(self, of: Stage2Type) -> bool {
        let has_leaves = matches!(self, HostRegion::Ram | HostRegion::Mmio);
        has_leaves == (of != Stage2Type::Nothing)
    }

    pub(crate) fn seen(self, seen: &HostTables) -> HostRegionSeen<'_> {
        match self {
            HostRegion::Ram => HostRegionSeen::Leaves(&seen.ram),
            HostRegion::Mmio => HostRegionSeen::Leaves(&seen.mmio),
            HostRegion::Hypervisor => HostRegionSeen::Withheld(&seen.hypervisor),
            HostRegion::Stacks => HostRegionSeen::Withheld(&seen.stacks),
        }
    }
}

impl fmt::Display for HostRegionSeen<'_> {
    /// The facts that do not vary from boot to boot: the kinds of leaves, and whether the host may reach anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostRegionSeen::Leaves([]) => f.write_str("nothing mapped"),
            HostRegionSeen::Leaves(leaves) => {
                let kind = |leaf: &Stage2Leaf| {
                    format!("{} {} {}", leaf.attr, Access::of(leaf.read, leaf.write), leaf.exec)
                };
                let kinds: BTreeSet<String> = leaves
                    .chunk_by(|a, b| a.attributes() == b.attributes())
                    .filter_map(|alike| alike.first().map(kind))
                    .collect();
                f.write_str(&kinds.into_iter().collect::<Vec<_>>().join(" and "))
            }
            HostRegionSeen::Withheld(Withheld { pages: 0, .. }) => f.write_str("has no page"),
            HostRegionSeen::Withheld(Withheld { open: 0, .. }) => f.write_str("withheld"),
            HostRegionSeen::Withheld(_) => f.write_str("open to the host"),
        }
    }
}
