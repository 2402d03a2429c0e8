//! The check that everything in the plan was observed.

use super::isolation::Isolation;
use crate::event::LoadedPart;
use crate::finding::{Finding, Subject, Weight};
use crate::record::Record;
use crate::record::host_look::DecodedHostLook;
use crate::record::look::DecodedLook;
use crate::steps::{Counted, Due, Look, StepAttempt};
use std::collections::BTreeSet;

/// Returns a finding for each observation that is missing, doubled, unplanned or unreadable.
pub(super) fn findings(
    record: &Record,
    looks: &[DecodedLook],
    isolation: &[Isolation],
    hosts: &[DecodedHostLook],
) -> Vec<Finding> {
    let mut out = machines(record);
    let mut planned = 0;
    for (at, step) in record.planned.resolved.steps.iter().enumerate() {
        let attempt = StepAttempt { at, record, looks, isolation, hosts };
        for Due { subject, what, found } in step.kind().due(&attempt) {
            planned += found;
            if found != 1 {
                out.push(Finding::new(Weight::Lab, subject, what, "one observation", found.to_string()));
            }
        }
        out.extend(step.kind().unlike(&attempt));
    }
    out.extend(beside(record));
    out.extend(counts(record));
    let observed = record.observations.iter().filter(|observed| observed.data.is_due()).count();
    if observed > planned {
        let found = format!("{} that no step asks for", observed - planned);
        let expected = "those of the steps";
        out.push(Finding::new(Weight::Lab, Subject::cell(), "observations", expected, found));
    }
    for look in looks {
        if let Err(error) = &look.seen {
            let (subject, expected) = (Subject::look(look), "tables that can be read");
            let what = subject.to_string();
            out.push(Finding::new(Weight::Lab, subject, what, expected, error.to_string()));
        }
    }
    out
}

/// Returns a finding for each step whose counts are missing or wrong.
fn counts(record: &Record) -> Vec<Finding> {
    let cell = &record.planned.resolved;
    let counted: BTreeSet<&str> = cell.host.counted().collect();
    let mut out = vec![];
    for (at, step) in cell.steps.iter().enumerate() {
        let Some(device) = step.device().filter(|device| counted.contains(device)) else { continue };
        let all: Vec<_> = record.observations.at::<Counted>(at).filter(|one| one.device == device).collect();
        let found = match all.as_slice() {
            [one] => one.trouble(),
            all => Some(all.len().to_string()),
        };
        out.extend(found.map(|found| {
            let subject = Subject::step(at).region(device);
            Finding::new(
                Weight::Lab,
                subject,
                format!("step {at}, counts of {device}"),
                "one observation",
                found,
            )
        }));
    }
    out
}

/// Returns the looks that miss a guest beside. Guests can be compared only at one moment, so each
/// look must have all running guests that were looked at before.
fn beside(record: &Record) -> Vec<Finding> {
    let mut out = vec![];
    let mut looked = BTreeSet::new();
    for look in record.all::<Look>() {
        let running = record.planned.resolved.running_at(look.step);
        let guest = look.data.guest.as_str();
        let due: BTreeSet<&str> =
            looked.intersection(&running).copied().filter(|known| *known != guest).collect();
        let found: BTreeSet<&str> = look.beside.keys().map(String::as_str).collect();
        if due != found {
            let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
            let what = format!("guests beside {guest} at look {}", look.name);
            let subject = Subject::step(look.step).named(&look.name).guest(guest);
            out.push(Finding::new(Weight::Lab, subject, what, list(due), list(found)));
        }
        looked.insert(guest);
    }
    out
}

/// Returns the missing reports of the host, its RAM, the guests and their devices.
fn machines(record: &Record) -> Vec<Finding> {
    let cell = &record.planned.resolved;
    let missing = |of: Subject, what: String| Finding::new(Weight::Lab, of, what, "one observation", "0");
    let of_cell = |what: String| missing(Subject::cell(), what);
    let host = record.session.host.is_none().then(|| of_cell("the host's kernel".into()));
    let ram = record.session.around.ram.is_empty().then(|| of_cell("the host's RAM".into()));
    let parts = [LoadedPart::Kernel, LoadedPart::Initramfs, LoadedPart::DeviceTree];
    let loaded =
        parts.iter().filter(|part| !record.session.around.loaded.iter().any(|known| known.part == **part));
    let memory =
        record.session.around.memory.is_none().then(|| of_cell("the host's account of its memory".into()));
    let guests = cell.guests.keys().filter(|guest| !record.guests.contains_key(*guest));
    let devices = cell.guests.values().flat_map(|guest| guest.assign.keys());
    let devices = devices.filter(|device| !record.session.around.tell_of(device));
    host.into_iter()
        .chain(ram)
        .chain(loaded.map(|part| of_cell(format!("where QEMU has put the {part}"))))
        .chain(memory)
        .chain(guests.map(|name| missing(Subject::cell().guest(name), format!("the kernel of guest {name}"))))
        .chain(devices.map(|name| missing(Subject::cell().region(name), format!("the BAR of {name}"))))
        .collect()
}
