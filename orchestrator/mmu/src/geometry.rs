//! The common part of both stages: granules, levels, and the decoding of a descriptor at its level
//! (DDI 0487, D8, "Translation process" and "Translation table descriptor formats").

use crate::PhysMem;
use std::fmt;
use thiserror::Error;

/// The last level: its leaves are pages.
pub(crate) const LAST_LEVEL: i8 = 3;
const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
/// nT, bit 16 of a block (FEAT_BBM): not an address bit.
pub(crate) const BLOCK_NT: u64 = 1 << 16;

/// The size of a page and of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granule {
    K4,
    K16,
    K64,
}

impl Granule {
    /// log2 of the size in bytes.
    pub const fn bits(self) -> u32 {
        match self {
            Self::K4 => 12,
            Self::K16 => 14,
            Self::K64 => 16,
        }
    }

    /// The size in bytes.
    pub const fn size(self) -> u64 {
        1 << self.bits()
    }

    /// The number of address bits that one level resolves.
    pub(crate) const fn stride(self) -> u32 {
        self.bits() - 3
    }

    /// Decodes VTCR_EL2.TG0 and TCR_EL1.TG0.
    pub(crate) fn from_tg0(tg0: u64) -> Result<Self, GeometryError> {
        match tg0 & 0b11 {
            0b00 => Ok(Self::K4),
            0b01 => Ok(Self::K64),
            0b10 => Ok(Self::K16),
            _ => Err(GeometryError::Granule { field: "TG0", value: 0b11 }),
        }
    }

    /// Decodes TCR_EL1.TG1.
    pub(crate) fn from_tg1(tg1: u64) -> Result<Self, GeometryError> {
        match tg1 & 0b11 {
            0b01 => Ok(Self::K16),
            0b10 => Ok(Self::K4),
            0b11 => Ok(Self::K64),
            _ => Err(GeometryError::Granule { field: "TG1", value: 0b00 }),
        }
    }
}

impl fmt::Display for Granule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::K4 => "4K",
            Self::K16 => "16K",
            Self::K64 => "64K",
        })
    }
}

/// The reason why registers describe no translation tables.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GeometryError {
    #[error("stage 2 is off: HCR_EL2.VM is 0")]
    Stage2Off,
    #[error("{field} {value:#04b} is a reserved granule")]
    Granule { field: &'static str, value: u64 },
    #[error("{bits} address bits; {granule} tables can have {min} to {max} here")]
    InputBits { bits: u32, granule: Granule, min: u32, max: u32 },
    #[error("SL2 {sl2}, SL0 {sl0:#04b} name no start level of {granule} tables")]
    StartLevel { granule: Granule, sl0: u64, sl2: u64 },
    #[error("SCTLR_EL1.EE is 1: big-endian tables are not supported")]
    BigEndian,
}

/// The reason why an address is not mapped, and what the MMU would raise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// Translation fault.
    #[error("{input:#x} does not fit the {bits} bits of the input address")]
    OutOfRange { input: u64, bits: u32 },
    /// Translation fault; TCR_EL1.EPD0 or EPD1.
    #[error("{input:#x}: walks of this half of the address space are disabled")]
    Disabled { input: u64 },
    /// Translation fault.
    #[error("{input:#x} is not mapped: level {level} descriptor {descriptor:#x} is invalid")]
    Translation { input: u64, level: i8, descriptor: u64 },
    /// Translation fault.
    #[error("{input:#x}: level {level} descriptor {descriptor:#x} is of a reserved kind")]
    Reserved { input: u64, level: i8, descriptor: u64 },
    /// Address size fault.
    #[error("{input:#x}: level {level} leads to {output:#x}, beyond {bits} bits of physical address")]
    AddressSize { input: u64, level: i8, output: u64, bits: u32 },
    /// Synchronous external abort on a walk, or a stage-2 fault if the tables are a guest's.
    #[error("{input:#x}: nothing at {at:#x}, where the level {level} descriptor should be")]
    NoMemory { input: u64, level: i8, at: u64 },
    #[error("{input:#x}: {error}")]
    Geometry { input: u64, error: GeometryError },
}

