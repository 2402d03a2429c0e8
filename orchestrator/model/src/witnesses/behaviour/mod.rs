//! The CPU's own answer about the effective type: the ending of a probe.

mod emulation;
mod ending;

use super::{Hearing, Scene, Witness};
use crate::finding::{Finding, Subject, Weight};
use crate::record::look::{Combined, DecodedLook, SeenMapping};
use crate::record::{At, Record};
use crate::steps::{Ending, Probed, access_words};
use s2lab_mmu::MemoryType;
use s2lab_protocol::ProbeKind;

pub(crate) use ending::{ending, shows_fault};

/// An unaligned access completes if both stages are Normal, and faults if stage 2 is Device. DC ZVA
/// completes if both are Normal. An instruction fetch faults.
pub(super) struct Behaviour;

impl Witness for Behaviour {
    fn name(&self) -> &'static str {
        "behaviour"
    }

    fn hear(&self, Scene { record, looks }: &Scene<'_>) -> Hearing {
        let mut findings = vec![];
        let mut silent = "no probe".to_owned();
        let mut spoke = false;
        for probe in record.all::<Probed>() {
            match predict(record, looks, probe) {
                Ok(predicted) => {
                    spoke = true;
                    findings.extend(against(probe, predicted));
                }
                Err(why) => silent = why,
            }
        }
        Hearing::new(findings, spoke, &silent)
    }
}

/// Returns a finding if the access did not end as predicted.
fn against(probe: At<'_, Probed>, predicted: Ending) -> Option<Finding> {
    let ending = ending(&probe.outcome);
    if matches!(ending, Ending::Unsupported | Ending::NotDone) {
        return None;
    }
    // A wrong read-back is a finding of its own; for the type the access completed.
    let completed = ending != Ending::Fault;
    if completed == (predicted == Ending::Ok) {
        return None;
    }
    let At { step, data: Probed { guest, device, map, kind, outcome, .. } } = probe;
    let access = access_words(*kind, guest, device);
    let what = format!("{access}, mapped {}: oracle in doubt", *map);
    let subject = Subject::step(step).guest(guest).region(device);
    let expected = format!("{predicted}, as the walk says");
    let finding = Finding::new(Weight::Doubt, subject, what, expected, ending.to_string());
    Some(finding.with([format!("{outcome:?}")]))
}

/// Returns the probed mapping in the last look at the probe's guest before the probe.
pub(crate) fn probed_mapping<'a>(looks: &'a [DecodedLook], probe: At<'_, Probed>) -> Option<&'a SeenMapping> {
    let before = looks.iter().filter(|look| look.guest == probe.guest && look.step < probe.step);
    let last = before.max_by_key(|look| look.step)?.seen.as_ref().ok()?;
    last.mappings.iter().find(|mapping| mapping.device == probe.device && mapping.map == probe.map)
}

/// Returns the ending of the probe that the last look predicts. The error is the reason
/// why it cannot be predicted.
///
/// In QEMU a Device type of stage 2 always counts. One of stage 1 alone counts on the first access
/// to a page after its TLB entry went, and not later (measured with 10.0.2, same code in 10.2.2),
/// so such a mapping predicts nothing.
fn predict(record: &Record, looks: &[DecodedLook], probe: At<'_, Probed>) -> Result<Ending, String> {
    let guest = record.planned.resolved.guests.get(&probe.guest);
    if guest.is_some_and(|guest| guest.is_read_only(&probe.device)) {
        return Err("the memslot is read-only, which decides before the type does".into());
    }
    let mapping = probed_mapping(looks, probe).ok_or("no look saw the mapping that was probed")?;
    let endings = mapping.touched.iter().map(|(both, _)| predict_one(probe.kind, both));
    let mut endings = endings.collect::<Result<Vec<_>, _>>()?.into_iter();
    let first = endings.next().ok_or("no page of the mapping was touched at the last look")?;
    if endings.any(|ending| ending != first) {
        return Err("the mapping's pages are not alike".into());
    }
    if first == Ending::Fault {
        shows_fault(probe.kind, record)?;
    }
    Ok(first)
}

fn predict_one(kind: ProbeKind, both: &Combined) -> Result<Ending, String> {
    match kind {
        ProbeKind::Store | ProbeKind::Load | ProbeKind::Zva => {}
        ProbeKind::Atomic | ProbeKind::Exclusive => {
            return Err(format!("the architecture leaves the end of an {kind} access to the CPU"));
        }
        // The guest's Linux maps a BAR never-executable, and so does KVM.
        ProbeKind::Fetch => return Ok(Ending::Fault),
    }
    let device = |of: Option<MemoryType>| of.map(MemoryType::is_device).ok_or("a type that is left open");
    match (device(both.stage1.memory_type())?, device(both.stage2.memory_type())?) {
        (_, true) => Ok(Ending::Fault),
        (false, false) => Ok(Ending::Ok),
        (true, false) => Err("stage 1 alone says Device, which QEMU does not always check".into()),
    }
}
