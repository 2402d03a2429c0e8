//! The observations of a look: its registers and pages decoded, every leaf assigned to its region,
//! and the effective type of the guest's mappings. Nothing here is stored; it is computed from the
//! log and `raw/` when it is needed.

use super::beside::SeenBeside;
use super::kept::KeptMemory;
use super::mapping::GuestMemory;
pub use super::mapping::{Combined, SeenMapping};
use super::vmm::{self, NoVmm, SeenVmm};
use super::zeros::zeros;
use super::{At, Record, Surroundings, registers, vmas};
use crate::cell::ResolvedCell;
use crate::hash::digest;
use crate::regions::RegionName;
use crate::scenario::{MAX_DEVICES, MAX_GUESTS};
use crate::steps::{Look, LookStep, Step};
use s2lab_mmu::{
    AnomalyKind, Control, Fault, GeometryError, Granule, Limits, PageError, PageMem, PhysMem, Stage1,
    Stage2Leaf, Walk, controls, unlike_neighbours,
};
use s2lab_protocol::Mapping;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// HCR_EL2.TGE (DDI 0487): set while the host's own user space runs.
pub(super) const HCR_TGE: u64 = 1 << 27;
/// The most pages of mappings that are translated for one look: 1 GiB, the largest BAR of a
/// scenario, four times.
pub(crate) const MOST_PAGES: u64 = 1 << 20;
/// The most leaves of all looks of an attempt together: those of one guest of 3 GiB that is mapped
/// by 4 KiB pages, five times.
const MOST_LEAVES: usize = 1 << 22;
/// The most mappings of one guest: each device of a scenario, each kind of mapping, each BAR.
const MOST_MAPPINGS: usize = MAX_DEVICES * 2 * MOST_BARS;
/// The most BARs of a PCI device (PCI Local Bus 3.0, 6.1).
const MOST_BARS: usize = 6;
/// The most ranges of a host's RAM; QEMU's `virt` has one.
pub(super) const MOST_RAM: usize = 16;

/// The source of the pages of looks.
pub trait Pages {
    /// Returns the page with this SHA-256 (hexadecimal), if it exists. The caller checks it against
    /// the digest.
    ///
    /// # Errors
    /// The reason why the page of that name cannot be used.
    fn page(&self, sha256: &str) -> Result<Option<Vec<u8>>, String>;
}

impl<F: Fn(&str) -> Option<Vec<u8>>> Pages for F {
    fn page(&self, sha256: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self(sha256))
    }
}

/// The reason why a look cannot be used. It is always a fault of the lab, never of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    #[error("register {0} is not in the log")]
    Register(&'static str),
    #[error("not the registers of a running guest: HCR_EL2 {hcr:#x}")]
    NoGuest { hcr: u64 },
    #[error("not the registers of a host in protected mode: HCR_EL2 {hcr:#x}, VTTBR_EL2 {vttbr:#x}")]
    NoHost { hcr: u64, vttbr: u64 },
    #[error("the hypervisor's own tables: {0}")]
    Hypervisor(String),
    #[error("the page of {address:#x}, {sha256}, is not in raw/")]
    NoPage { address: u64, sha256: String },
    #[error("the page of {address:#x} cannot be read from raw/: {why}: {sha256}")]
    NotTaken { address: u64, sha256: String, why: String },
    #[error("the page of {address:#x} in raw/ is not what its name says, {sha256}")]
    Damaged { address: u64, sha256: String },
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("stage 2: {0}")]
    Geometry(#[from] GeometryError),
    #[error("a table at {0:#x} was not recorded")]
    NotRecorded(u64),
    #[error("stage 1 could not be read: {0}")]
    Stage1(Fault),
    #[error("the tables exceed what a walk may read")]
    TooLarge,
    #[error("the host did not report the place of {0}")]
    Region(String),
    #[error("the guest has mapped `{0}`, of which the host said nothing")]
    UnknownDevice(String),
    #[error("the mapping of `{0}` leaves the address space")]
    Mapping(String),
    #[error("{found} {what}; there are at most {most}")]
    TooMany { what: &'static str, found: usize, most: usize },
    #[error("no step asks for it")]
    Unplanned,
}

/// A look with the result of its decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedLook {
    pub step: usize,
    pub name: String,
    pub guest: String,
    pub seen: Result<GuestTables, LookError>,
}

