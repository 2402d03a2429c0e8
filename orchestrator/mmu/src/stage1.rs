//! Stage 1 at EL1 and EL0: from a guest's virtual addresses to its physical ones (IPAs).

use crate::geometry::{Found, Geometry};
use crate::{Exec, Fault, GeometryError, Granule, MemoryType, PhysMem, Shareability, Stage1Attr, TypeAttr};

/// Bits of SCTLR_EL1 (DDI 0487, SCTLR_EL1).
mod sctlr {
    pub(super) const M: u64 = 1 << 0;
    pub(super) const C: u64 = 1 << 2;
    pub(super) const EE: u64 = 1 << 25;
}

/// HCR_EL2.DC (DDI 0487, HCR_EL2).
const HCR_DC: u64 = 1 << 12;

/// Bits of TCR_EL1 (DDI 0487, TCR_EL1). In pairs the one for TTBR0_EL1 comes first.
mod tcr {
    pub(super) const TSZ_SHIFT: [u32; 2] = [0, 16];
    pub(super) const EPD: [u64; 2] = [1 << 7, 1 << 23];
    pub(super) const TG_SHIFT: [u32; 2] = [14, 30];
    pub(super) const IPS_SHIFT: u32 = 32;
    pub(super) const TBI: [u64; 2] = [1 << 37, 1 << 38];
    pub(super) const HPD: [u64; 2] = [1 << 41, 1 << 42];
    pub(super) const DS: u64 = 1 << 59;
}

/// The registers that define how a guest's virtual addresses are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage1 {
    ttbr: [u64; 2],
    tcr: u64,
    mair: u64,
    sctlr: u64,
    /// HCR_EL2.DC.
    default_cacheable: bool,
}

/// The block or page that maps a virtual address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage1Leaf {
    /// The first address of the block or page, without a tag in the top byte.
    pub va: u64,
    pub ipa: u64,
    /// The size in bytes. With the MMU off it is that of the smallest page.
    pub size: u64,
    /// The level, or None with the MMU off, which looks nothing up.
    pub level: Option<i8>,
    /// The word in the table, or None with the MMU off.
    pub descriptor: Option<u64>,
    pub attr: Stage1Attr,
    /// EL0 may access it: AP\[1\] is set, and no APTable\[0\] on the way.
    pub user: bool,
    /// It may be written: AP\[2\] is clear, and APTable\[1\] on the way.
    pub write: bool,
    pub exec: Exec,
    /// Access flag.
    pub af: bool,
    /// The shareability, or None with FEAT_LPA2's descriptors and with the MMU off.
    pub sh: Option<Shareability>,
}

impl Stage1Leaf {
    /// Returns the IPA of `va`, whose top byte may have a tag, or None if this leaf does not map
    /// it.
    pub fn ipa_of(&self, va: u64) -> Option<u64> {
        let offset = va.wrapping_sub(self.va) & UNTAGGED;
        (offset < self.size).then_some(self.ipa + offset)
    }
}

/// The bits of a virtual address with the MMU off: as many as a physical address can have.
const FLAT_BITS: u32 = 52;

/// All but the top byte.
const UNTAGGED: u64 = u64::MAX >> 8;

impl Stage1 {
    /// Takes TTBR0_EL1, TTBR1_EL1, TCR_EL1, MAIR_EL1 and SCTLR_EL1 unchecked. [`Self::translate`]
    /// checks them for the half of the address space that it needs, because one half may be valid
    /// without the other.
    pub fn new(ttbr0: u64, ttbr1: u64, tcr: u64, mair: u64, sctlr: u64) -> Self {
        Self { ttbr: [ttbr0, ttbr1], tcr, mair, sctlr, default_cacheable: false }
    }

    /// Returns the same stage under this HCR_EL2. Its DC bit turns the MMU off and makes all of
    /// memory Normal-WB.
    #[must_use]
    pub fn under(self, hcr: u64) -> Self {
        Self { default_cacheable: hcr & HCR_DC != 0, ..self }
    }

