//! The places of BARs: the reports of the host's kernel and the guests' agents, compared with QEMU,
//! which decodes them.

use super::{Hearing, Scene, Witness};
use crate::finding::{Finding, Subject, Weight};
use crate::record::Record;
use crate::record::look::DecodedLook;
use crate::steps::{Access, Look, Words};
use s2lab_protocol::{Bar, Mapping};

/// The regions of a look are QEMU's BARs. The host's kernel must name the same ones. The BAR that
/// the guests' agents have mapped and accessed must be the scenario's.
pub(super) struct Placement;

impl Witness for Placement {
    fn name(&self) -> &'static str {
        "placement"
    }

    fn hear(&self, Scene { record, looks }: &Scene<'_>) -> Hearing {
        let mut findings = vec![];
        for device in record.session.around.devices.keys() {
            host(record, device, &mut findings);
        }
        for look in record.all::<Look>() {
            for mapping in &look.mappings {
                let what = format!("{}'s mapping of {} at look {}", look.guest, mapping.device, look.name);
                let subject = Subject::step(look.step).named(&look.name).guest(&look.guest);
                let place = Place { subject: subject.region(&mapping.device), what };
                findings.extend(guest(record, &mapping.device, mapping.bar, &place));
                let same = |other: &&DecodedLook| other.step == look.step && other.guest == look.guest;
                let seen = looks.iter().find(same);
                findings.extend(seen.and_then(|seen| moved(record, mapping, seen, &place)));
            }
        }
        for of in record.observations.iter() {
            let Some(Access { words, guest: by, device, bar, .. }) = of.data.access() else { continue };
            let Words { verb, to } = words;
            let what = format!("{by}'s {verb} {to} {device} in step {}", of.step);
            let subject = Subject::step(of.step).guest(by).region(device);
            findings.extend(guest(record, device, bar, &Place { subject, what }));
        }
        Hearing::new(findings, !record.session.around.placed.is_empty(), "no device")
    }
}

/// A guest's account of a BAR.
struct Place {
    subject: Subject,
    what: String,
}

fn show(bar: &Bar) -> String {
    let kind = if bar.prefetchable { "prefetchable" } else { "not prefetchable" };
    format!("BAR {} at {:#x}, {:#x} bytes, {kind}", bar.index, bar.start, bar.size)
}

/// Compares each BAR of one side with the other side's.
fn host(record: &Record, device: &str, findings: &mut Vec<Finding>) {
    let subject = || Subject::cell().region(device);
    let Some(placed) = record.session.around.placed.get(device) else {
        let what = format!("place of {device}");
        findings.push(Finding::new(Weight::Lab, subject(), what, "what QEMU says", "nothing"));
        return;
    };
    let said =
        record.session.around.devices.get(device).map(|bound| bound.bars.as_slice()).unwrap_or_default();
    let what = || format!("place of {device}: the kernel's own account contradicts QEMU");
    for bar in said.iter().filter(|bar| !placed.contains(bar)) {
        let there = placed.iter().find(|known| known.index == bar.index);
        let expected = there.map_or_else(|| format!("no BAR {}", bar.index), show);
        findings.push(Finding::new(Weight::Tables, subject(), what(), expected, show(bar)));
    }
    for bar in placed.iter().filter(|bar| !said.iter().any(|known| known.index == bar.index)) {
        let found = "the host's kernel has no such BAR";
        findings.push(Finding::new(Weight::Tables, subject(), what(), show(bar), found));
    }
}

/// Compares a guest's BAR. A guest sees it at an address of its own, but it is the same BAR.
fn guest(record: &Record, device: &str, said: Bar, place: &Place) -> Option<Finding> {
    let bar = record.session.around.bar(device)?;
    let alike = |bar: Bar| (bar.index, bar.size, bar.prefetchable);
    (alike(bar) != alike(said)).then(|| {
        let what = format!("BAR of {}: the agent's account contradicts QEMU", place.what);
        let expected = show(&Bar { start: said.start, ..bar });
        Finding::new(Weight::Tables, place.subject.clone(), what, expected, show(&said))
    })
}

/// Returns a leaf of the BAR that is not where the guest's agent reports its mapping: it was not
/// walked.
fn moved(record: &Record, mapping: &Mapping, look: &DecodedLook, place: &Place) -> Option<Finding> {
    // Isolation checks a BAR that is at other IPAs than its own.
    if record.planned.resolved.is_in_replacement(&mapping.device, look.step) {
        return None;
    }
    let bar = record.session.around.bar(&mapping.device)?;
    let leaves = look.seen.as_ref().ok()?.devices.get(&mapping.device)?;
    let in_bar = leaves.iter().filter(|leaf| bar.start <= leaf.pa && leaf.pa - bar.start < bar.size);
    let apart = |offset: u64| mapping.bar.start.checked_add(offset);
    let leaf = in_bar.into_iter().find(|leaf| apart(leaf.pa - bar.start) != Some(leaf.ipa))?;
    let what = format!("BAR of {}: the agent's account contradicts the tables", place.what);
    let expected = format!("PA {:#x} at IPA {:#x}", leaf.pa, apart(leaf.pa - bar.start).unwrap_or_default());
    let found = format!("IPA {:#x}", leaf.ipa);
    Some(Finding::new(Weight::Tables, place.subject.clone(), what, expected, found))
}
