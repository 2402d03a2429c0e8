//! The regions of a guest's stage 2: which leaves belong to a region, what an expectation of it
//! means, and what a report says of it. One file a kind, and one row in [`RegionName::kind`].

mod bar;
mod gicv;
mod host;
mod ram;
mod unknown;

use crate::cell::ResolvedCell;
use crate::lines::{Area, Leaves, Place, Promised, Range as TableRange, Table};
use crate::record::Surroundings;
use crate::record::look::GuestTables;
use crate::scenario::{GICV, Guest, Promise, RAM};
use s2lab_mmu::{Granule, MemoryType, Stage2Leaf, ranges};
use std::collections::BTreeSet;
use std::ops::Range;

pub(crate) use host::{HostRegion, HostRegionSeen};

/// A region by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegionName<'a> {
    /// The BARs of a device, by the scenario's name.
    Device(bar::Bars<'a>),
    Ram(ram::Ram),
    /// The virtual CPU interface of a GICv2.
    Gicv(gicv::Gicv),
    /// Whatever is in none of the others.
    Unknown(unknown::Unknown),
}

/// A kind of region.
pub(crate) trait RegionKind {
    /// Returns the physical addresses of the region in the host.
    fn places(&self, around: &Surroundings, granule: Granule) -> Vec<Range<u64>>;

    /// Returns the leaves of a look that belong to the region.
    fn leaves<'s>(&self, seen: &'s GuestTables) -> &'s [Stage2Leaf];

    /// Returns true if the plan gives the region to a guest.
    fn is_given(&self, guest: &Guest) -> bool;

    /// Returns the reason why an expectation of the region cannot have this key.
    fn refuses(&self, key: &str) -> Option<&'static str>;

    /// Returns the promise that stage 2 gives the region of this cell this type.
    fn promise(&self, expected: MemoryType, cell: &ResolvedCell) -> Option<Promise>;

    /// Returns what an expectation of the region is about, if none of `leaves` is a part of it.
    fn missing(&self, leaves: &[Stage2Leaf], around: &Surroundings) -> Option<&'static str>;

    /// Returns the lines of the promised part: what must not vary.
    fn promised(&self, seen: &GuestTables) -> Vec<Promised>;

    /// Returns the region as lines name it.
    fn area(&self) -> Area;

    /// Returns the place of a range in the region, if the region has a first byte of its own.
    fn place(&self, around: &Surroundings, range: &s2lab_mmu::Range) -> Option<Place> {
        let _ = (around, range);
        None
    }

    /// Returns true if the leaves vary from run to run, so that their tables compare with nothing.
    fn varies(&self) -> bool;

    /// Yields the lines of the tables of a look: each range of the leaves.
    fn tables<'s>(
        &'s self,
        around: &'s Surroundings,
        leaves: &'s [Stage2Leaf],
    ) -> Box<dyn Iterator<Item = Table> + 's> {
        Box::new(ranges(leaves).map(|found| Table::Range(range(self, around, &found))))
    }
}

impl<'a> RegionName<'a> {
    /// Returns the region that an expectation is about.
    pub(crate) fn of(name: &'a str) -> Self {
        match name {
            RAM => RegionName::Ram(ram::Ram),
            GICV => RegionName::Gicv(gicv::Gicv),
            device => RegionName::device(device),
        }
    }

    pub(crate) fn device(name: &'a str) -> Self {
        RegionName::Device(bar::Bars(name))
    }

    pub(crate) fn unknown() -> Self {
        RegionName::Unknown(unknown::Unknown)
    }

    /// The table of the kinds.
    pub(crate) fn kind(&self) -> &dyn RegionKind {
        match self {
            RegionName::Device(bars) => bars,
            RegionName::Ram(ram) => ram,
            RegionName::Gicv(gicv) => gicv,
            RegionName::Unknown(unknown) => unknown,
        }
    }

    /// Returns the regions in the host's physical address space, with each of their places.
    pub(crate) fn all(around: &'a Surroundings, granule: Granule) -> Vec<(Self, Range<u64>)> {
        let devices = around.placed.keys().map(|device| RegionName::device(device));
        let regions = devices.chain([RegionName::Ram(ram::Ram), RegionName::Gicv(gicv::Gicv)]);
        let places = |region: Self| {
            let places = region.kind().places(around, granule);
            places.into_iter().map(move |place| (region, place))
        };
        regions.flat_map(places).collect()
    }

    /// Returns the first of `regions` that the leaf is a part of.
    pub(crate) fn of_leaf(leaf: &Stage2Leaf, regions: &[(Self, Range<u64>)]) -> Self {
        let end = leaf.pa.saturating_add(leaf.size);
        let has = |place: &Range<u64>| place.start <= leaf.pa && end <= place.end;
        let found = regions.iter().find(|(_, place)| has(place));
        found.map_or_else(RegionName::unknown, |(region, _)| *region)
    }

    /// Returns the regions of a look: the devices that its guest was given or has, RAM, the GIC's
    /// interface, and the rest.
    pub(crate) fn of_look(guest: Option<&'a Guest>, seen: &'a GuestTables) -> Vec<Self> {
        let assigned = guest.into_iter().flat_map(|guest| guest.assign.keys());
        let devices: BTreeSet<&String> = assigned.chain(seen.devices.keys()).collect();
        let devices = devices.into_iter().map(|device| RegionName::device(device));
        let others =
            [RegionName::Ram(ram::Ram), RegionName::Gicv(gicv::Gicv), RegionName::Unknown(unknown::Unknown)];
        devices.chain(others).collect()
    }

