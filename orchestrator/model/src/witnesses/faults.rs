//! The stage-2 faults of a BAR, as the host's kernel has traced them.

#[cfg(test)]
mod tests;

use super::{Hearing, NO_LEAF, Scene, Witness};
use crate::finding::{Finding, Subject, Weight};
use crate::record::Record;
use crate::record::addresses::AddressSet;
use crate::record::look::{DecodedLook, GuestTables};
use crate::steps::{TracedFaults, Unmapped};
use s2lab_mmu::Stage2Leaf;
use s2lab_protocol::is_bar_place;
use std::ops::Range;

/// Each leaf of a BAR has come by a fault, and each fault in a BAR has left a leaf:
///
/// - since the last reset of the device, which removes its leaves, the guest has taken a stage-2
///   translation fault at an IPA of each leaf;
/// - each page at which it has taken one is mapped. Faults between a reset and the observation
///   before it may be older than the reset, and do not count here. A program of the user's counts as
///   a reset here, because it may have made one.
///
/// KVM maps memory of a VMA in the fault handler alone, one leaf at a time, around the IPA of the fault
/// (Linux 6.1 to 7.2 arch/arm64/kvm/mmu.c, kvm_handle_guest_abort, whose trace event is before
/// everything else).
pub(super) struct Faulting;

impl Witness for Faulting {
    fn name(&self) -> &'static str {
        "faults"
    }

    /// Logs before 2.4 have no trace.
    fn applies(&self, record: &Record) -> bool {
        !record.observations.none::<TracedFaults>()
    }

    /// It depends on the configuration of the kernel, and on its buffer.
    fn is_variable(&self) -> bool {
        true
    }

    fn hear(&self, scene: &Scene<'_>) -> Hearing {
        let (mut findings, mut silent, mut spoke) = (vec![], None, false);
        for (look, seen) in scene.readable() {
            let Some(guest) = scene.record.planned.resolved.guests.get(&look.guest) else { continue };
            for device in guest.assign.keys() {
                let bar = Bar { record: scene.record, look, seen, device };
                match bar.findings() {
                    Ok(Some(found)) => {
                        spoke = true;
                        findings.extend(found);
                    }
                    Ok(None) => {}
                    Err(why) => drop(silent.get_or_insert(why)),
                }
            }
        }
        Hearing::unless_silent(findings, silent.as_deref().or((!spoke).then_some(NO_LEAF)))
    }
}

/// A device's BAR at one look.
struct Bar<'a> {
    record: &'a Record,
    look: &'a DecodedLook,
    seen: &'a GuestTables,
    device: &'a str,
}

impl Bar<'_> {
    /// Returns the findings, or None if there is nothing to compare. Fails with the reason why faults
    /// may be missing.
    fn findings(&self) -> Result<Option<Vec<Finding>>, String> {
        let leaves = self.seen.devices.get(self.device).map(Vec::as_slice).unwrap_or_default();
        let traced: Vec<&Stage2Leaf> = leaves.iter().filter(|leaf| is_bar_place(leaf.ipa)).collect();
        let (faults, newer) = self.faults()?;
        let unfaulted: Vec<_> = traced.iter().filter(|leaf| !faults.meets(&range(leaf))).collect();
        // A VMM may map the BAR of another device there.
        let mapped = AddressSet::of(self.seen.devices.values().flatten().map(range));
        let unmapped = self.window().map(|window| newer.within(&window).without(&mapped));
        let mut findings = vec![];
        if let Some(first) = unfaulted.first() {
            let found =
                format!("no fault in {} of {}, first IPA {:#x}", unfaulted.len(), traced.len(), first.ipa);
            findings.push(self.finding("a fault at each leaf since the last reset", found));
        }
        if let Some(first) = unmapped.iter().flat_map(AddressSet::ranges).next() {
            let found = format!("a fault at IPA {:#x}, and no leaf there", first.start);
            findings.push(self.finding("a leaf at each fault", found));
        }
        Ok((!traced.is_empty() || !findings.is_empty()).then_some(findings))
    }

    fn finding(&self, expected: &str, found: String) -> Finding {
        let subject = Subject::look(self.look).region(self.device);
        let what = format!("faults of {subject}: the kernel's own account contradicts the tables");
        Finding::new(Weight::Tables, subject, what, expected, found)
    }

    /// Returns the guest's faults since the last reset of the device, and those of them that are
    /// certainly newer.
    fn faults(&self) -> Result<(AddressSet, AddressSet), String> {
        let before_look = || self.record.observations.iter().filter(|of| of.step < self.look.step);
        let last = |unmapped: &[Unmapped<'_>]| {
            let removals =
                before_look().filter(|of| of.data.unmaps().is_some_and(|of| unmapped.contains(&of)));
            removals.map(|of| of.step).max()
        };
        let this = Unmapped::Device(self.device);
        // A program may have removed the leaves, and a part of the BAR may be all that has gone. They may be older than
        // that as well.
        let perhaps = [this, Unmapped::PartOf(self.device), Unmapped::All];
        let (reset, perhaps) = (last(&[this]), last(&perhaps));
        let own = |of: &TracedFaults| of.guest == self.look.guest;
        let all = self.record.all::<TracedFaults>().filter(|of| own(of.data) && of.step <= self.look.step);
        let (mut faults, mut newer, mut before) = (vec![], vec![], None);
        for of in all {
            if let Some(why) = &of.faulted.incomplete {
                return Err(why.clone());
            }
            let pages = of.data.faulted.runs.iter().filter_map(|run| Some(run.ipa..run.end()?));
            if reset.is_none_or(|reset| of.step > reset) {
                faults.extend(pages.clone());
            }
            if perhaps.is_none_or(|reset| of.step > reset && before.is_some_and(|before| before > reset)) {
                newer.extend(pages);
            }
            before = Some(of.step);
        }
        match before == Some(self.look.step) {
            true => Ok((AddressSet::of(faults), AddressSet::of(newer))),
            false => Err("the log has no faults of a look".to_owned()),
        }
    }

    /// Returns the IPAs of the BAR, if the guest has mapped it, as far as they are traced.
    fn window(&self) -> Option<Range<u64>> {
        let mappings = &self.record.logged(self.look)?.mappings;
        let mapping = mappings.iter().find(|mapping| mapping.device == self.device)?;
        let end = mapping.bar.start.checked_add(mapping.bar.size)?;
        is_bar_place(mapping.bar.start).then_some(mapping.bar.start..end)
    }
}

fn range(leaf: &Stage2Leaf) -> Range<u64> {
    leaf.ipa..leaf.ipa.saturating_add(leaf.size)
}
