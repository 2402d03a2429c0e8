//! TLBI instructions that remove cached translations of a guest: decoded from the instruction, its
//! operand and the registers with which EL2 executes it (DDI 0487, C5.5, "A64 System instructions
//! for TLB maintenance").

use crate::geometry::{LAST_LEVEL, shift};
use crate::{Granule, Stage2Leaf};
use std::fmt;

/// Bits of HCR_EL2 (DDI 0487, HCR_EL2).
mod hcr {
    pub(super) const TGE: u64 = 1 << 27;
    pub(super) const E2H: u64 = 1 << 34;
}

/// A TLBI instruction as a CPU is about to execute it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tlbi {
    /// The instruction word.
    pub word: u32,
    /// The content of Xt; 0 for XZR.
    pub operand: u64,
    /// The exception level, 0 to 3.
    pub el: u8,
    /// HCR_EL2.
    pub hcr: u64,
}

/// The translations of a guest that an instruction removes from the TLBs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalidation {
    /// The mnemonic, such as `IPAS2E1IS`.
    pub name: &'static str,
    pub scope: InvalidationScope,
    /// Inner or outer shareable: it reaches the TLBs of all CPUs. Otherwise those of one CPU.
    pub broadcast: bool,
}

/// The set of translations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidationScope {
    /// Stage 2 of these IPAs, for the current VMID.
    Ipas(Ipas),
    /// Stage 1, and both stages combined, for the current VMID.
    Stage1,
    /// Both stages, for the current VMID.
    Vmid,
    /// Both stages, for all VMIDs.
    All,
}

/// The operand of an invalidation by IPA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipas {
    pub start: u64,
    /// The bytes. 1: the translation of one IPA.
    pub size: u64,
    /// The granule for which the operand is valid. None: any.
    pub granule: Option<Granule>,
    /// The level hint: the level of the leaves. None: any.
    pub level: Option<i8>,
}

/// The reason why an invalidation need not remove a leaf that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ineffective {
    /// The level hint is another level.
    Level(i8),
    /// The operand is for another granule.
    Granule(Granule),
    /// The range does not begin at a boundary of the hinted level.
    Unaligned(i8),
}

impl fmt::Display for Ineffective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(level) => write!(f, "with level hint {level}"),
            Self::Granule(granule) => write!(f, "with granule {granule}"),
            Self::Unaligned(level) => write!(f, "with level hint {level} and an unaligned base"),
        }
    }
}

/// The kinds of operands.
#[derive(Debug, Clone, Copy)]
enum Form {
    Ipa,
    Range,
    Stage1,
    Vmid,
    All,
}

/// The instructions by op1, CRm and op2 (DDI 0487, C5.5). CRn is 8, or 9 for the nXS variants.
const INSTRUCTIONS: [(u32, u32, u32, &str, Form); 21] = [
    (0, 1, 0, "VMALLE1OS", Form::Stage1),
    (0, 3, 0, "VMALLE1IS", Form::Stage1),
    (0, 7, 0, "VMALLE1", Form::Stage1),
    (4, 0, 1, "IPAS2E1IS", Form::Ipa),
    (4, 0, 2, "RIPAS2E1IS", Form::Range),
    (4, 0, 5, "IPAS2LE1IS", Form::Ipa),
    (4, 0, 6, "RIPAS2LE1IS", Form::Range),
    (4, 1, 4, "ALLE1OS", Form::All),
    (4, 1, 6, "VMALLS12E1OS", Form::Vmid),
    (4, 3, 4, "ALLE1IS", Form::All),
    (4, 3, 6, "VMALLS12E1IS", Form::Vmid),
    (4, 4, 0, "IPAS2E1OS", Form::Ipa),
    (4, 4, 1, "IPAS2E1", Form::Ipa),
    (4, 4, 2, "RIPAS2E1", Form::Range),
    (4, 4, 3, "RIPAS2E1OS", Form::Range),
    (4, 4, 4, "IPAS2LE1OS", Form::Ipa),
    (4, 4, 5, "IPAS2LE1", Form::Ipa),
    (4, 4, 6, "RIPAS2LE1", Form::Range),
    (4, 4, 7, "RIPAS2LE1OS", Form::Range),
    (4, 7, 4, "ALLE1", Form::All),
    (4, 7, 6, "VMALLS12E1", Form::Vmid),
];

/// SYS with op0 1 and L 0, without op1, CRn, CRm, op2 and Rt (DDI 0487, C6.2, SYS).
const SYS: u32 = 0xd508_0000;
const SYS_MASK: u32 = 0xfff8_0000;

fn field(word: u64, low: u32, bits: u32) -> u64 {
    word >> low & ((1 << bits) - 1)
}