    /// Returns the leaf that maps `va`. `mem` is addressed by IPA: see
    /// [`ThroughStage2`](crate::ThroughStage2).
    pub fn translate(&self, mem: &dyn PhysMem, va: u64) -> Result<Stage1Leaf, Fault> {
        // Bit 55 chooses the half, with and without a tag.
        let half = (va >> 55 & 1) as usize;
        let sign_extended = if half == 1 { va | !UNTAGGED } else { va & UNTAGGED };
        let untagged = if self.tcr & tcr::TBI[half] != 0 { sign_extended } else { va };
        if self.default_cacheable || self.sctlr & sctlr::M == 0 {
            let memory_type =
                if self.default_cacheable { MemoryType::NormalWB } else { MemoryType::DeviceNGnRnE };
            return flat(untagged, memory_type).ok_or(Fault::OutOfRange { input: va, bits: FLAT_BITS });
        }
        if self.tcr & tcr::EPD[half] != 0 {
            return Err(Fault::Disabled { input: va });
        }
        let geometry = self.geometry(half).map_err(|error| Fault::Geometry { input: va, error })?;
        let bits = geometry.input_bits;
        let above = untagged >> bits;
        if above != if half == 1 { u64::MAX >> bits } else { 0 } {
            return Err(Fault::OutOfRange { input: va, bits });
        }
        let found = geometry.find(mem, untagged & (u64::MAX >> (64 - bits)), va)?;
        Ok(self.leaf(&geometry, half, untagged, found))
    }

    fn geometry(&self, half: usize) -> Result<Geometry, GeometryError> {
        if self.sctlr & sctlr::EE != 0 {
            return Err(GeometryError::BigEndian);
        }
        let tg = self.tcr >> tcr::TG_SHIFT[half];
        let granule = if half == 0 { Granule::from_tg0(tg)? } else { Granule::from_tg1(tg)? };
        let (ds, ps) = (self.tcr & tcr::DS != 0, self.tcr >> tcr::IPS_SHIFT);
        Geometry::of_stage1(granule, self.tcr >> tcr::TSZ_SHIFT[half], ds, ps, self.ttbr[half])
    }

    /// Returns the attribute for data that AttrIndx `index` selects. With SCTLR_EL1.C clear, no
    /// Normal memory is cacheable.
    fn attr(&self, index: u32) -> Stage1Attr {
        match Stage1Attr::decode((self.mair >> (8 * index)) as u8) {
            attr if self.sctlr & sctlr::C != 0 => attr,
            Stage1Attr::Type(of) if of.inner().is_device() => Stage1Attr::Type(of),
            Stage1Attr::Reserved(field) => Stage1Attr::Reserved(field),
            Stage1Attr::Type(_) | Stage1Attr::TaggedWriteBack => {
                Stage1Attr::Type(TypeAttr::pure(MemoryType::NormalNC))
            }
        }
    }

    fn leaf(&self, geometry: &Geometry, half: usize, va: u64, found: Found) -> Stage1Leaf {
        let Found { level, descriptor, output, tables } = found;
        // Hierarchical permissions: PXNTable 59, UXNTable 60, APTable 62:61.
        let tables = if self.tcr & tcr::HPD[half] != 0 { 0 } else { tables };
        let bit = |word: u64, n: u32| word >> n & 1 != 0;
        let user = bit(descriptor, 6) && !bit(tables, 61);
        let write = !bit(descriptor, 7) && !bit(tables, 62);
        let index = (descriptor >> 2 & 0b111) as u32;
        Stage1Leaf {
            va: va & !(geometry.span(level) - 1),
            ipa: output,
            size: geometry.span(level),
            level: Some(level),
            descriptor: Some(descriptor),
            attr: self.attr(index),
            user,
            write,
            exec: Exec {
                // EL0 may execute what it may not read: Linux's PAGE_EXECONLY has no PTE_USER.
                el0: !bit(descriptor, 54) && !bit(tables, 60),
                // EL1 never executes what EL0 may write (DDI 0487, D8, "Memory access control").
                el1: !(bit(descriptor, 53) || bit(tables, 59) || (user && write)),
            },
            af: bit(descriptor, 10),
            sh: (!geometry.lpa2).then(|| Shareability::decode(descriptor >> 8)),
        }
    }
}

/// Returns the leaf with the MMU off: IPA = VA. Data has the type Device-nGnRnE, or Normal-WB with
/// HCR_EL2.DC (DDI 0487, D8, "The effects of disabling an address translation stage").
fn flat(va: u64, memory_type: MemoryType) -> Option<Stage1Leaf> {
    if va >> FLAT_BITS != 0 {
        return None;
    }
    let page = va & !(Granule::K4.size() - 1);
    Some(Stage1Leaf {
        va: page,
        ipa: page,
        size: Granule::K4.size(),
        level: None,
        descriptor: None,
        attr: Stage1Attr::Type(TypeAttr::pure(memory_type)),
        user: true,
        write: true,
        exec: Exec { el0: true, el1: true },
        af: true,
        sh: None,
    })
}
