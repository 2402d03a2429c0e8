//! Known differences between the CPU's answers and the walk's: `docs/judge.md` has the same table.

use crate::{
    answer::{Answer, Status, Type},
    compare::{Case, FWB},
    walk::{self, Change, Memory},
};
use s2lab_judge_records::Regime;
use s2lab_mmu::MemoryType::{self, DeviceGRE, DeviceNGRE, DeviceNGnRE, DeviceNGnRnE};
use std::fmt;

const PTW: u64 = 1 << 2;
/// PARange, PS and IPS of 52 bits.
const PA_52: u64 = 6;
/// Bits 9:8 of a descriptor of FEAT_LPA2, bits 51:50 of an address.
const LPA2_HIGH: u64 = 0b11 << 8;
/// The bits of an address in a descriptor without FEAT_LPA2.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const SCTLR_C: u64 = 1 << 2;

/// A version of QEMU, such as 10.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A known difference.
#[derive(Debug, Clone, Copy)]
pub struct Deviation {
    pub name: &'static str,
    /// The file of QEMU and the function, or the registers that the walk does not have.
    pub source: &'static str,
    /// The first version that was seen without it.
    pub mended: Option<Version>,
    /// Returns true if it explains this very answer.
    pub(crate) explains: fn(&Case<'_>) -> bool,
}

/// The first version of QEMU that was seen to answer about an access that stage 2 refuses. 10.0
/// ends with a failed assertion (target/arm/helper.c, do_ats_write).
pub const REFUSALS: Version = Version(11, 1);

/// All known differences.
const ALL: [Deviation; 10] = [
    Deviation {
        name: "with HCR_EL2.FWB, a Device type of stage 2 replaces that of stage 1",
        source: "target/arm/ptw.c, combined_attrs_fwb",
        mended: None,
        explains: |case| {
            let device = case.regime.hcr & FWB != 0 && case.mem_attr() < 4;
            device && case.has_type(DEVICES[usize::from(case.mem_attr() & 3)])
        },
    },
    Deviation {
        name: "Device and Normal memory are combined as if the low half of Normal's encoding were Device's",
        source: "target/arm/ptw.c, combined_attrs_nofwb",
        mended: None,
        explains: |case| case.regime.hcr & FWB == 0 && is_lowest_nibble(case),
    },
    Deviation {
        name: "FEAT_XS's encodings 0x40 and 0xa0 of Normal memory are taken as two halves",
        source: "target/arm/ptw.c, combine_cacheattr_nibble, combine_cacheattrs",
        mended: None,
        explains: |case| matches!(case.stage1_field(), 0x40 | 0xa0) && case.is_same_page(),
    },
    Deviation {
        name: "a walk of stage 1 that HCR_EL2.PTW refuses has a fault of level 0",
        source: "target/arm/ptw.c, S1_ptw_translate",
        mended: None,
        explains: |case| match (case.ours.answer, case.cpus) {
            (
                Answer::Fault { status, stage2: true, walk: true },
                Answer::Fault { status: cpus, stage2: true, walk: true },
            ) => case.regime.hcr & PTW != 0 && status.is_permission() && cpus == Status::permission(0),
            _ => false,
        },
    },
    Deviation {
        name: "no register of a guest says that the CPU has 52 bits of address: blocks of 64K tables at level 1",
        source: "DDI 0487, AArch64.BlockDescSupported: by ID_AA64MMFR0_EL1.PARange; the walk goes by PS and IPS",
        mended: None,
        explains: |case| {
            let Answer::Fault { status, stage2, walk } = case.ours.answer else { return false };
            let (granule, size) = match stage2 || walk {
                true => (case.has_64k_at_stage2(), case.regime.vtcr >> 16 & 0b111),
                false => (case.has_64k_at_stage1(), case.regime.tcr >> 32 & 0b111),
            };
            status == Status::translation(1) && granule && size < PA_52 && case.features & 0xf == PA_52
        },
    },
    Deviation {
        name: "no register of a guest says how many bits of address the CPU has: the limit with the MMU off",
        source: "DDI 0487, AArch64.S1DisabledOutput: by ID_AA64MMFR0_EL1.PARange; the walk goes by 52",
        mended: None,
        explains: |case| {
            let off =
                case.ours.stage1.is_some_and(|leaf| leaf.level.is_none() && leaf.va >> case.pa_bits() != 0);
            let size = Answer::Fault { status: Status::address_size(0), stage2: false, walk: false };
            off && case.cpus == size
        },
    },
    Deviation {
        name: "with FEAT_LPA2's descriptors and less than 52 bits of output, bits 51:50 of an address are ignored",
        source: "target/arm/ptw.c, get_phys_addr_lpae",
        mended: None,
        explains: |case| {
            let (tcr, vtcr) = (case.regime.tcr, case.regime.vtcr);
            let stage1 = tcr >> 59 & 1 != 0 && !case.has_64k_at_stage1() && tcr >> 32 & 0b111 < PA_52;
            let stage2 = vtcr >> 32 & 1 != 0 && !case.has_64k_at_stage2() && vtcr >> 16 & 0b111 < PA_52;
            let change = |is_narrow: bool| -> Change {
                if is_narrow { |descriptor| descriptor & !LPA2_HIGH } else { |descriptor| descriptor }
            };
            case.with([stage1, stage2].map(change))
        },
    },
    Deviation {
        name: "address bits below the size of a block are ignored, but must be within PS or IPS",
        source: "target/arm/ptw.c, get_phys_addr_lpae",
        mended: None,
        explains: |case| {
            let second = case.ours.stage2.map(|leaf| (leaf.level, leaf.size, leaf.descriptor, true));
            let first =
                case.ours.stage1.and_then(|leaf| Some((leaf.level?, leaf.size, leaf.descriptor?, false)));
            second.into_iter().chain(first).any(|(level, size, descriptor, stage2)| {
                let status = Status::address_size(level);
                let ignored = descriptor & (size - 1) & ADDRESS;
                ignored >> 32 != 0 && case.cpus == Answer::Fault { status, stage2, walk: false }
            })
        },
    },
    Deviation {
        name: "the address of a start table of less than 64 bytes keeps bits of TTBR that hold its bits 51:48",
        source: "target/arm/ptw.c, get_phys_addr_lpae",
        mended: Some(Version(11, 1)),
        explains: |case| {
            let half = case.address >> 55 & 1;
            let (ttbr, size) = match half {
                0 => (case.regime.ttbr0, case.regime.tcr),
                _ => (case.regime.ttbr1, case.regime.tcr >> 16),
            };
            // The bits that the start level resolves, by which a table has 8 bytes and more.
            let granule = case.stage1_page_bits();
            let bits = (63 - (size & 0x3f) - granule) % (granule - 3) + 1;
            case.regime.tcr >> 32 & 0b111 == PA_52 && bits < 3 && ttbr & 0x3c & !((8 << bits) - 1) != 0
        },
    },
    Deviation {
        name: "SCTLR_EL1.C is ignored",
        source: "target/arm/ptw.c, get_phys_addr_lpae",
        mended: None,
        explains: |case| {
            let regime = Regime { sctlr: case.regime.sctlr | SCTLR_C, ..*case.regime };
            let ours = walk::answer(&regime, case.access, case.address, &Memory::plain(case.mem));
            regime != *case.regime && Case { regime: &regime, ours, ..*case }.is_explained()
        },
    },
];

/// Returns all known differences.
pub fn all() -> &'static [Deviation] {
    &ALL
}