/// The observations of a look about one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestTables {
    pub granule: Granule,
    pub ipa_bits: u32,
    pub start_level: i8,
    /// The leaves in a device's BARs, by the scenario's names; ascending by IPA, like all lists of
    /// leaves.
    pub devices: BTreeMap<String, Vec<Stage2Leaf>>,
    /// The leaves in the host's RAM.
    pub ram: Vec<Stage2Leaf>,
    /// The leaves in the GIC's virtual CPU interface.
    pub gicv: Vec<Stage2Leaf>,
    /// The leaves anywhere else.
    pub unknown: Vec<Stage2Leaf>,
    pub mappings: Vec<SeenMapping>,
    /// Everything in the tables that a correct hypervisor does not write.
    pub anomalies: Vec<String>,
    /// The first byte of the start table.
    pub base: u64,
    /// The first bytes of the tables of stage 2, each of a granule.
    pub tables: Vec<u64>,
    /// The register bits with which the tables do not have their decoded meaning.
    pub controls: Vec<Control>,
    /// The leaves with the contiguous bit whose neighbours are not alike, the first of each group.
    pub unlike: Vec<Stage2Leaf>,
    /// The IPAs of leaves that may only be mapped because they are read-only and contain nothing
    /// but zeroes.
    pub zeros: BTreeSet<u64>,
    /// The other guests at the same moment.
    pub beside: BTreeMap<String, SeenBeside>,
    /// The BARs in the stage 1 of the guest's VMM. None: it was not asked for.
    pub vmm: Option<Result<SeenVmm, NoVmm>>,
}

/// Decodes every look of an attempt, in the log's order. Unplanned or doubled looks are not
/// decoded, so the plan bounds the work.
pub fn decode(record: &Record, pages: &(impl Pages + ?Sized)) -> Vec<DecodedLook> {
    let mut left = MOST_LEAVES;
    let mut asked_for: BTreeSet<(usize, &str)> = planned(&record.planned.resolved).collect();
    record
        .all::<Look>()
        .map(|look| {
            let seen = match asked_for.remove(&(look.step, look.data.guest.as_str())) {
                true => GuestTables::of(&look, record, pages, left),
                false => Err(LookError::Unplanned),
            };
            left = left.saturating_sub(seen.as_ref().map_or(0, GuestTables::leaves));
            DecodedLook { step: look.step, name: look.name.clone(), guest: look.guest.clone(), seen }
        })
        .collect()
}

/// Yields each look at guests with each guest of the cell.
fn planned(cell: &ResolvedCell) -> impl Iterator<Item = (usize, &str)> {
    let of_guests = |step: &Step| step.of::<LookStep>().is_some_and(|look| look.of.is_none());
    let looks = cell.steps.iter().enumerate().filter(move |(_, step)| of_guests(step));
    looks.flat_map(|(at, _)| cell.guests.keys().map(move |guest| (at, guest.as_str())))
}

impl GuestTables {
    /// Returns the observations of a recorded look.
    fn of(
        look: &At<'_, Look>,
        record: &Record,
        pages: &(impl Pages + ?Sized),
        most_leaves: usize,
    ) -> Result<GuestTables, LookError> {
        let mut assigned = record.planned.resolved.guests.values().flat_map(|guest| guest.assign.keys());
        if let Some(device) = assigned.find(|device| !record.session.around.tell_of(device)) {
            return Err(LookError::Region(format!("the BAR of {device}")));
        }
        let default = Limits::default();
        let limits = Limits { leaves: default.leaves.min(most_leaves), ..default };
        let (around, memory) = (&record.session.around, memory(&look.pages, pages)?);
        let mut seen = GuestTables::within(look, around, &memory, limits)?;
        let vmas = |device: &str| vmas::reported(record, look.step, &look.guest, device).unwrap_or_default();
        seen.vmm = Some(vmm::seen(&look.registers, &seen.devices, vmas, around, &memory));
        Ok(seen)
    }

