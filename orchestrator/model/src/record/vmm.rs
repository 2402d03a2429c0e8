//! The stage 1 of a guest's VMM: the host's tables for the user space whose thread runs the guest's
//! vCPU. KVM maps a BAR into the guest by what they have.
//!
//! With VHE these are TTBR0_EL2's (DDI 0487, TTBR0_EL2, HCR_EL2.E2H). The host's kernel runs at EL2,
//! and entering a guest does not change TTBR0_EL2: while a vCPU is in the guest, it leads to the
//! tables of its thread (Linux 6.1 to 7.2 arch/arm64/kvm/hyp/vhe/switch.c, __kvm_vcpu_run). Seen on
//! Debian's 6.1 and 6.12. Without VHE the guest has TTBR0_EL1, and the host's value is in memory of
//! the hypervisor. That is so in protected mode too: there, KVM's own code may run at EL2 with
//! HCR_EL2.E2H set, and TTBR0_EL2 leads to its tables (Linux 6.12 arch/arm64/kvm/arm.c,
//! cpu_prepare_hyp_mode, ARM64_KVM_HVHE).

use super::{Surroundings, registers, vmas};
use crate::record::look::LookError;
use s2lab_mmu::{Fault, PhysMem, Stage1, Stage1Attr, Stage1Leaf, Stage2Leaf};
use s2lab_protocol::{Bar, Vma};
use std::collections::BTreeMap;

/// HCR_EL2.E2H (DDI 0487, HCR_EL2).
const HCR_E2H: u64 = 1 << 34;
/// TCR_EL2.EPD1 with HCR_EL2.E2H (DDI 0487, TCR_EL2): no walk by TTBR1_EL2. A kernel at EL2 has its
/// own tables there; KVM's code at EL2 sets the bit.
const TCR_EPD1: u64 = 1 << 23;
/// The registers of the host's stage 1 at EL2.
pub const REGISTERS: [&str; 4] = ["TTBR0_EL2", "TCR_EL2", "MAIR_EL2", "SCTLR_EL2"];
/// The most leaves of a guest that are compared at one look.
const MOST_LEAVES: usize = 1 << 16;
/// The most leaves of one device that are kept as evidence.
const MOST_KEPT: usize = 4;

/// The leaves of BARs in a guest's stage 2, beside those of its VMM, by device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenVmm {
    pub devices: BTreeMap<String, Compared>,
}

/// The leaves of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// The number of leaves for which the VMM's own leaf was looked up.
    pub leaves: usize,
    /// The number of those that the VMM's own leaf does not contain.
    pub larger: usize,
    /// The first few of them.
    pub kept: Vec<Larger>,
    /// The types of the VMM's own leaves, each with the first address that has it.
    pub types: Vec<(u64, Stage1Attr)>,
}

/// A stage-2 leaf that the VMM's own leaf does not contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Larger {
    pub leaf: Stage2Leaf,
    /// The address of the leaf's first byte in the VMM.
    pub va: u64,
    pub own: Own,
}

/// The VMM's own leaf for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// It has this size in bytes.
    Of(u64),
    /// It leads to this physical address.
    Elsewhere(u64),
    /// There is none.
    Unmapped(Fault),
}

/// The reason why the VMM's tables are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoVmm {
    #[error("register {0} is not in the log")]
    Register(&'static str),
    #[error("the host has no VHE, and a guest has its TTBR0_EL1")]
    NoVhe,
    #[error("its registers do not lead to tables: {0}")]
    Fault(Fault),
}

