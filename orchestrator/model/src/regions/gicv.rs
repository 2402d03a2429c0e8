//! The virtual CPU interface of a GICv2.

use super::{RegionKind, bar};
use crate::cell::ResolvedCell;
use crate::lines::{Area, Promised};
use crate::record::Surroundings;
use crate::record::look::GuestTables;
use crate::scenario::{Guest, Promise, Vmm, probe_of};
use s2lab_mmu::{Granule, MemoryType, Stage2Leaf};
use std::ops::Range;

/// The bytes of it that a guest gets, in whole pages of the host (KVM_VGIC_V2_CPU_SIZE, Linux 6.1 to 7.2
/// arch/arm64/include/uapi/asm/kvm.h).
const GIVEN: u64 = 8 << 10;

/// The pages that KVM maps as the CPU interface of a guest with a GICv2 (arch/arm64/kvm/vgic/vgic-v2.c,
/// vgic_v2_map_resources, by kvm_phys_addr_ioremap). No VMA is behind them, so no flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gicv;

impl RegionKind for Gicv {
    fn places(&self, around: &Surroundings, granule: Granule) -> Vec<Range<u64>> {
        let given = GIVEN.max(1 << granule.bits());
        around.gicv.iter().map(|whole| whole.start..whole.start.saturating_add(given)).collect()
    }

    fn leaves<'s>(&self, seen: &'s GuestTables) -> &'s [Stage2Leaf] {
        &seen.gicv
    }

    /// A guest of the built-in VMM has no GIC.
    fn is_given(&self, guest: &Guest) -> bool {
        guest.vmm == Vmm::Qemu
    }

    fn refuses(&self, key: &str) -> Option<&'static str> {
        let of_bar = key == "effective" || probe_of(key).is_some();
        of_bar.then_some("about a device's BAR, not about the GIC")
    }

    fn promise(&self, _: MemoryType, _: &ResolvedCell) -> Option<Promise> {
        Some(Promise::GICV)
    }

    fn missing(&self, _: &[Stage2Leaf], _: &Surroundings) -> Option<&'static str> {
        None
    }

    /// Returns a line for each attribute set, and none on a host whose GIC has no such interface.
    fn promised(&self, seen: &GuestTables) -> Vec<Promised> {
        if seen.gicv.is_empty() {
            return vec![];
        }
        bar::attributes(&seen.gicv, &Area::Gicv).into_iter().map(Promised::Region).collect()
    }

    fn area(&self) -> Area {
        Area::Gicv
    }

    fn varies(&self) -> bool {
        false
    }
}