/// The Device types, by two bits.
const DEVICES: [MemoryType; 4] = [DeviceNGnRnE, DeviceNGnRE, DeviceNGRE, DeviceGRE];

/// Returns true if the CPU's type is Device as the lowest of both low halves names it: 0, 4, 8,
/// anything else.
fn is_lowest_nibble(case: &Case<'_>) -> bool {
    // Stage 2's field as QEMU converts it, with its hints.
    let second = match case.mem_attr() {
        device @ 0..4 => device << 2,
        normal => [0x0, 0x4, 0xb, 0xf][usize::from(normal & 3)],
    };
    let is_device = case.stage1_field() >> 4 == 0 || case.mem_attr() < 4;
    let low = [case.stage1_field() & 0xf, second];
    let lowest = [0x0, 0x4, 0x8].into_iter().position(|of| low.contains(&of)).unwrap_or(3);
    is_device && case.has_type(DEVICES[lowest])
}

impl Case<'_> {
    /// Returns the bits of the CPU's physical addresses (DDI 0487, ID_AA64MMFR0_EL1.PARange).
    fn pa_bits(&self) -> u32 {
        [32, 36, 40, 42, 44, 48, 52].get((self.features & 0xf) as usize).copied().unwrap_or(52)
    }

    /// Returns true if the walk gives the CPU's answer once the descriptors are changed.
    fn with(&self, changes: [Change; 2]) -> bool {
        let mem = Memory::changed(self.mem, changes);
        let ours = walk::answer(self.regime, self.access, self.address, &mem);
        if ours.answer == self.ours.answer {
            return false;
        }
        Case { ours, ..*self }.is_explained()
    }

    /// Returns true if the answers are the same, or if another deviation is left.
    fn is_explained(&self) -> bool {
        self.is_same() || ALL.iter().any(|known| (known.explains)(self))
    }

    fn has_64k_at_stage2(&self) -> bool {
        self.regime.vtcr >> 14 & 0b11 == 0b01
    }

    /// Returns log2 of stage 1's granule for this address (DDI 0487, TCR_EL1.TG0, TG1).
    fn stage1_page_bits(&self) -> u64 {
        let (field, granules) = match self.address >> 55 & 1 {
            0 => (self.regime.tcr >> 14, [12, 16, 14, 12]),
            _ => (self.regime.tcr >> 30, [12, 14, 12, 16]),
        };
        granules[(field & 0b11) as usize]
    }

    fn has_64k_at_stage1(&self) -> bool {
        self.stage1_page_bits() == 16
    }

    /// Returns true if both answers are translations to the same page.
    fn is_same_page(&self) -> bool {
        match (&self.ours.answer, &self.cpus) {
            (Answer::Translation { page, .. }, Answer::Translation { page: same, .. }) => page == same,
            _ => false,
        }
    }

    /// Returns true if so, and the CPU's has this type.
    fn has_type(&self, of: MemoryType) -> bool {
        let found = matches!(self.cpus, Answer::Translation { of: cpus, .. } if cpus == Some(Type::pure(of)));
        found && self.is_same_page()
    }
}