/// Looks up the VMM's own leaf for each leaf of a device. `devices` are the leaves of the guest with
/// these registers, and `vmas` are those of its VMM. Leaves without a VMA are left out.
///
/// # Errors
/// The reason why the VMM's tables are not known.
pub fn seen<'a>(
    registers: &BTreeMap<String, u64>,
    devices: &BTreeMap<String, Vec<Stage2Leaf>>,
    vmas: impl Fn(&str) -> &'a [Vma],
    around: &Surroundings,
    memory: &dyn PhysMem,
) -> Result<SeenVmm, NoVmm> {
    let stage1 = stage1(registers)?;
    let mut seen = SeenVmm::default();
    let mut left = MOST_LEAVES;
    for (device, leaves) in devices {
        let Some(bar) = around.bar(device) else { continue };
        let vmas = vmas(device);
        let mut compared = Compared::default();
        for leaf in leaves {
            let places = vmas.iter().filter_map(|vma| place(vma, bar, leaf.pa));
            let Some(found) = beside(&stage1, memory, places, leaf)? else { continue };
            let Some(next) = left.checked_sub(1) else { break };
            left = next;
            compared.leaves += 1;
            if let Some(attr) = found.attr
                && compared.types.iter().all(|(_, known)| *known != attr)
            {
                compared.types.push((found.va, attr));
            }
            if let Some(own) = found.contradiction {
                compared.larger += 1;
                if compared.kept.len() < MOST_KEPT {
                    compared.kept.push(Larger { leaf: *leaf, va: found.va, own });
                }
            }
        }
        seen.devices.insert(device.clone(), compared);
    }
    Ok(seen)
}

/// The VMM's side of a leaf.
struct Found {
    va: u64,
    attr: Option<Stage1Attr>,
    /// Its leaf, if it does not contain the guest's.
    contradiction: Option<Own>,
}

/// Returns what the VMM has at one of `places`: at the first that contains the leaf, else at the first. From 6.12 on
/// the VMAs of vfio-pci have the region alone, which is that of several devices
/// ([`offset_in`](vmas::offset_in)), so only the physical address says which of them is the device's.
fn beside(
    stage1: &Stage1,
    memory: &dyn PhysMem,
    places: impl Iterator<Item = u64>,
    leaf: &Stage2Leaf,
) -> Result<Option<Found>, NoVmm> {
    let mut first = None;
    for va in places {
        let own = match stage1.translate(memory, va) {
            Err(fault @ (Fault::Geometry { .. } | Fault::Disabled { .. })) => {
                return Err(NoVmm::Fault(fault));
            }
            own => own,
        };
        let attr = own.as_ref().ok().map(|own| own.attr);
        let found = Found { va, attr, contradiction: contradiction(own, va, leaf) };
        if found.contradiction.is_none() {
            return Ok(Some(found));
        }
        first = first.or(Some(found));
    }
    Ok(first)
}

fn stage1(registers: &BTreeMap<String, u64>) -> Result<Stage1, NoVmm> {
    let register = |name| match registers::register(registers, name) {
        Ok(value) => Ok(value),
        Err(LookError::Register(name)) => Err(NoVmm::Register(name)),
        Err(_) => Err(NoVmm::Register(name)),
    };
    if register("HCR_EL2")? & HCR_E2H == 0 {
        return Err(NoVmm::NoVhe);
    }
    let [ttbr0, tcr, mair, sctlr] = REGISTERS.map(register);
    let tcr = tcr?;
    if tcr & TCR_EPD1 != 0 {
        return Err(NoVmm::NoVhe);
    }
    // TTBR1_EL2 is the kernel's.
    Ok(Stage1::new(ttbr0?, 0, tcr, mair?, sctlr?))
}

/// Returns the address at which a VMA over the BAR maps the physical address `pa`.
fn place(vma: &Vma, bar: Bar, pa: u64) -> Option<u64> {
    let first = vmas::offset_in(vma, bar)?;
    let offset = pa.checked_sub(bar.start)?.checked_sub(first)?;
    let va = vma.start.checked_add(offset)?;
    (va < vma.end).then_some(va)
}

/// Returns the VMM's own leaf for `va`, if it does not contain all of the guest's.
fn contradiction(own: Result<Stage1Leaf, Fault>, va: u64, leaf: &Stage2Leaf) -> Option<Own> {
    let own = match own {
        Ok(own) => own,
        Err(fault) => return Some(Own::Unmapped(fault)),
    };
    match own.ipa_of(va) {
        Some(pa) if pa != leaf.pa => Some(Own::Elsewhere(pa)),
        _ => {
            let rest = own.size.saturating_sub(va.wrapping_sub(own.va));
            (rest < leaf.size).then_some(Own::Of(own.size))
        }
    }
}
