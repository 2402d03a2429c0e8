//! Stage 2: from a guest's physical addresses (IPAs) to the host's.

use crate::geometry::{BLOCK_NT, Entry, Geometry, LAST_LEVEL, shift};
use crate::{Exec, Fault, GeometryError, Granule, MemoryType, PhysMem, Shareability, Stage2Attr};
use std::collections::HashSet;
use std::fmt;

/// Bits of HCR_EL2 (DDI 0487, HCR_EL2).
mod hcr {
    pub(super) const VM: u64 = 1 << 0;
    pub(super) const PTW: u64 = 1 << 2;
    pub(super) const FWB: u64 = 1 << 46;
}

/// Bits of VTCR_EL2 (DDI 0487, VTCR_EL2).
mod vtcr {
    pub(super) const SL0_SHIFT: u32 = 6;
    pub(super) const TG0_SHIFT: u32 = 14;
    pub(super) const PS_SHIFT: u32 = 16;
    pub(super) const VS: u64 = 1 << 19;
    pub(super) const HD: u64 = 1 << 22;
    pub(super) const DS: u64 = 1 << 32;
    pub(super) const SL2_SHIFT: u32 = 33;
}

/// The registers that define how a guest's IPAs are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage2 {
    geometry: Geometry,
    /// BADDR of the register, before it is aligned.
    raw_base: u64,
    fwb: bool,
    /// HCR_EL2.PTW.
    protects_walks: bool,
    /// VTCR_EL2.HD.
    dirty: bool,
    vmid: u16,
    vmid_bits: u32,
}

/// The block or page that one valid descriptor maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage2Leaf {
    /// The first IPA of the block or page.
    pub ipa: u64,
    pub pa: u64,
    /// The size in bytes.
    pub size: u64,
    /// 0 to 2: a block; 3: a page.
    pub level: i8,
    /// The word in the table.
    pub descriptor: u64,
    pub attr: Stage2Attr,
    /// S2AP\[0\].
    pub read: bool,
    /// S2AP\[1\]. With VTCR_EL2.HD also set by `dbm`, because hardware then sets S2AP\[1\].
    pub write: bool,
    pub exec: Exec,
    /// The access flag. If it is clear, an access faults unless VTCR_EL2.HA lets hardware set it.
    pub af: bool,
    /// Dirty-bit modifier.
    pub dbm: bool,
    /// The contiguous bit, see [`crate::unlike_neighbours`]; KVM never sets it.
    pub contiguous: bool,
    /// The shareability, or None with FEAT_LPA2's descriptors, whose bits 9:8 are address bits.
    pub sh: Option<Shareability>,
    /// Bits 58:55, which the MMU ignores: a hypervisor is free to use them.
    pub software: u8,
}

/// The upper and lower attributes of a stage-2 block or page (DDI 0487, D8, "Block descriptor and
/// Page descriptor formats"): bits 63:50 and 11:2.
const ATTRIBUTES: u64 = 0x3fff << 50 | 0x3ff << 2;
/// SH\[1:0\], or with FEAT_LPA2's descriptors the top of the address.
const SH: u64 = 0b11 << 8;

impl Stage2Leaf {
    /// Returns the attribute bits of the descriptor: all of it but its type and its address.
    pub fn attributes(&self) -> u64 {
        let block = if self.level < LAST_LEVEL { BLOCK_NT } else { 0 };
        let address = if self.sh.is_some() { 0 } else { SH };
        self.descriptor & (ATTRIBUTES & !address | block)
    }

    /// Returns the PA of `ipa`, or None if this leaf does not map it.
    pub fn pa_of(&self, ipa: u64) -> Option<u64> {
        ipa.checked_sub(self.ipa).filter(|offset| *offset < self.size).map(|offset| self.pa + offset)
    }
}

/// Bounds of a walk, because tables may be hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of tables entered. Concatenated start tables count one by one.
    pub tables: usize,
    pub leaves: usize,
    /// The number of anomalies kept.
    pub anomalies: usize,
}

impl Default for Limits {
    /// Returns limits that fit a guest of 3 GiB mapped by 4 KiB pages: 786,432 leaves in some 1,540
    /// tables. The worst tables take 0.2 s; callers with less time set lower limits.
    fn default() -> Self {
        Self { tables: 1 << 12, leaves: 1 << 20, anomalies: 64 }
    }
}

/// The result of [`Stage2::walk`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Walk {
    /// The leaves in ascending order of IPA, without overlap.
    pub leaves: Vec<Stage2Leaf>,
    /// Everything that a correct hypervisor does not write, at most [`Limits::anomalies`].
    pub anomalies: Vec<Anomaly>,
    /// The total number of anomalies.
    pub anomaly_count: usize,
    /// The physical address of each table entered, in that order. A table has the size of a
    /// granule.
    pub tables: Vec<u64>,
}

