//! The kernel's own account: the flags of the VMAs through which a VMM maps a BAR.

use super::{Hearing, Scene, Witness};
use crate::finding::{Finding, Subject, Weight};
use crate::kernel::Trait;
use crate::record::look::{DecodedLook, GuestTables};
use crate::record::{Record, vmas};
use crate::scenario::{AssignDriver, Promise};
use s2lab_mmu::MemoryType;
use s2lab_protocol::Vma;
use std::collections::BTreeSet;

/// The text in `/proc/PID/smaps` for a VMA flag that has no mnemonic (fs/proc/task_mmu.c, 6.1 to
/// 7.2). Of the flags that a vfio-pci VMA may have, it is only VM_ALLOW_ANY_UNCACHED, bit 39.
const UNNAMED_FLAG: &str = "??";

/// A VMA over the BAR has the flag exactly if the tables have Normal-NC. A VMA of
/// sysfs or vfio-platform never has it, and one of s2lab's module if the scenario marks it.
///
/// Declared traits are compared with both: the flag is there exactly if the kernel conveys, and
/// Normal-NC exactly if the flag is there and the kernel honours it. So a kernel that only conveys,
/// or only honours, is judged by its declaration. If the traits leave it open, only the flag
/// decides.
///
/// The leaf of a guest hypervisor's BAR may also follow the type in the stage 2 of that hypervisor. What is right is
/// open (docs/nesting.md), so there only the flag is compared.
pub(super) struct Smaps;

impl Witness for Smaps {
    fn name(&self) -> &'static str {
        "smaps"
    }

    fn hear(&self, scene: &Scene<'_>) -> Hearing {
        let mut findings = vec![];
        let mut spoke = false;
        for (look, seen) in scene.readable() {
            let Some(guest) = scene.record.planned.resolved.guests.get(&look.guest) else { continue };
            // The VMA of a BAR over which the VMM has mapped another is gone.
            let cell = &scene.record.planned.resolved;
            for device in guest.assign.keys().filter(|device| cell.behind(device, look.step) == **device) {
                let bar = Bar::at(scene.record, look, seen, device);
                if cell.is_unplugged(device, look.step) {
                    let others = guest.assign.keys().filter(|other| !cell.is_unplugged(other, look.step));
                    let theirs =
                        others.flat_map(|other| vmas::over_bar(scene.record, look.step, &look.guest, other));
                    findings.extend(bar.kept(&theirs.map(|vma| vma.start).collect()));
                    continue;
                }
                findings.extend(bar.findings());
                spoke |= !bar.vmas.is_empty() && seen.devices.get(device).is_some_and(|of| !of.is_empty());
            }
        }
        Hearing::new(findings, spoke, "no assigned device was looked at")
    }
}

/// A device's BAR at one look, and the VMAs over it.
struct Bar<'a> {
    record: &'a Record,
    seen: &'a GuestTables,
    device: &'a str,
    subject: Subject,
    vmas: Vec<&'a Vma>,
    /// The number of VMAs with the flag.
    flagged: usize,
    /// The guest is a hypervisor.
    is_nested: bool,
}

fn words(flag: bool) -> &'static str {
    if flag { "flag `??`" } else { "no flag `??`" }
}

impl<'a> Bar<'a> {
    fn at(record: &'a Record, look: &'a DecodedLook, seen: &'a GuestTables, device: &'a str) -> Self {
        let vmas = vmas::over_bar(record, look.step, &look.guest, device);
        let flagged = vmas.iter().filter(|vma| vma.flags.iter().any(|flag| flag == UNNAMED_FLAG)).count();
        let is_nested = record.is_nested(look);
        Self { record, seen, device, subject: Subject::look(look).region(device), vmas, flagged, is_nested }
    }

    fn findings(&self) -> Vec<Finding> {
        if self.vmas.is_empty() {
            let what = format!("VMAs over {}", self.subject);
            return vec![Finding::new(Weight::Lab, self.subject.clone(), what, "at least one", "none")];
        }
        let all = [self.elsewhere(), self.unlike(), self.undeclared(), self.contradiction()];
        all.into_iter().flatten().collect()
    }