impl Tlbi {
    /// Returns the translations of a guest that the instruction removes, or None if there are none.
    /// Only EL2 removes a guest's stage 2. `lpa2` is VTCR_EL2.DS of the guest.
    pub fn decode(&self, lpa2: bool) -> Option<Invalidation> {
        if self.word & SYS_MASK != SYS || self.el != 2 {
            return None;
        }
        let of = |low, bits| field(self.word.into(), low, bits) as u32;
        if !matches!(of(12, 4), 8 | 9) {
            return None;
        }
        let code = (of(16, 3), of(8, 4), of(5, 3));
        let &(.., name, form) = INSTRUCTIONS.iter().find(|(op1, crm, op2, ..)| (*op1, *crm, *op2) == code)?;
        let scope = match form {
            Form::Ipa => InvalidationScope::Ipas(one(self.operand, lpa2)),
            Form::Range => InvalidationScope::Ipas(range(self.operand, lpa2)?),
            // Otherwise the instruction is about EL2&0 (DDI 0487, C5.5, TLBI VMALLE1).
            Form::Stage1 if self.hcr & hcr::E2H != 0 && self.hcr & hcr::TGE != 0 => return None,
            Form::Stage1 => InvalidationScope::Stage1,
            Form::Vmid => InvalidationScope::Vmid,
            Form::All => InvalidationScope::All,
        };
        Some(Invalidation { name, scope, broadcast: name.ends_with("IS") || name.ends_with("OS") })
    }
}

/// Decodes the operand of IPAS2E1: TTL in bits 47:44, IPA\[51:48\] in 39:36, IPA\[47:12\] in 35:0
/// (DDI 0487, C5.5, TLBI IPAS2E1).
fn one(operand: u64, lpa2: bool) -> Ipas {
    let start = field(operand, 36, 4) << 48 | field(operand, 0, 36) << 12;
    let level = field(operand, 44, 2) as i8;
    let hint = match field(operand, 46, 2) {
        0b01 => Some((Granule::K4, if lpa2 { 0 } else { 1 })),
        0b10 => Some((Granule::K16, if lpa2 { 1 } else { 2 })),
        0b11 => Some((Granule::K64, 1)),
        _ => None,
    };
    // A reserved value is no hint.
    let hint = hint.filter(|(_, first)| level >= *first).map(|(granule, _)| (granule, level));
    let (granule, level) = hint.unzip();
    Ipas { start, size: 1, granule, level }
}

/// Decodes the operand of RIPAS2E1: TG in bits 47:46, SCALE in 45:44, NUM in 43:39, TTL in 38:37,
/// BaseADDR in 36:0 in granules, with VTCR_EL2.DS in 64K (DDI 0487, C5.5, TLBI RIPAS2E1). A reserved
/// TG removes nothing.
fn range(operand: u64, lpa2: bool) -> Option<Ipas> {
    let granule = match field(operand, 46, 2) {
        0b01 => Granule::K4,
        0b10 => Granule::K16,
        0b11 => Granule::K64,
        _ => return None,
    };
    let unit = if lpa2 { 16 } else { granule.bits() };
    let granules = (field(operand, 39, 5) + 1) << (5 * field(operand, 44, 2) + 1);
    let first = match granule {
        Granule::K16 if !lpa2 => 2,
        _ => 1,
    };
    let level = Some(field(operand, 37, 2) as i8).filter(|level| *level >= first);
    let start = field(operand, 0, 37) << unit;
    Some(Ipas { start, size: granules << granule.bits(), granule: Some(granule), level })
}

impl Ipas {
    /// Returns true if the operand has an IPA of the leaf. One IPA of a block is enough: all cached
    /// copies of a descriptor are removed (DDI 0487, D8, "TLB maintenance instructions").
    pub fn meets(&self, leaf: &Stage2Leaf) -> bool {
        self.overlaps(leaf.ipa, leaf.size)
    }

    /// Returns true if the operand has an IPA of the `size` bytes from `ipa` on.
    pub fn overlaps(&self, ipa: u64, size: u64) -> bool {
        self.start < ipa.saturating_add(size) && ipa < self.start.saturating_add(self.size)
    }

    /// Checks that the operand removes a leaf that it meets, in tables of this granule.
    pub fn removes(&self, leaf: &Stage2Leaf, granule: Granule) -> Result<(), Ineffective> {
        if let Some(other) = self.granule.filter(|hint| *hint != granule) {
            return Err(Ineffective::Granule(other));
        }
        match self.level {
            Some(level) if level != leaf.level => Err(Ineffective::Level(level)),
            // "No entries are required to be invalidated" (DDI 0487, C5.5, TLBI RIPAS2E1, TTL).
            Some(level) if self.size > 1 && level < LAST_LEVEL => {
                match self.start & ((1 << shift(granule, level)) - 1) {
                    0 => Ok(()),
                    _ => Err(Ineffective::Unaligned(level)),
                }
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Ipas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            1 => write!(f, "IPA {:#x}", self.start),
            size => write!(f, "IPA {:#x}..{:#x}", self.start, self.start.saturating_add(size)),
        }?;
        match self.level {
            Some(level) => write!(f, ", level hint {level}"),
            None => f.write_str(", no level hint"),
        }
    }
}
