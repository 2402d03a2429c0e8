//! The TLB invalidations of the host, as QEMU's plugin has recorded them. TCG ignores level hints and
//! removes more than it was asked for, so an invalidation that is too small never shows in behaviour.

mod coverage;
#[cfg(test)]
mod tests;

use super::{Hearing, Scene, Witness};
use crate::finding::{Finding, Subject, Weight};
use crate::record::{At, Record, environment, registers};
use crate::scenario::Promise;
use crate::steps::{Invalidated, MeasureStep, Removal, Step, TlbiRun, WhileStep};
use coverage::Removed;
use s2lab_mmu::{Stage2, Stage2Leaf};

/// The most instructions of one step: the plugin keeps as many.
const MOST_INSTRUCTIONS: usize = 1 << 16;

/// After a device was reset, the TLBs have none of its leaves left: for each leaf of its BARs that
/// the look before has shown, EL2 has executed an invalidation
///
/// - of its IPA, or of the guest's VMID, or of all VMIDs, with the guest's VMID in VTTBR_EL2;
/// - with the level of the leaf as hint, or without a hint, and for the granule of the tables;
/// - that reaches all CPUs;
/// - and of the tables above without a hint;
/// - and after it one of stage 1 of the VMID, because a TLB may have combined both stages (DDI 0487,
///   D8, "TLB maintenance instructions"; Linux 6.1 to 7.2 arch/arm64/kvm/hyp/vhe/tlb.c and
///   hyp/nvhe/tlb.c, __kvm_tlb_flush_vmid_ipa and __kvm_tlb_flush_vmid_range).
///
/// Linux 6.9 fixed an unaligned range and wrong level hints (4c36a1567388, 0f0ff097bf77,
/// 36e008323926).
pub(super) struct Tlbi;

impl Witness for Tlbi {
    fn name(&self) -> &'static str {
        "tlbi"
    }

    /// Logs before 2.3 say nothing about a plugin.
    fn applies(&self, record: &Record) -> bool {
        record.session.environment.variable.contains_key(environment::PLUGIN)
    }

    fn is_variable(&self) -> bool {
        true
    }

    fn hear(&self, scene: &Scene<'_>) -> Hearing {
        let cell = &scene.record.planned.resolved;
        let (mut findings, mut silent) = (vec![], None);
        let steps = cell.steps.iter().enumerate();
        let mut removals = steps.filter_map(|(at, step)| Some((at, step.removes()?))).peekable();
        if removals.peek().is_none() {
            silent = Some("no leaf was removed".to_owned());
        }
        for (at, removal) in removals {
            match judged(scene, at, removal) {
                Ok(found) => findings.extend(found),
                Err(why) => drop(silent.get_or_insert(why)),
            }
        }
        Hearing::unless_silent(findings, silent.as_deref())
    }
}

/// Returns the findings about the removal in step `at`, or the reason why there can be
/// none.
fn judged(scene: &Scene<'_>, at: usize, removal: Removal<'_>) -> Result<Vec<Finding>, String> {
    let Removal { device, part, .. } = removal;
    let record = scene.record;
    let seen = record.observations.at::<Invalidated>(at).find(|seen| seen.device == device);
    let seen = seen.ok_or_else(|| no_plugin(record))?;
    if let Some(why) = &seen.incomplete {
        return Err(why.clone());
    }
    if seen.runs.iter().map(TlbiRun::instructions).fold(0, usize::saturating_add) > MOST_INSTRUCTIONS {
        return Err(format!("more than {MOST_INSTRUCTIONS} instructions in step {at}"));
    }
    let (guest, leaves) = before(scene, at, &seen)?;
    let removed = Removed::of(&guest, seen.runs.iter().flat_map(TlbiRun::expanded));
    let bar = record.session.around.bar(device);
    let leaves: Vec<_> = leaves.iter().filter(|leaf| part.has(leaf, bar)).copied().collect();
    let left = removed.left(&guest, &leaves)?;
    Ok(left.iter().map(|left| left.finding(at, device)).collect())
}

/// Returns the reason why there is no list.
fn no_plugin(record: &Record) -> String {
    let plugin = record.session.environment.variable.get(environment::PLUGIN);
    match plugin.and_then(|value| value.strip_prefix(environment::NO_PLUGIN)) {
        Some(why) => format!("no plugin: {why}"),
        None => "the log has no invalidations".into(),
    }
}

/// Returns the guest at its last look before the step, and the leaves that the device had there.
fn before<'a>(
    scene: &Scene<'a>,
    at: usize,
    seen: &At<'_, Invalidated>,
) -> Result<(Stage2, &'a [Stage2Leaf]), String> {
    let of_guest = |step: usize, guest: &str| step < at && guest == seen.guest;
    let look = scene.looks.iter().rev().find(|look| of_guest(look.step, &look.guest));
    let look = look.ok_or_else(|| format!("no look at guest {} before step {at}", seen.guest))?;
    let steps = scene.record.planned.resolved.steps.iter().enumerate();
    let mut between = steps.filter(|(step, _)| (look.step + 1..at).contains(step));
    if between.any(|(_, step)| removes(step, &seen.device)) {
        return Err(format!("no look between two removals of {}", seen.device));
    }
    let tables = look.seen.as_ref().map_err(ToString::to_string)?;
    let raw = scene.record.logged(look).ok_or("the look is not in the log")?;
    let guest = registers::stage2(&raw.registers).map_err(|error| error.to_string())?;
    Ok((guest, tables.devices.get(&seen.device).map_or(&[], Vec::as_slice)))
}

/// Returns true if a step removes the device, a reset before a sample and the rounds of a loop among them.
fn removes(step: &Step, device: &str) -> bool {
    if step.of::<WhileStep>().is_some_and(|step| step.acts_on(device)) {
        return true;
    }
    let by_sample = step.of::<MeasureStep>().and_then(|step| step.reset.as_deref());
    by_sample.or(step.removes().map(|removal| removal.device)) == Some(device)
}

impl coverage::Left {
    fn finding(&self, at: usize, device: &str) -> Finding {
        let range = &self.range;
        let what = format!(
            "step {at}, TLB invalidation of {device} at IPA {:#x}..{:#x}, {} of level {}",
            range.first.ipa,
            range.end(),
            range.count,
            range.first.level
        );
        let subject = Subject::step(at).region(device);
        let expected =
            format!("one for all CPUs, with level hint {} or none, then stage 1", range.first.level);
        let finding = Finding::new(Weight::Tables, subject, what, expected, self.why.clone());
        finding.with(self.evidence.clone()).breaking(Promise::RESET)
    }
}
