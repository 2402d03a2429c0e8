//! Memory attributes of the two stages, and their combination (DDI 0487, D8, "Memory region
//! attributes").

use crate::MemoryType::{self, *};
use std::fmt;

/// A memory type that an attribute field can encode: one of the seven, or Normal memory whose inner
/// and outer cacheability differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeAttr {
    // Equal to `outer` if Device.
    inner: MemoryType,
    outer: MemoryType,
}

impl TypeAttr {
    /// The attribute whose inner and outer types are the same.
    pub const fn pure(memory_type: MemoryType) -> Self {
        Self { inner: memory_type, outer: memory_type }
    }

    /// Returns the memory type, or None if inner and outer cacheability differ.
    pub fn memory_type(self) -> Option<MemoryType> {
        (self.inner == self.outer).then_some(self.inner)
    }

    /// Returns the inner cacheability of Normal memory, or the Device type.
    pub const fn inner(self) -> MemoryType {
        self.inner
    }

    /// Returns the outer cacheability of Normal memory, or the Device type.
    pub const fn outer(self) -> MemoryType {
        self.outer
    }

    /// Returns the stricter of both: Device beats Normal, nG beats G, nR beats R, nE beats E; NC
    /// beats WT beats WB, separately for inner and outer.
    fn strictest(self, other: Self) -> Self {
        Self { inner: self.inner.min(other.inner), outer: self.outer.min(other.outer) }
    }
}

impl From<MemoryType> for TypeAttr {
    fn from(memory_type: MemoryType) -> Self {
        Self::pure(memory_type)
    }
}

impl fmt::Display for TypeAttr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.memory_type() {
            Some(t) => t.fmt(f),
            None => f.pad(&format!("inner {} outer {}", self.inner, self.outer)),
        }
    }
}

/// Decodes the Device type of a two-bit field: MemAttr\[1:0\] of stage 2, `dd` of MAIR.
fn device(dd: u8) -> TypeAttr {
    const DEVICE: [MemoryType; 4] = [DeviceNGnRnE, DeviceNGnRE, DeviceNGRE, DeviceGRE];
    TypeAttr::pure(DEVICE[usize::from(dd & 0b11)])
}

/// A decoded MemAttr field of a stage-2 leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage2Attr {
    /// A type. The stricter one of it and stage 1's type counts. Without FEAT_S2FWB this is every
    /// value (MemAttr 0b1111, Normal-WB, leaves the choice to stage 1). With FEAT_S2FWB it is the
    /// Device types and Normal-NC (R_GSDKZ).
    Type(TypeAttr),
    /// With FEAT_S2FWB, 0b0110: Normal-WB whatever stage 1 has, even Device.
    ForcedWriteBack,
    /// With FEAT_S2FWB, 0b0111: the type of stage 1.
    AsStage1,
    /// A value that the architecture reserves (or assigns to FEAT_MTE_PERM).
    Reserved(u8),
}

impl Stage2Attr {
    /// Decodes MemAttr\[3:0\], bits 5:2 of a leaf descriptor, under the given HCR_EL2.FWB (DDI
    /// 0487, D8, "Stage 2 memory type and Cacheability attributes").
    pub fn decode(mem_attr: u8, fwb: bool) -> Self {
        let mem_attr = mem_attr & 0b1111;
        match (fwb, mem_attr) {
            (_, 0b0000..=0b0011) => Self::Type(device(mem_attr)),
            (true, 0b0101) => Self::Type(TypeAttr::pure(NormalNC)),
            (true, 0b0110) => Self::ForcedWriteBack,
            (true, 0b0111) => Self::AsStage1,
            (true, _) => Self::Reserved(mem_attr),
            (false, _) => match (cacheability(mem_attr >> 2), cacheability(mem_attr)) {
                (Some(outer), Some(inner)) => Self::Type(TypeAttr { inner, outer }),
                _ => Self::Reserved(mem_attr),
            },
        }
    }

    /// Returns the type that stage 2 names. Returns None for [`Self::AsStage1`], [`Self::Reserved`]
    /// and mixed types.
    pub fn memory_type(self) -> Option<MemoryType> {
        match self {
            Self::Type(t) => t.memory_type(),
            Self::ForcedWriteBack => Some(NormalWB),
            Self::AsStage1 | Self::Reserved(_) => None,
        }
    }
}

/// Decodes two bits of stage 2's MemAttr without FEAT_S2FWB, for Normal memory.
fn cacheability(bits: u8) -> Option<MemoryType> {
    match bits & 0b11 {
        0b01 => Some(NormalNC),
        0b10 => Some(NormalWT),
        0b11 => Some(NormalWB),
        _ => None,
    }
}

impl fmt::Display for Stage2Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(t) => t.fmt(f),
            Self::ForcedWriteBack => NormalWB.fmt(f),
            Self::AsStage1 => f.pad("as stage 1"),
            Self::Reserved(bits) => f.pad(&format!("reserved MemAttr {bits:#06b}")),
        }
    }
}

/// A decoded field of MAIR_EL1, which the AttrIndx of a stage-1 leaf selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage1Attr {
    Type(TypeAttr),
    /// 0xf0: Normal-WB with allocation tags (FEAT_MTE2).
    TaggedWriteBack,
    /// A value whose effect the architecture does not define.
    Reserved(u8),
}