/// The shape of one tree of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub granule: Granule,
    pub input_bits: u32,
    pub output_bits: u32,
    pub start_level: i8,
    /// First byte of the start table.
    pub base: u64,
    /// FEAT_LPA2's descriptor format (DS=1): 52-bit addresses, no SH.
    pub lpa2: bool,
}

/// A descriptor, decoded at its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Invalid,
    /// A block at a level without blocks, or a level-3 descriptor that is not a page.
    Reserved,
    Table(u64),
    Leaf {
        output: u64,
        /// Set if address bits below the block's size are set, which the MMU ignores.
        misaligned: bool,
    },
}

/// The place of the descriptor that maps an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub level: i8,
    pub descriptor: u64,
    pub output: u64,
    /// All descriptors on the way, or'ed, for stage 1's hierarchical permissions.
    pub tables: u64,
}

/// Decodes VTCR_EL2.PS and TCR_EL1.IPS to a number of bits. 0b111 (56 bits) needs FEAT_D128 and
/// means 52 without it.
fn physical_bits(ps: u64) -> u32 {
    match ps & 0b111 {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        _ => 52,
    }
}

impl Geometry {
    /// Makes the geometry of the tables of stage 1 at `ttbr`. `tsz` is TxSZ, `ds` is DS, and `ps` is the PS
    /// or IPS field.
    pub(crate) fn of_stage1(
        granule: Granule,
        tsz: u64,
        ds: bool,
        ps: u64,
        ttbr: u64,
    ) -> Result<Self, GeometryError> {
        // RES0 with 64K tables.
        let lpa2 = ds && granule != Granule::K64;
        let bits = 64 - (tsz & 0x3f) as u32;
        // FEAT_TTST: TxSZ up to 48, 47 with 64K tables. FEAT_LVA, FEAT_LPA2: from 12, else 16.
        let min = if granule == Granule::K64 { 17 } else { 16 };
        let max = if lpa2 || granule == Granule::K64 { 52 } else { 48 };
        if !(min..=max).contains(&bits) {
            return Err(GeometryError::InputBits { bits, granule, min, max });
        }
        let start_level = LAST_LEVEL - ((bits - 1 - granule.bits()) / granule.stride()) as i8;
        Ok(Self::new(granule, bits, start_level, lpa2, ps, ttbr))
    }

    /// Makes the geometry of the tables at `register`, a VTTBR or TTBR; `ps` is the PS or IPS
    /// field. The caller has checked `start_level` and `input_bits`.
    pub(crate) fn new(
        granule: Granule,
        input_bits: u32,
        start_level: i8,
        lpa2: bool,
        ps: u64,
        register: u64,
    ) -> Self {
        let wide = lpa2 || granule == Granule::K64;
        let output_bits = physical_bits(ps).min(if wide { 52 } else { 48 });
        let mut geometry = Self { granule, input_bits, output_bits, start_level, base: 0, lpa2 };
        geometry.base = geometry.raw_base(register) & !(geometry.start_size() - 1);
        geometry
    }

    /// Returns the address in a VTTBR or TTBR: BADDR\[47:1\]; with 52-bit addresses \[47:6\], and
    /// \[51:48\] in bits 5:2.
    pub(crate) fn raw_base(&self, register: u64) -> u64 {
        const BADDR: u64 = 0x0000_ffff_ffff_fffe;
        if self.output_bits == 52 {
            (register & BADDR & !0x3f) | (register & 0x3c) << 46
        } else {
            register & BADDR
        }
    }

    /// Returns the bytes of the start table, or of all concatenated ones. The start table is
    /// aligned to that.
    pub(crate) fn start_size(&self) -> u64 {
        8 * self.entries(self.start_level)
    }

    /// Returns the number of descriptors in a table at `level`.
    pub(crate) fn entries(&self, level: i8) -> u64 {
        if level == self.start_level {
            1 << (self.input_bits - self.shift(level))
        } else {
            1 << self.granule.stride()
        }
    }