impl Walk {
    /// Returns the leaves that map any of the `size` bytes from `ipa` on. The first and the last
    /// may reach beyond them.
    pub fn region(&self, ipa: u64, size: u64) -> &[Stage2Leaf] {
        if size == 0 {
            return &[];
        }
        let end = ipa.saturating_add(size);
        let from = self.leaves.partition_point(|l| l.ipa + l.size <= ipa);
        let to = self.leaves.partition_point(|l| l.ipa < end);
        self.leaves.get(from..to).unwrap_or_default()
    }
}

/// Something in the tables that should not be there, and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anomaly {
    /// The first IPA that it concerns.
    pub ipa: u64,
    /// The level of the descriptor or table.
    pub level: i8,
    pub kind: AnomalyKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnomalyKind {
    /// VTTBR_EL2's address is not aligned to the start table's size. The MMU and the walk ignore
    /// the low bits.
    StartMisaligned { base: u64 },
    /// A table, or a part of it, has no memory. That part is not read.
    TableOutsideMemory { table: u64 },
    /// A descriptor points at a table that the walk has already entered: a loop, or two IPAs that
    /// share one. The walk does not enter it again.
    TableAgain { table: u64 },
    /// A block at a level without blocks, or a level-3 descriptor that is not a page. The MMU
    /// raises a translation fault.
    ReservedDescriptor { descriptor: u64 },
    /// A block whose address is not a multiple of its size. The MMU ignores the low bits; the walk
    /// keeps the leaf.
    MisalignedBlock { descriptor: u64 },
    /// The address is beyond VTCR_EL2.PS: the MMU raises an address size fault.
    AddressSize { output: u64 },
    /// The walk has reached [`Limits::tables`], and enters no further tables.
    TooManyTables,
    /// The walk has reached [`Limits::leaves`], and ended here.
    TooManyLeaves,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IPA {:#x}, level {}: ", self.ipa, self.level)?;
        match self.kind {
            AnomalyKind::StartMisaligned { base } => write!(f, "start table at misaligned {base:#x}"),
            AnomalyKind::TableOutsideMemory { table } => write!(f, "table {table:#x} outside of memory"),
            AnomalyKind::TableAgain { table } => write!(f, "table {table:#x} met a second time"),
            AnomalyKind::ReservedDescriptor { descriptor } => {
                write!(f, "reserved descriptor {descriptor:#x}")
            }
            AnomalyKind::MisalignedBlock { descriptor } => write!(f, "misaligned block {descriptor:#x}"),
            AnomalyKind::AddressSize { output } => write!(f, "address {output:#x} beyond VTCR_EL2.PS"),
            AnomalyKind::TooManyTables => f.write_str("too many tables"),
            AnomalyKind::TooManyLeaves => f.write_str("too many leaves"),
        }
    }
}

impl Stage2 {
    /// Decodes VTTBR_EL2, VTCR_EL2 and HCR_EL2.
    ///
    /// Fails if stage 2 is off, or if the registers describe no tables that the architecture
    /// defines.
    pub fn new(vttbr: u64, vtcr: u64, hcr: u64) -> Result<Self, GeometryError> {
        if hcr & hcr::VM == 0 {
            return Err(GeometryError::Stage2Off);
        }
        let granule = Granule::from_tg0(vtcr >> vtcr::TG0_SHIFT)?;
        // RES0 with 64K tables.
        let lpa2 = vtcr & vtcr::DS != 0 && granule != Granule::K64;
        let (sl0, sl2) = (vtcr >> vtcr::SL0_SHIFT & 0b11, if lpa2 { vtcr >> vtcr::SL2_SHIFT & 1 } else { 0 });
        let start_level = start_level(granule, sl0, sl2, lpa2)?;
        let bits = 64 - (vtcr & 0x3f) as u32;
        // The start level resolves at least one bit. It resolves at most the bits of one table and
        // 4 more: up to 16 tables in a row.
        let min = shift(granule, start_level) + 1;
        let max = (min - 1 + granule.stride() + 4).min(if lpa2 || granule == Granule::K64 { 52 } else { 48 });
        if !(min..=max).contains(&bits) {
            return Err(GeometryError::InputBits { bits, granule, min, max });
        }
        let geometry = Geometry::new(granule, bits, start_level, lpa2, vtcr >> vtcr::PS_SHIFT, vttbr);
        let vmid_bits = if vtcr & vtcr::VS != 0 { u16::BITS } else { u8::BITS };
        Ok(Self {
            geometry,
            raw_base: geometry.raw_base(vttbr),
            fwb: hcr & hcr::FWB != 0,
            protects_walks: hcr & hcr::PTW != 0,
            dirty: vtcr & vtcr::HD != 0,
            vmid: vmid(vttbr, vmid_bits),
            vmid_bits,
        })
    }

