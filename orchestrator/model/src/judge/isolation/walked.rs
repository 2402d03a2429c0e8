//! The check that the walked tables are those that the MMU uses, and have their decoded meaning.

#[cfg(test)]
mod tests;

use super::mapped;
use crate::finding::{Finding, Subject, Weight};
use crate::record::look::{DecodedLook, GuestTables};
use crate::record::overlap::Overlaps;
use crate::record::{At, Record};
use crate::steps::Reset;
use s2lab_mmu::Stage2Leaf;
use std::collections::BTreeMap;

/// Returns a finding for register bits with which the tables have another meaning than KVM and the
/// guest's Linux give them. Neither sets any of them for a guest that is not a hypervisor itself
/// (Linux 6.1 to 7.2, arch/arm64/include/asm/kvm_arm.h: HCR_GUEST_FLAGS, VTCR_EL2_FLAGS).
pub(super) fn controls(seen: &GuestTables, place: &Subject) -> Option<Finding> {
    let first = seen.controls.first()?;
    let found = match seen.controls.len() {
        1 => first.to_string(),
        n => format!("{first}; {} more", n - 1),
    };
    let what = format!("registers at {place}");
    let expected = "no bit that changes what the tables mean";
    let detail = seen.controls.iter().map(ToString::to_string);
    Some(Finding::new(Weight::Tables, place.clone(), what, expected, found).with(detail))
}

/// Returns a finding for groups with the contiguous bit that are not alike. A leaf with the bit
/// stands for its whole group in the TLB, so the walk is true for the MMU only if the group is
/// alike.
pub(super) fn contiguous(seen: &GuestTables, place: &Subject) -> Option<Finding> {
    let first = seen.unlike.first()?;
    let mut found =
        format!("IPA {:#x}, level {}, with neighbours that are not like it", first.ipa, first.level);
    if seen.unlike.len() > 1 {
        found.push_str(&format!("; {} more", seen.unlike.len() - 1));
    }
    let what = format!("contiguous bit at {place}");
    let expected = "on whole groups of leaves that are alike";
    let detail = seen.unlike.iter().take(super::MOST_LEAVES).map(show);
    Some(Finding::new(Weight::Tables, place.clone(), what, expected, found).with(detail))
}

/// Returns a leaf as evidence.
fn show(leaf: &Stage2Leaf) -> String {
    format!("IPA {:#x} -> PA {:#x}, descriptor {:#x}", leaf.ipa, leaf.pa, leaf.descriptor)
}

/// Returns a finding for leaves that stores cannot have gone through. The stores went through the
/// present leaves, unless the device was reset, so the leaves must allow it. Their access flag is
/// set, by KVM or, with VTCR_EL2.HA, by hardware. KVM clears that of RAM as it ages, but ages no
/// BAR.
pub(super) fn stores(
    record: &Record,
    look: &DecodedLook,
    seen: &GuestTables,
    place: &Subject,
) -> Vec<Finding> {
    let mut bytes: BTreeMap<&str, u64> = BTreeMap::new();
    // Once: an attempt from elsewhere may have thousands of observations.
    let resets: Vec<_> = record.all::<Reset>().filter(|reset| reset.step < look.step).collect();
    for of in record.observations.iter().filter(|of| of.step < look.step) {
        let Some(stored) = of.data.stored().filter(|stored| stored.guest == look.guest) else { continue };
        let gone = |reset: &At<'_, Reset>| reset.device == stored.device && of.step < reset.step;
        if !resets.iter().any(gone) {
            let most = bytes.entry(stored.device.as_str()).or_default();
            *most = stored.bytes.max(*most);
        }
    }
    let mut out = vec![];
    for (device, bytes) in bytes {
        let Some(bar) = record.session.around.bar(device) else { continue };
        let stored = Overlaps::of([(bar.start..bar.start.saturating_add(bytes), ())]);
        let leaves = seen.devices.get(device).into_iter().flatten();
        let closed = |leaf: &&Stage2Leaf| {
            stored.with(&mapped(leaf)).is_some() && !(leaf.read && leaf.write && leaf.af)
        };
        let closed: Vec<_> = leaves.filter(closed).collect();
        let Some(first) = closed.first() else { continue };
        let lacks =
            [(first.read, "not readable"), (first.write, "not writable"), (first.af, "never accessed")];
        let lacks =
            lacks.iter().filter(|(has, _)| !has).map(|(_, lacks)| *lacks).collect::<Vec<_>>().join(", ");
        let found = format!("{} leaves that it cannot have gone through, the first {lacks}", closed.len());
        let what = format!("the store to {device} at {place}");
        let detail = closed.iter().take(super::MOST_LEAVES).map(|leaf| show(leaf));
        let expected = "leaves that are readable, writable and accessed";
        let subject = place.clone().region(device);
        out.push(Finding::new(Weight::Tables, subject, what, expected, found).with(detail));
    }
    out
}

/// A guest keeps its start table as long as it is alive (Linux arch/arm64/kvm/mmu.c,
/// kvm_init_stage2_mmu), and no two share one.
pub(super) fn bases(looks: &[DecodedLook]) -> Vec<Finding> {
    let mut of_guest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut of_base: BTreeMap<u64, &str> = BTreeMap::new();
    let mut out = vec![];
    for look in looks {
        let Ok(seen) = &look.seen else { continue };
        let finding = |expected: &str, found: String, detail: String| {
            let subject = Subject::look(look);
            let what = format!("start table at {subject}");
            Finding::new(Weight::Tables, subject, what, expected, found).with([detail])
        };
        let known = *of_guest.entry(&look.guest).or_insert(seen.base);
        if known != seen.base {
            let detail = format!("{:#x}, before {known:#x}", seen.base);
            out.push(finding("that of the looks before", "another".into(), detail));
        }
        let owner = *of_base.entry(seen.base).or_insert(&look.guest);
        if owner != look.guest {
            let found = format!("that of {owner}");
            let detail = format!("{:#x}", seen.base);
            out.push(finding("one of its own", found, detail));
        }
    }
    out
}