    /// Returns log2 of the bytes that one descriptor at `level` maps.
    pub(crate) fn shift(&self, level: i8) -> u32 {
        shift(self.granule, level)
    }

    /// Returns the bytes that one descriptor at `level` maps.
    pub(crate) fn span(&self, level: i8) -> u64 {
        1 << self.shift(level)
    }

    pub(crate) fn fits(&self, output: u64) -> bool {
        output >> self.output_bits == 0
    }

    /// Decodes `descriptor` at `level`. [`Self::fits`] checks the address.
    pub(crate) fn decode(&self, level: i8, descriptor: u64) -> Entry {
        if descriptor & VALID == 0 {
            return Entry::Invalid;
        }
        let address = self.address(descriptor);
        match (descriptor & TABLE_OR_PAGE != 0, level == LAST_LEVEL) {
            (true, true) => Entry::Leaf { output: address, misaligned: false },
            (true, false) => Entry::Table(address),
            (false, false) if self.block_allowed(level) => {
                let low = self.span(level) - 1;
                Entry::Leaf { output: address & !low, misaligned: address & low & !BLOCK_NT != 0 }
            }
            (false, _) => Entry::Reserved,
        }
    }

    /// Returns the address in a table, block or page descriptor, aligned to the granule.
    fn address(&self, descriptor: u64) -> u64 {
        let field = |low: u32, high: u32| descriptor & (u64::MAX >> (63 - high)) & (u64::MAX << low);
        let granule = self.granule.bits();
        match (self.lpa2, self.granule) {
            (true, _) => field(granule, 49) | field(8, 9) << 42,
            (false, Granule::K64) if self.output_bits > 48 => field(granule, 47) | field(12, 15) << 36,
            (false, _) => field(granule, 47),
        }
    }

    /// Returns true if blocks exist at `level` (DDI 0487, table "Block and page sizes").
    fn block_allowed(&self, level: i8) -> bool {
        let first = match self.granule {
            Granule::K4 if self.lpa2 => 0,
            Granule::K4 => 1,
            Granule::K16 if self.lpa2 => 1,
            Granule::K64 if self.output_bits > 48 => 1,
            Granule::K16 | Granule::K64 => 2,
        };
        (first..LAST_LEVEL).contains(&level)
    }

    /// Follows the tables to the leaf for `input`, which fits `input_bits`. Faults call the input
    /// `named`.
    pub(crate) fn find(&self, mem: &dyn PhysMem, input: u64, named: u64) -> Result<Found, Fault> {
        let size = |level, output| {
            let fault = Fault::AddressSize { input: named, level, output, bits: self.output_bits };
            if self.fits(output) { Ok(()) } else { Err(fault) }
        };
        // A start table out of reach is a fault at level 0 (DDI 0487, J1.1.5, "AArch64.S1Walk").
        size(0, self.base)?;
        let (mut table, mut tables) = (self.base, 0);
        for level in self.start_level..=LAST_LEVEL {
            let at = table + 8 * ((input >> self.shift(level)) & (self.entries(level) - 1));
            let descriptor = mem.read_u64(at).ok_or(Fault::NoMemory { input: named, level, at })?;
            match self.decode(level, descriptor) {
                Entry::Invalid => return Err(Fault::Translation { input: named, level, descriptor }),
                Entry::Reserved => return Err(Fault::Reserved { input: named, level, descriptor }),
                Entry::Leaf { output, .. } => {
                    size(level, output)?;
                    return Ok(Found { level, descriptor, output, tables });
                }
                Entry::Table(next) => {
                    size(level, next)?;
                    (table, tables) = (next, tables | descriptor);
                }
            }
        }
        // Unreachable: level 3 has no tables.
        Err(Fault::Reserved { input: named, level: LAST_LEVEL, descriptor: 0 })
    }
}

/// Returns log2 of the bytes that one descriptor at `level` (-1 to 3) maps.
pub(crate) fn shift(granule: Granule, level: i8) -> u32 {
    granule.bits() + granule.stride() * (LAST_LEVEL - level).unsigned_abs() as u32
}