    /// Takes tables of this geometry at `register`. What the leaves of another stage mean is for the caller.
    pub(crate) fn of_tables(geometry: Geometry, register: u64) -> Self {
        let raw_base = geometry.raw_base(register);
        let (fwb, protects_walks, dirty, vmid, vmid_bits) = (false, false, false, 0, u8::BITS);
        Self { geometry, raw_base, fwb, protects_walks, dirty, vmid, vmid_bits }
    }

    pub fn granule(&self) -> Granule {
        self.geometry.granule
    }

    /// Returns the number of bits of an IPA.
    pub fn ipa_bits(&self) -> u32 {
        self.geometry.input_bits
    }

    /// Returns the number of bits of a physical address, by VTCR_EL2.PS.
    pub fn pa_bits(&self) -> u32 {
        self.geometry.output_bits
    }

    /// Returns the start level, -1 to 3.
    pub fn start_level(&self) -> i8 {
        self.geometry.start_level
    }

    /// Returns the number of concatenated tables at the start level: 1 to 16.
    pub fn start_tables(&self) -> u64 {
        (self.geometry.entries(self.geometry.start_level) * 8).div_ceil(self.geometry.granule.size())
    }

    /// Returns the physical address of the first start table.
    pub fn base(&self) -> u64 {
        self.geometry.base
    }

    /// Returns HCR_EL2.FWB: stage 2 can force write-back.
    pub fn fwb(&self) -> bool {
        self.fwb
    }

    /// Returns VTCR_EL2.DS: the tables have FEAT_LPA2's descriptors.
    pub fn lpa2(&self) -> bool {
        self.geometry.lpa2
    }

    /// Returns the number by which the TLB knows the guest's leaves.
    pub fn vmid(&self) -> u16 {
        self.vmid
    }

    /// Returns the number of bits of a VMID, by VTCR_EL2.VS: 8 or 16.
    pub fn vmid_bits(&self) -> u32 {
        self.vmid_bits
    }

    /// Returns the VMID in another VTTBR_EL2, of as many bits as the guest's.
    pub fn vmid_of(&self, vttbr: u64) -> u16 {
        vmid(vttbr, self.vmid_bits)
    }

    /// Returns the leaf that maps `ipa`.
    pub fn translate(&self, mem: &dyn PhysMem, ipa: u64) -> Result<Stage2Leaf, Fault> {
        let bits = self.geometry.input_bits;
        if ipa >> bits != 0 {
            return Err(Fault::OutOfRange { input: ipa, bits });
        }
        let found = self.geometry.find(mem, ipa, ipa)?;
        Ok(self.leaf(
            ipa & !(self.geometry.span(found.level) - 1),
            found.level,
            found.descriptor,
            found.output,
        ))
    }

    /// Returns true if a walk of stage 1 may read its descriptors through `leaf`: it may be read, and
    /// it is not Device memory of which HCR_EL2.PTW keeps walks away. The access flag does not count:
    /// a hypervisor clears it as RAM ages, and sets it at the next access.
    pub fn lets_walk(&self, leaf: &Stage2Leaf) -> bool {
        let is_device = leaf.attr.memory_type().is_some_and(MemoryType::is_device);
        leaf.read && !(self.protects_walks && is_device)
    }

    /// Returns every leaf, within [`Limits::default`].
    pub fn walk(&self, mem: &dyn PhysMem) -> Walk {
        self.walk_within(mem, Limits::default())
    }

    /// Returns every leaf within `limits`. An anomaly reports what is left out.
    pub fn walk_within(&self, mem: &dyn PhysMem, limits: Limits) -> Walk {
        let mut walker = Walker { stage2: self, mem, limits, seen: HashSet::new(), walk: Walk::default() };
        walker.start();
        walker.walk
    }

    fn leaf(&self, ipa: u64, level: i8, descriptor: u64, pa: u64) -> Stage2Leaf {
        let bit = |n: u32| descriptor >> n & 1 != 0;
        Stage2Leaf {
            ipa,
            pa,
            size: self.geometry.span(level),
            level,
            descriptor,
            attr: Stage2Attr::decode((descriptor >> 2 & 0b1111) as u8, self.fwb),
            read: bit(6),
            write: bit(7) || self.dirty && bit(51),
            exec: Exec::from_stage2(descriptor >> 53),
            af: bit(10),
            dbm: bit(51),
            contiguous: bit(52),
            sh: (!self.geometry.lpa2).then(|| Shareability::decode(descriptor >> 8)),
            software: (descriptor >> 55 & 0b1111) as u8,
        }
    }
}

