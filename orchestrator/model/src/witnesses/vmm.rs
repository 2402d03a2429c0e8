//! The VMM's own stage 1, from which KVM takes the size of a BAR's leaves. Its type is that of the BAR's VMA.

use super::{Hearing, NO_LEAF, Scene, Witness};
use crate::cell::ResolvedCell;
use crate::finding::{Finding, Subject, Weight};
use crate::kernel::Trait;
use crate::record::Record;
use crate::record::look::DecodedLook;
use crate::record::vmm::{Compared, Larger, Own, REGISTERS};
use crate::scenario::{Promise, Size};
use crate::steps::Look;
use s2lab_mmu::{MemoryType, Stage1Attr};
use s2lab_protocol::Pgprot;

/// The VMM's own leaf contains each leaf of a BAR: it is as large at least, and leads to the same
/// physical addresses. Otherwise a guest may reach memory that its VMM has not mapped.
///
/// Kernels that declare `pfnmap-stage1-leaf` have that rule. Before it, KVM took the size from the
/// alignment of the VMA (Linux 6.1.176 arch/arm64/kvm/mmu.c, get_vma_page_shift), and 6.1 has blocks
/// where the VMM has pages. After it, the size is a page, or what the VMM's tables have
/// (get_user_mapping_size).
///
/// On every kernel, the VMM's own leaf is not cacheable: vfio-pci and sysfs map BARs Device or Normal-NC (Linux 6.1
/// to 7.2 drivers/vfio/pci/vfio_pci_core.c, vfio_pci_core_mmap, and drivers/pci/mmap.c). Otherwise caches have
/// lines of a BAR, whatever stage 2 says. Under a VMA of s2lab's module the leaf has the type that the scenario asks
/// for.
pub(super) struct Vmm;

const TRAIT: Trait = Trait::PfnmapStage1Leaf;

impl Witness for Vmm {
    fn name(&self) -> &'static str {
        "vmm"
    }

    /// Logs before 2.4 have no registers of the host's stage 1.
    fn applies(&self, record: &Record) -> bool {
        record.all::<Look>().any(|look| look.registers.contains_key(REGISTERS[0]))
    }

    /// It depends on QEMU's gdbstub and on the mode of KVM.
    fn is_variable(&self) -> bool {
        true
    }

    fn hear(&self, scene: &Scene<'_>) -> Hearing {
        let cell = &scene.record.planned.resolved;
        let declared = cell.traits.has(TRAIT) == Some(true);
        let (mut wrong, mut findings, mut compared, mut silent) = (vec![], vec![], 0, None);
        for (look, seen) in scene.readable() {
            match &seen.vmm {
                Some(Ok(vmm)) => {
                    wrong.extend(
                        vmm.devices.iter().filter_map(|(device, of)| wrong_type(cell, look, device, of)),
                    );
                    compared += vmm.devices.values().map(|of| of.leaves).sum::<usize>();
                    // The VMM has such a BAR in two places, one of which it may not have touched.
                    let once = |device: &str| !cell.is_in_replacement(device, look.step);
                    let devices = vmm.devices.iter().filter(|(device, _)| once(device));
                    findings.extend(devices.filter_map(|(device, of)| finding(look, device, of)));
                }
                Some(Err(why)) => silent = silent.or(Some(why.to_string())),
                None => {}
            }
        }
        if !declared {
            findings.clear();
            silent = Some(format!("the kernel does not declare {TRAIT}"));
        } else if compared == 0 {
            silent = silent.or_else(|| Some(NO_LEAF.to_owned()));
        }
        findings.extend(wrong);
        Hearing::unless_silent(findings, silent.as_deref())
    }
}

/// Returns a finding if the VMM's own leaves have a type that no VMA over the device has.
fn wrong_type(cell: &ResolvedCell, look: &DecodedLook, device: &str, compared: &Compared) -> Option<Finding> {
    let asked_for = cell.vma(device).map(|vma| type_of(vma.pgprot));
    let fits = |attr: &Stage1Attr| match (asked_for, attr.memory_type()) {
        (Some(asked_for), found) => found == Some(asked_for),
        (None, found) => found.is_some_and(|found| found.is_device() || found == MemoryType::NormalNC),
    };
    let (va, attr) = compared.types.iter().find(|(_, attr)| !fits(attr))?;
    let (weight, expected) = match asked_for {
        // The module is a part of the lab.
        Some(asked_for) => (Weight::Lab, asked_for.name()),
        None => (Weight::Tables, "Device or Normal-NC"),
    };
    let subject = Subject::look(look).region(device);
    let what = format!("type of {subject} in the VMM's stage 1");
    let found = format!("{attr} at the VMM's address {va:#x}");
    Some(Finding::new(weight, subject, what, expected, found))
}

/// Returns the type of a VMA's pages (Linux 6.1 to 7.2 arch/arm64/include/asm/pgtable.h).
fn type_of(pgprot: Pgprot) -> MemoryType {
    match pgprot {
        Pgprot::WriteBack => MemoryType::NormalWB,
        Pgprot::WriteCombine => MemoryType::NormalNC,
        Pgprot::Device => MemoryType::DeviceNGnRE,
        Pgprot::Noncached => MemoryType::DeviceNGnRnE,
    }
}

/// Returns a finding if the VMM's own leaves do not contain those of the device.
fn finding(look: &DecodedLook, device: &str, compared: &Compared) -> Option<Finding> {
    let Compared { leaves, larger, kept, .. } = compared;
    let subject = Subject::look(look).region(device);
    let what = format!("leaves of {subject}, beside those of the VMM's stage 1");
    let expected = format!("each within a leaf of the VMM ({TRAIT})");
    let first = kept.first()?;
    let found =
        format!("{larger} of {leaves} are not: {} where {}", Size(first.leaf.size), words(&first.own));
    let finding = Finding::new(Weight::Tables, subject, what, expected, found).breaking(Promise::NEIGHBOURS);
    Some(finding.with(kept.iter().map(evidence)))
}

fn words(own: &Own) -> String {
    match own {
        Own::Of(size) => format!("the VMM's leaf has {}", Size(*size)),
        Own::Elsewhere(pa) => format!("the VMM's leaf leads to PA {pa:#x}"),
        Own::Unmapped(fault) => format!("the VMM has none: {fault}"),
    }
}

fn evidence(Larger { leaf, va, own }: &Larger) -> String {
    format!(
        "IPA {:#x} -> PA {:#x}, level {}, VMM's address {va:#x}: {}",
        leaf.ipa,
        leaf.pa,
        leaf.level,
        words(own)
    )
}

#[cfg(test)]
mod tests;