    /// Returns a finding for a VMA over the BAR of a device that is out of its slot. `theirs` are the addresses of
    /// VMAs that may be those of other devices: since Linux 6.12 the name and the offset are the same.
    fn kept(&self, theirs: &BTreeSet<u64>) -> Option<Finding> {
        let number = self.vmas.iter().filter(|vma| !theirs.contains(&vma.start)).count();
        let what = format!("VMAs over {}, which is unplugged", self.subject);
        let finding = self.finding(Weight::Kernel, what, "none", number.to_string());
        (number > 0).then(|| finding.with(self.evidence()).breaking(Promise::RESET))
    }

    fn finding(&self, weight: Weight, what: String, expected: &str, found: String) -> Finding {
        Finding::new(weight, self.subject.clone(), what, expected, found)
    }

    /// Returns what the kernel declares of this BAR. Besides vfio-pci only s2lab's module conveys anything, whatever
    /// the kernel is.
    fn declared(&self, of: Trait) -> Option<bool> {
        let cell = &self.record.planned.resolved;
        match cell.assigned(self.device).unwrap_or(AssignDriver::VfioPci) {
            AssignDriver::VfioPci | AssignDriver::VirtualFunction => cell.traits.has(of),
            AssignDriver::Module if of == Trait::WcConveyed => {
                Some(cell.vma(self.device).is_some_and(|vma| vma.marked))
            }
            AssignDriver::Module => cell.traits.has(of),
            AssignDriver::Sysfs | AssignDriver::SysfsWc | AssignDriver::VfioPlatform => Some(false),
        }
    }

    fn mixed(&self) -> bool {
        self.flagged != 0 && self.flagged != self.vmas.len()
    }

    /// Returns true if the VMAs have the flag. If only some have it, the traits decide.
    fn flag(&self) -> bool {
        match self.mixed() {
            true => self.declared(Trait::WcConveyed).unwrap_or(true),
            false => self.flagged > 0,
        }
    }

    fn evidence(&self) -> impl Iterator<Item = String> {
        self.vmas.iter().map(|vma| format!("{:#x}..{:#x} {}", vma.start, vma.end, vma.flags.join(" ")))
    }

    fn elsewhere(&self) -> Option<Finding> {
        let wrong = vmas::contradiction(self.record, self.device, &self.vmas)?;
        let what = format!("VMAs over {}: the kernel's own account contradicts the BAR", self.subject);
        let expected = "pages of the BAR, from its first to its last";
        Some(self.finding(Weight::Tables, what, expected, wrong))
    }

    fn unlike(&self) -> Option<Finding> {
        let found = format!("flag `??` on {} of {}", self.flagged, self.vmas.len());
        let what = format!("VMAs over {}", self.subject);
        self.mixed().then(|| {
            let finding = self.finding(Weight::Kernel, what, "VMAs that are alike", found);
            finding.with(self.evidence()).breaking(Promise::FLAG)
        })
    }

    fn undeclared(&self) -> Option<Finding> {
        let flag = self.flag();
        let conveys = self.declared(Trait::WcConveyed).filter(|conveys| *conveys != flag)?;
        let by = match self.record.planned.resolved.vma(self.device) {
            Some(_) => "by the scenario",
            None => "by the kernel's traits",
        };
        let what = format!("VMAs over {}, {by}", self.subject);
        let finding = self.finding(Weight::Kernel, what, words(conveys), words(flag).into());
        Some(finding.with(self.evidence()).breaking(Promise::FLAG))
    }

    fn contradiction(&self) -> Option<Finding> {
        if self.is_nested {
            return None;
        }
        let leaves = self.seen.devices.get(self.device).map(Vec::as_slice).unwrap_or_default();
        let wanted = self.flag() && self.declared(Trait::WcHonoured).unwrap_or(true);
        let leaf =
            leaves.iter().find(|leaf| (leaf.attr.memory_type() == Some(MemoryType::NormalNC)) != wanted)?;
        let expected = if wanted { "Normal-NC" } else { "not Normal-NC" };
        let what = format!(
            "{} on the VMA, stage2 of {}: the kernel's own account contradicts the tables",
            words(self.flag()),
            self.subject
        );
        let finding = self.finding(Weight::Tables, what, expected, leaf.attr.to_string());
        Some(finding.with(self.evidence()))
    }
}