/// Decodes SL0 and SL2, whose meaning depends on the granule (DDI 0487, VTCR_EL2.SL0).
fn vmid(vttbr: u64, bits: u32) -> u16 {
    (vttbr >> 48) as u16 & u16::MAX >> (u16::BITS - bits)
}

fn start_level(granule: Granule, sl0: u64, sl2: u64, lpa2: bool) -> Result<i8, GeometryError> {
    match (granule, sl2, sl0) {
        (Granule::K4, 0, 0b11) => Ok(3),
        (Granule::K4, 0, _) => Ok(2 - sl0 as i8),
        (Granule::K4, 1, 0b00) => Ok(-1),
        (Granule::K16, 0, 0b11) if lpa2 => Ok(0),
        (Granule::K16 | Granule::K64, 0, 0b00..=0b10) => Ok(3 - sl0 as i8),
        _ => Err(GeometryError::StartLevel { granule, sl0, sl2 }),
    }
}

struct Walker<'a> {
    stage2: &'a Stage2,
    mem: &'a dyn PhysMem,
    limits: Limits,
    /// The tables entered so far.
    seen: HashSet<u64>,
    walk: Walk,
}

/// The walk has reached [`Limits::leaves`].
struct Full;

impl Walker<'_> {
    fn start(&mut self) {
        let (geometry, raw_base) = (self.stage2.geometry, self.stage2.raw_base);
        let level = geometry.start_level;
        if raw_base != geometry.base {
            self.note(0, level, AnomalyKind::StartMisaligned { base: raw_base });
        }
        if !geometry.fits(geometry.base) {
            self.note(0, level, AnomalyKind::AddressSize { output: geometry.base });
            return;
        }
        // A start table smaller than a granule still occupies it.
        let first = geometry.base & !(geometry.granule.size() - 1);
        self.walk.tables =
            (0..self.stage2.start_tables()).map(|n| first + n * geometry.granule.size()).collect();
        self.seen.extend(&self.walk.tables);
        // The anomaly already reports `Full`.
        let _ = self.table(geometry.base, level, 0);
    }

    fn note(&mut self, ipa: u64, level: i8, kind: AnomalyKind) {
        self.walk.anomaly_count += 1;
        if self.walk.anomalies.len() < self.limits.anomalies {
            self.walk.anomalies.push(Anomaly { ipa, level, kind });
        }
    }

    fn table(&mut self, table: u64, level: i8, first_ipa: u64) -> Result<(), Full> {
        let geometry = self.stage2.geometry;
        for index in 0..geometry.entries(level) {
            let ipa = first_ipa + index * geometry.span(level);
            let Some(descriptor) = self.mem.read_u64(table + 8 * index) else {
                self.note(ipa, level, AnomalyKind::TableOutsideMemory { table });
                return Ok(());
            };
            match geometry.decode(level, descriptor) {
                Entry::Invalid => {}
                Entry::Reserved => self.note(ipa, level, AnomalyKind::ReservedDescriptor { descriptor }),
                Entry::Table(output) | Entry::Leaf { output, .. } if !geometry.fits(output) => {
                    self.note(ipa, level, AnomalyKind::AddressSize { output });
                }
                Entry::Table(next) => self.enter(next, level + 1, ipa)?,
                Entry::Leaf { output, misaligned } => {
                    if misaligned {
                        self.note(ipa, level, AnomalyKind::MisalignedBlock { descriptor });
                    }
                    if self.walk.leaves.len() >= self.limits.leaves {
                        self.note(ipa, level, AnomalyKind::TooManyLeaves);
                        return Err(Full);
                    }
                    self.walk.leaves.push(self.stage2.leaf(ipa, level, descriptor, output));
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, table: u64, level: i8, ipa: u64) -> Result<(), Full> {
        debug_assert!(level <= LAST_LEVEL);
        if self.seen.contains(&table) {
            self.note(ipa, level, AnomalyKind::TableAgain { table });
            return Ok(());
        }
        if self.walk.tables.len() >= self.limits.tables {
            self.note(ipa, level, AnomalyKind::TooManyTables);
            return Ok(());
        }
        self.seen.insert(table);
        self.walk.tables.push(table);
        self.table(table, level, ipa)
    }
}