impl Stage1Attr {
    /// Decodes one of MAIR_EL1's eight fields (DDI 0487, MAIR_EL1). Drops hints (allocate,
    /// transient, XS).
    pub fn decode(field: u8) -> Self {
        match field {
            // Odd: without XS (FEAT_XS).
            0b0000_0000..=0b0000_1111 if field & 0b10 == 0 => Self::Type(device(field >> 2)),
            0x40 => Self::Type(TypeAttr::pure(NormalNC)),
            0xa0 => Self::Type(TypeAttr::pure(NormalWT)),
            0xf0 => Self::TaggedWriteBack,
            _ => match (mair_cacheability(field >> 4), mair_cacheability(field & 0xf)) {
                (Some(outer), Some(inner)) => Self::Type(TypeAttr { inner, outer }),
                _ => Self::Reserved(field),
            },
        }
    }

    /// Returns the type that stage 1 names.
    pub fn memory_type(self) -> Option<MemoryType> {
        self.type_attr().and_then(TypeAttr::memory_type)
    }

    fn type_attr(self) -> Option<TypeAttr> {
        match self {
            Self::Type(t) => Some(t),
            Self::TaggedWriteBack => Some(TypeAttr::pure(NormalWB)),
            Self::Reserved(_) => None,
        }
    }
}

impl fmt::Display for Stage1Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(t) => t.fmt(f),
            Self::TaggedWriteBack => f.pad("Normal-WB tagged"),
            Self::Reserved(field) => f.pad(&format!("reserved MAIR field {field:#04x}")),
        }
    }
}

/// Decodes half a field of MAIR: `0b00RW` WT transient, `0b0100` NC, `0b01RW` WB transient,
/// `0b10RW` WT, `0b11RW` WB.
fn mair_cacheability(nibble: u8) -> Option<MemoryType> {
    match nibble {
        0b0001..=0b0011 | 0b1000..=0b1011 => Some(NormalWT),
        0b0100 => Some(NormalNC),
        0b0101..=0b0111 | 0b1100..=0b1111 => Some(NormalWB),
        _ => None,
    }
}

/// Returns the effective attribute of an access that passes both stages (DDI 0487, D8, "Combining
/// stage 1 and stage 2 memory type attributes"). Returns None if a stage's value is reserved.
///
/// HCR_EL2.FWB is no argument: [`Stage2Attr`] already depends on it.
pub fn combine_attributes(stage1: Stage1Attr, stage2: Stage2Attr) -> Option<TypeAttr> {
    let stage1 = stage1.type_attr()?;
    match stage2 {
        Stage2Attr::Type(stage2) => Some(stage1.strictest(stage2)),
        Stage2Attr::ForcedWriteBack => Some(TypeAttr::pure(NormalWB)),
        Stage2Attr::AsStage1 => Some(stage1),
        Stage2Attr::Reserved(_) => None,
    }
}

/// Returns the effective type of an access that passes both stages: that of [`combine_attributes`],
/// or None if its inner and outer cacheability differ.
pub fn combine(stage1: Stage1Attr, stage2: Stage2Attr) -> Option<MemoryType> {
    combine_attributes(stage1, stage2).and_then(TypeAttr::memory_type)
}

/// The exception levels of the guest at which a page may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exec {
    pub el0: bool,
    pub el1: bool,
}

impl Exec {
    pub const NEVER: Exec = Exec { el0: false, el1: false };
    /// All values, by XN\[1:0\].
    pub const ALL: [Exec; 4] = [
        Exec { el0: true, el1: true },
        Exec { el0: true, el1: false },
        Exec::NEVER,
        Exec { el0: false, el1: true },
    ];

    /// Decodes XN\[1:0\], bits 54:53 of a stage-2 leaf, as FEAT_XNX defines them. Without FEAT_XNX
    /// bit 53 is RES0 and bit 54 applies to both levels, which decodes to the same; KVM before 7.0
    /// uses bit 54 only.
    pub(crate) fn from_stage2(xn: u64) -> Self {
        match xn & 0b11 {
            0b00 => Exec { el0: true, el1: true },
            0b01 => Exec { el0: true, el1: false },
            0b10 => Exec::NEVER,
            _ => Exec { el0: false, el1: true },
        }
    }

    /// Returns true if no exception level may execute the page.
    pub fn is_never(self) -> bool {
        self == Self::NEVER
    }
}

impl fmt::Display for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match (self.el0, self.el1) {
            (true, true) => "exec",
            (true, false) => "exec-el0",
            (false, true) => "exec-el1",
            (false, false) => "never-exec",
        })
    }
}

/// SH\[1:0\] of a leaf. It has no effect on Device and non-cacheable memory, which is always outer
/// shareable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shareability {
    Non,
    Reserved,
    Outer,
    Inner,
}

impl Shareability {
    /// All values, by SH\[1:0\].
    pub const ALL: [Shareability; 4] = [Self::Non, Self::Reserved, Self::Outer, Self::Inner];

    pub(crate) fn decode(sh: u64) -> Self {
        match sh & 0b11 {
            0b00 => Self::Non,
            0b01 => Self::Reserved,
            0b10 => Self::Outer,
            _ => Self::Inner,
        }
    }
}

impl fmt::Display for Shareability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Non => "non",
            Self::Reserved => "reserved",
            Self::Outer => "outer",
            Self::Inner => "inner",
        })
    }
}