    /// Returns the number of leaves of all regions, and of the guests beside.
    fn leaves(&self) -> usize {
        let beside = self.beside.values().map(|beside| beside.leaves.len());
        let devices = self.devices.values().map(Vec::len);
        beside.chain(devices).sum::<usize>() + self.ram.len() + self.gicv.len() + self.unknown.len()
    }

    /// Returns the observations of a look with these registers and mappings in `memory`, the
    /// host's. The look's own pages are not used. A look at a running machine finds its pages with
    /// a [`s2lab_mmu::RecordingMem`].
    pub fn through(
        look: &Look,
        around: &Surroundings,
        memory: &dyn PhysMem,
    ) -> Result<GuestTables, LookError> {
        GuestTables::within(look, around, memory, Limits::default())
    }

    fn within(
        look: &Look,
        around: &Surroundings,
        memory: &dyn PhysMem,
        limits: Limits,
    ) -> Result<GuestTables, LookError> {
        few(look, around)?;
        let register = |name| registers::register(&look.registers, name);
        let hcr = register("HCR_EL2")?;
        let stage2 = registers::stage2(&look.registers)?;
        if hcr & HCR_TGE != 0 {
            return Err(LookError::NoGuest { hcr });
        }
        if around.ram.is_empty() {
            // Every leaf would seem to be nowhere.
            return Err(LookError::Region("its RAM".into()));
        }
        let walk = stage2.walk_within(memory, limits);
        let mut seen = GuestTables {
            granule: stage2.granule(),
            ipa_bits: stage2.ipa_bits(),
            start_level: stage2.start_level(),
            devices: BTreeMap::new(),
            ram: vec![],
            gicv: vec![],
            unknown: vec![],
            mappings: vec![],
            anomalies: anomalies(&walk, around)?,
            base: stage2.base(),
            tables: vec![],
            controls: controls(hcr, register("VTCR_EL2")?, register("SCTLR_EL1")?),
            unlike: unlike_neighbours(&walk.leaves, stage2.granule()),
            zeros: BTreeSet::new(),
            beside: BTreeMap::new(),
            vmm: None,
        };
        let regions = RegionName::all(around, stage2.granule());
        for leaf in &walk.leaves {
            seen.sort_in(leaf, &regions);
        }
        seen.tables = walk.tables;
        seen.zeros = zeros(&seen.ram, &KeptMemory::of(around), memory);
        for (guest, beside) in &look.beside {
            let left = Limits { leaves: limits.leaves.saturating_sub(seen.leaves()), ..limits };
            seen.beside.insert(guest.clone(), SeenBeside::of(beside, around, memory, left)?);
        }
        if !look.mappings.is_empty() {
            // TTBR1_EL1 is the guest kernel's; the mappings of user space need TTBR0_EL1 only.
            let stage1 = Stage1::new(
                register("TTBR0_EL1")?,
                look.registers.get("TTBR1_EL1").copied().unwrap_or_default(),
                register("TCR_EL1")?,
                register("MAIR_EL1")?,
                register("SCTLR_EL1")?,
            )
            .under(hcr);
            let memory = GuestMemory::new(&stage2, memory);
            let mut budget = MOST_PAGES;
            let mappings = look
                .mappings
                .iter()
                .map(|mapping| seen.mapping(mapping, around, &stage1, &memory, &mut budget));
            seen.mappings = mappings.collect::<Result<_, _>>()?;
        }
        Ok(seen)
    }