    /// Returns the regions of a look that have leaves, and that the plan does not give to its guest. The
    /// unknown region is none of them.
    pub(crate) fn not_given(guest: Option<&'a Guest>, seen: &'a GuestTables) -> Vec<Self> {
        let mut regions = Self::of_look(guest, seen);
        regions.retain(|region| {
            let is_given = guest.is_some_and(|guest| region.kind().is_given(guest));
            !is_given && !matches!(region, RegionName::Unknown(_)) && !region.kind().leaves(seen).is_empty()
        });
        regions
    }
}

/// Returns the range of a region, as a line of its table.
pub(crate) fn range(
    kind: &(impl RegionKind + ?Sized),
    around: &Surroundings,
    range: &s2lab_mmu::Range,
) -> TableRange {
    let (ipa, leaves) = ((range.first.ipa, range.end()), Leaves::of(&range.first, range.count));
    TableRange { area: kind.area(), place: kind.place(around, range), ipa, leaves }
}

/// Returns the line of each kind of leaf, in the order of the lines' texts. A million leaves are of
/// a few kinds.
pub(crate) fn distinct<K: PartialEq, L: ToString + PartialEq>(
    leaves: &[Stage2Leaf],
    kind: impl Fn(&Stage2Leaf) -> K,
    line: impl Fn(&Stage2Leaf) -> L,
) -> Vec<L> {
    let mut kinds: Vec<K> = vec![];
    let mut lines = vec![];
    for leaf in leaves {
        let kind = kind(leaf);
        if !kinds.contains(&kind) {
            kinds.push(kind);
            lines.push(line(leaf));
        }
    }
    lines.sort_by_cached_key(L::to_string);
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::{BAR_PA, BAR_SIZE, RAM as HOST_RAM, Story, scenario};
    use crate::record::Run;
    use crate::scenario::AssignDriver;
    use s2lab_protocol::{ModuleVma, Pgprot, VmaKind};

    #[test]
    fn an_expectation_names_a_device_or_ram() {
        let (nic, ram) = (RegionName::of("nic"), RegionName::of("ram"));
        assert_eq!((nic, ram), (RegionName::Device(bar::Bars("nic")), RegionName::Ram(ram::Ram)));
        let guest = &scenario().guests["g0"];
        let is_given = |name| RegionName::of(name).kind().is_given(guest);
        assert!(is_given("nic") && is_given("ram") && !is_given("gpu"));
        assert!(!RegionName::Unknown(unknown::Unknown).kind().is_given(guest));
        for key in ["effective", "unaligned"] {
            assert_eq!(nic.kind().refuses(key), None);
            assert_eq!(ram.kind().refuses(key), Some("about a device's BAR, not about RAM"));
        }
        assert_eq!(ram.kind().refuses("stage2"), None);
    }

    #[test]
    fn a_type_is_a_promise_of_the_region() {
        let mut cell = ResolvedCell::of(&scenario(), crate::kernel::Traits::Exactly([].into()));
        let of = |name, of, cell: &ResolvedCell| RegionName::of(name).kind().promise(of, cell);
        assert_eq!(of("nic", MemoryType::NormalNC, &cell), Some(Promise::BAR));
        assert_eq!(of("nic", MemoryType::DeviceNGnRE, &cell), None);
        assert_eq!(of("ram", MemoryType::NormalWB, &cell), Some(Promise::RAM));
        for (way, promise) in [
            (AssignDriver::Sysfs, Promise::UNFLAGGED),
            (AssignDriver::SysfsWc, Promise::UNFLAGGED),
            (AssignDriver::VfioPlatform, Promise::PLATFORM),
        ] {
            cell.guests.get_mut("g0").unwrap().assign.insert("nic".into(), way);
            assert_eq!(of("nic", MemoryType::DeviceNGnRE, &cell), Some(promise));
            assert_eq!(of("nic", MemoryType::NormalNC, &cell), None);
        }
        for (marked, device, nc) in
            [(true, None, Some(Promise::BAR)), (false, Some(Promise::UNFLAGGED), None)]
        {
            let vma =
                ModuleVma { kind: VmaKind::Mixedmap, pgprot: Pgprot::Noncached, marked, private: false };
            let guest = cell.guests.get_mut("g0").unwrap();
            guest.assign.insert("nic".into(), AssignDriver::Module);
            guest.vmas.insert("nic".into(), vma);
            assert_eq!(of("nic", MemoryType::DeviceNGnRE, &cell), device);
            assert_eq!(of("nic", MemoryType::NormalNC, &cell), nc);
        }
    }

    #[test]
    fn places_are_bars_in_whole_pages_and_ram() {
        let run = Run::fold(Story::after().lines()).unwrap();
        let around = &run.cells[0].attempts[0].session.around;
        let (nic, ram) = (RegionName::of("nic"), RegionName::of("ram"));
        let expected = |page: u64| {
            [
                (nic, 0x1000_0000..0x1000_0000 + page),
                (nic, BAR_PA..BAR_PA + BAR_SIZE),
                (ram, HOST_RAM.0..HOST_RAM.0 + HOST_RAM.1),
            ]
        };
        assert_eq!(RegionName::all(around, Granule::K4), expected(0x1000));
        assert_eq!(RegionName::all(around, Granule::K64), expected(0x1_0000));
    }
}
