//! The BARs of a device.

use super::{RegionKind, distinct};
use crate::cell::ResolvedCell;
use crate::lines::{Area, Attributes, Mapping, Place, Promised, Question, Region};
use crate::record::Surroundings;
use crate::record::look::GuestTables;
use crate::scenario::{AssignDriver, Guest, Promise};
use s2lab_mmu::{Granule, MemoryType, Stage2Leaf};
use s2lab_protocol::Bar;
use std::ops::Range;

/// The BARs of the device with this name. An expectation means the one of [`Bar::chosen`], and
/// compares the leaves in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bars<'a>(pub(crate) &'a str);

impl RegionKind for Bars<'_> {
    /// Returns the BARs rounded out to pages. For a BAR smaller than a page vfio-pci maps the page,
    /// whose rest it keeps free (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_probe_mmaps).
    fn places(&self, around: &Surroundings, granule: Granule) -> Vec<Range<u64>> {
        let page = granule.size();
        let bars = around.placed.get(self.0).into_iter().flatten();
        bars.filter_map(|bar| {
            let end = bar.start.checked_add(bar.size)?.checked_next_multiple_of(page)?;
            Some(bar.start - bar.start % page..end)
        })
        .collect()
    }

    fn leaves<'s>(&self, seen: &'s GuestTables) -> &'s [Stage2Leaf] {
        seen.devices.get(self.0).map(Vec::as_slice).unwrap_or_default()
    }

    fn is_given(&self, guest: &Guest) -> bool {
        guest.assign.contains_key(self.0)
    }

    fn refuses(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn promise(&self, expected: MemoryType, cell: &ResolvedCell) -> Option<Promise> {
        let (of, promise) = match cell.assigned(self.0) {
            None | Some(AssignDriver::VfioPci | AssignDriver::VirtualFunction) => {
                (MemoryType::NormalNC, Promise::BAR)
            }
            Some(AssignDriver::Sysfs | AssignDriver::SysfsWc) => {
                (MemoryType::DeviceNGnRE, Promise::UNFLAGGED)
            }
            Some(AssignDriver::VfioPlatform) => (MemoryType::DeviceNGnRE, Promise::PLATFORM),
            Some(AssignDriver::Module) => match cell.vma(self.0).is_some_and(|vma| vma.marked) {
                true => (MemoryType::NormalNC, Promise::BAR),
                false => (MemoryType::DeviceNGnRE, Promise::UNFLAGGED),
            },
        };
        (expected == of).then_some(promise)
    }

    fn missing(&self, leaves: &[Stage2Leaf], around: &Surroundings) -> Option<&'static str> {
        let bar = around.bar(self.0);
        let is_in_bar = |leaf: &Stage2Leaf| bar.is_some_and(|bar| overlap(&bar, leaf.pa, leaf.size));
        let is_missing = !leaves.is_empty() && !leaves.iter().any(is_in_bar);
        is_missing.then_some("a leaf in its prefetchable BAR")
    }

    /// Returns a line for each attribute set of the leaves, and for each mapping. MemAttr, S2AP,
    /// XN, SH and AF must not vary.
    fn promised(&self, seen: &GuestTables) -> Vec<Promised> {
        let regions = attributes(self.leaves(seen), &Area::device(self.0));
        let mappings = || seen.mappings.iter().filter(|mapping| mapping.device == self.0);
        let question = mappings().find_map(|mapping| mapping.hypervisor);
        let question = question.map(|hypervisor| Question { device: self.area(), hypervisor });
        let mappings = mappings().map(|mapping| {
            let types = mapping.touched.iter().map(|(both, _)| both.effective);
            Promised::Mapping(Mapping::new(self.0, mapping.map, types))
        });
        let regions = regions.into_iter().map(Promised::Region);
        regions.chain(question.map(Promised::Question)).chain(mappings).collect()
    }

    fn area(&self) -> Area {
        Area::device(self.0)
    }

    /// The device's place in the host has no meaning.
    fn place(&self, around: &Surroundings, range: &s2lab_mmu::Range) -> Option<Place> {
        let bars = around.placed.get(self.0).map(Vec::as_slice).unwrap_or_default();
        Some(place(bars, around.bar(self.0).map(|bar| bar.index), range))
    }

    fn varies(&self) -> bool {
        false
    }
}

/// Returns a line for each attribute set, or one for no leaves.
pub(super) fn attributes(leaves: &[Stage2Leaf], area: &Area) -> Vec<Region> {
    if leaves.is_empty() {
        return vec![Region::NothingMapped(area.clone())];
    }
    let kind = |leaf: &Stage2Leaf| (leaf.attr, leaf.read, leaf.write, leaf.exec, leaf.sh, leaf.af);
    let line = |leaf: &Stage2Leaf| Region::Mapped { area: area.clone(), attributes: Attributes::of(leaf) };
    distinct(leaves, kind, line)
}

fn overlap(bar: &Bar, pa: u64, size: u64) -> bool {
    bar.start < pa.saturating_add(size) && pa < bar.start.saturating_add(bar.size)
}

/// Returns the place of a range in its device: the device's place in the host has no meaning.
/// `main` is the BAR that needs no number.
fn place(bars: &[Bar], main: Option<u8>, range: &s2lab_mmu::Range) -> Place {
    let (pa, end) = (range.first.pa, range.first.pa.saturating_add(range.size()));
    let bar = bars.iter().find(|bar| overlap(bar, pa, range.size()));
    let other = bar.map(|bar| bar.index).filter(|index| Some(*index) != main);
    // A page around a BAR that is smaller than a page begins before it.
    let start = bar.map_or(0, |bar| bar.start).min(pa);
    Place { bar: other, bytes: (pa - start, end - start) }
}
