//! The check that the walked tables are those that the MMU uses, and have their decoded meaning.

#[cfg(test)]
mod tests;

use super::mapped;
use crate::finding::{Finding, Subject, Weight};
use crate::record::Record;
use crate::record::addresses::AddressSet;
use crate::record::look::{DecodedLook, GuestTables};
use crate::steps::{Stored, Unmapped};
use s2lab_mmu::Stage2Leaf;
use std::collections::BTreeMap;
use std::ops::Range;

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

/// Returns findings for stores that cannot have gone through the present leaves. They did, unless
/// the BAR was removed from stage 2 since then, so leaves map all that was stored, and allow it.
/// Their access flag is set, by KVM or, with VTCR_EL2.HA, by hardware. KVM clears that of RAM as it
/// ages, but ages no BAR, and takes no BAR from stage 2 by itself: the VMM's mapping is neither
/// reclaimed nor migrated (VM_PFNMAP).
pub(super) fn stores(
    record: &Record,
    look: &DecodedLook,
    seen: &GuestTables,
    place: &Subject,
) -> Vec<Finding> {
    let mut stored: BTreeMap<&str, Vec<Range<u64>>> = BTreeMap::new();
    for of in record.observations.iter().filter(|of| of.step < look.step) {
        match of.data.unmaps() {
            Some(Unmapped::Device(device) | Unmapped::PartOf(device)) => drop(stored.remove(device)),
            Some(Unmapped::All) => stored.clear(),
            None => {}
        }
        // Behind a memslot over which the VMM has mapped another BAR is not the device's own.
        let is_own = |device: &str| !record.planned.resolved.is_in_replacement(device, look.step);
        let own = |store: &&Stored| store.guest == look.guest && is_own(&store.device);
        if let Some(store) = of.data.stored().filter(own) {
            let from = store.manner.from;
            stored.entry(&store.device).or_default().push(from..from.saturating_add(store.bytes));
        }
    }
    let mut out = vec![];
    for (device, offsets) in stored {
        let Some(bar) = record.session.around.bar(device) else { continue };
        let place_of = |offset: u64| bar.start.saturating_add(offset);
        let stored = offsets.into_iter().map(|of| place_of(of.start)..place_of(of.end));
        let stored = AddressSet::of(stored);
        let leaves = seen.devices.get(device).map(Vec::as_slice).unwrap_or_default();
        let what = format!("the store to {device} at {place}");
        let subject = place.clone().region(device);
        let holes = stored.without(&AddressSet::of(leaves.iter().map(mapped)));
        if let Some(first) = holes.ranges().first() {
            let bytes: u64 = holes.ranges().iter().map(|hole| hole.end - hole.start).sum();
            let offset = first.start - bar.start;
            let found = format!("{bytes:#x} bytes without a leaf, the first at +{offset:#x}");
            let expected = "leaves over all that was stored";
            let detail = holes.ranges().iter().take(super::MOST_LEAVES);
            let detail = detail.map(|hole| format!("PA {:#x}..{:#x} is not mapped", hole.start, hole.end));
            out.push(Finding::new(Weight::Tables, subject.clone(), &*what, expected, found).with(detail));
        }
        let closed =
            |leaf: &&Stage2Leaf| stored.meets(&mapped(leaf)) && !(leaf.read && leaf.write && leaf.af);
        let closed: Vec<_> = leaves.iter().filter(closed).collect();
        let Some(first) = closed.first() else { continue };
        let lacks =
            [(first.read, "not readable"), (first.write, "not writable"), (first.af, "never accessed")];
        let lacks =
            lacks.iter().filter(|(has, _)| !has).map(|(_, lacks)| *lacks).collect::<Vec<_>>().join(", ");
        let found = format!("{} leaves that it cannot have gone through, the first {lacks}", closed.len());
        let detail = closed.iter().take(super::MOST_LEAVES).map(|leaf| show(leaf));
        let expected = "leaves that are readable, writable and accessed";
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