    /// Adds a leaf to the first region that it is a part of.
    fn sort_in(&mut self, leaf: &Stage2Leaf, regions: &[(RegionName<'_>, Range<u64>)]) {
        let leaves = match RegionName::of_leaf(leaf, regions) {
            RegionName::Device(bars) => self.devices.entry(bars.0.to_owned()).or_default(),
            RegionName::Ram(_) => &mut self.ram,
            RegionName::Gicv(_) => &mut self.gicv,
            RegionName::Unknown(_) => &mut self.unknown,
        };
        leaves.push(*leaf);
    }

    fn mapping(
        &self,
        mapping: &Mapping,
        around: &Surroundings,
        stage1: &Stage1,
        memory: &dyn PhysMem,
        budget: &mut u64,
    ) -> Result<SeenMapping, LookError> {
        let Mapping { device, map, va, bar, hypervisor } = mapping;
        if !around.devices.contains_key(device) {
            return Err(LookError::UnknownDevice(device.clone()));
        }
        let end = bar.start.checked_add(bar.size).filter(|_| va.checked_add(bar.size).is_some());
        let end = end.ok_or_else(|| LookError::Mapping(device.clone()))?;
        let mut seen = SeenMapping {
            device: device.clone(),
            map: *map,
            ipa: bar.start,
            hypervisor: *hypervisor,
            touched: vec![],
            unmapped: vec![],
        };
        for leaf in self.devices.get(device).into_iter().flatten() {
            let mut ipa = leaf.ipa.max(bar.start);
            let leaf_end = leaf.ipa.saturating_add(leaf.size).min(end);
            while ipa < leaf_end {
                *budget = budget.checked_sub(1).ok_or(LookError::TooLarge)?;
                let bytes = seen.page(leaf, ipa, va + (ipa - bar.start), stage1, memory)?.min(leaf_end - ipa);
                ipa += bytes;
            }
        }
        Ok(seen)
    }
}

/// Checks that the other side's reports are within bounds.
pub(crate) fn few(look: &Look, around: &Surroundings) -> Result<(), LookError> {
    let of_host = around.devices.values().map(|device| device.bars.len());
    let bars = of_host.chain(around.placed.values().map(Vec::len)).max().unwrap_or_default();
    for (what, found, most) in [
        ("ranges of RAM", around.ram.len(), MOST_RAM),
        ("devices", around.devices.len(), MAX_DEVICES),
        ("BARs of one device", bars, MOST_BARS),
        ("mappings of one guest", look.mappings.len(), MOST_MAPPINGS),
        ("guests beside", look.beside.len(), MAX_GUESTS),
    ] {
        if found > most {
            return Err(LookError::TooMany { what, found, most });
        }
    }
    Ok(())
}

/// Returns the kept page of `address`, if it is what its name says.
pub(crate) fn page(address: u64, sha256: &str, pages: &(impl Pages + ?Sized)) -> Result<Vec<u8>, LookError> {
    let not_taken = |why| LookError::NotTaken { address, sha256: sha256.to_owned(), why };
    let no_page = || LookError::NoPage { address, sha256: sha256.to_owned() };
    let bytes = pages.page(sha256).map_err(not_taken)?.ok_or_else(no_page)?;
    if digest(&bytes) != *sha256 {
        return Err(LookError::Damaged { address, sha256: sha256.to_owned() });
    }
    Ok(bytes)
}

/// Returns the kept pages `of` a look, by address with their digests.
pub(super) fn memory(
    of: &BTreeMap<u64, String>,
    pages: &(impl Pages + ?Sized),
) -> Result<PageMem, LookError> {
    let mut memory = PageMem::default();
    // Hostile tables may be a thousand times the same page.
    let mut known: HashMap<&str, Vec<u8>> = HashMap::new();
    for (&address, sha256) in of {
        let bytes = match known.entry(sha256) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(page(address, sha256, pages)?),
        };
        memory.insert(address, bytes)?;
    }
    Ok(memory)
}

/// Returns the kernel's anomalies. An anomaly of an incomplete log, or of the walk's own bounds, is
/// an error instead.
pub(super) fn anomalies(walk: &Walk, around: &Surroundings) -> Result<Vec<String>, LookError> {
    for anomaly in &walk.anomalies {
        match anomaly.kind {
            AnomalyKind::TableOutsideMemory { table }
                if around.ram.iter().any(|ram| ram.contains(&table)) =>
            {
                return Err(LookError::NotRecorded(table));
            }
            AnomalyKind::TooManyTables | AnomalyKind::TooManyLeaves => return Err(LookError::TooLarge),
            _ => {}
        }
    }
    Ok(walk.anomalies.iter().map(ToString::to_string).collect())
}
