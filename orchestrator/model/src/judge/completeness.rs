//! The check that everything in the plan was observed.

use crate::cell::ResolvedCell;
use crate::event::{LoadedPart, Look, Probed, Reset, Stored};
use crate::finding::{Finding, Subject, Weight};
use crate::record::look::DecodedLook;
use crate::record::{At, Record};
use crate::scenario::{Step, StoreStep};
use std::collections::BTreeSet;

/// The bytes of the narrowest store.
const NARROWEST: u64 = 8;
/// The words in a device's `reset_method` (Linux drivers/pci/pci.c, pci_reset_fn_methods, 6.1 to
/// 7.2).
const RESET_METHODS: [&str; 7] = ["device_specific", "acpi", "flr", "af_flr", "pm", "bus", "cxl_bus"];

/// Returns a finding for each observation that is missing, doubled, unplanned or unreadable.
pub(super) fn findings(record: &Record, looks: &[DecodedLook]) -> Vec<Finding> {
    let cell = &record.planned.resolved;
    let mut out = machines(record);
    let mut planned = 0;
    let mut exactly_one = |subject: Subject, what: String, found: usize, out: &mut Vec<Finding>| {
        planned += found;
        if found != 1 {
            out.push(Finding::new(Weight::Lab, subject, what, "one observation", found.to_string()));
        }
    };
    for (at, step) in cell.steps.iter().enumerate() {
        match step {
            Step::Store(store) => {
                for width in &store.width {
                    let found = record.at::<Stored>(at).filter(|s| s.width == *width).count();
                    let what = format!("step {at}, store {width} B by {} to {}", store.guest, store.device);
                    let subject = Subject::step(at).guest(&store.guest).region(&store.device);
                    exactly_one(subject, what, found, &mut out);
                }
                out.extend(wrong_stores(record, at, store));
            }
            Step::Look(look) => {
                for guest in running_at(cell, &look.name) {
                    let here = |l: &&DecodedLook| l.step == at && l.name == look.name && l.guest == guest;
                    let subject = Subject::step(at).named(&look.name).guest(guest);
                    let what = subject.to_string();
                    exactly_one(subject, what, looks.iter().filter(here).count(), &mut out);
                }
            }
            Step::Host(host) => {
                let found = record.at::<Reset>(at).filter(|r| r.device == host.reset).count();
                let what = format!("step {at}, reset of {}", host.reset);
                exactly_one(Subject::step(at).region(&host.reset), what, found, &mut out);
                out.extend(unknown_methods(record, at));
            }
            Step::Probe(probe) => {
                let here = |p: &At<'_, Probed>| {
                    p.guest == probe.guest && p.device == probe.device && p.map == probe.map
                };
                let found = record.at(at).filter(here).count();
                let what = format!("step {at}, probe of {} by {}", probe.device, probe.guest);
                let subject = Subject::step(at).guest(&probe.guest).region(&probe.device);
                exactly_one(subject, what, found, &mut out);
            }
        }
    }
    out.extend(beside(record));
    let observed = record.all::<Stored>().count()
        + looks.len()
        + record.all::<Reset>().count()
        + record.all::<Probed>().count();
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

/// Returns the looks that miss a guest beside. Guests can be compared only at one moment, so each
/// look must have all running guests that were looked at before.
fn beside(record: &Record) -> Vec<Finding> {
    let mut out = vec![];
    let mut looked = BTreeSet::new();
    for look in record.all::<Look>() {
        let running = running_at(&record.planned.resolved, &look.name);
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

/// Returns the resets of step `at` by a method that no kernel has.
fn unknown_methods(record: &Record, at: usize) -> impl Iterator<Item = Finding> {
    let known = |method: &str| {
        !method.trim().is_empty() && method.split_whitespace().all(|word| RESET_METHODS.contains(&word))
    };
    record.at::<Reset>(at).filter(move |reset| !known(&reset.method)).map(move |reset| {
        let what = format!("step {at}, reset of {}", reset.device);
        let (subject, found) = (Subject::step(at).region(&reset.device), format!("`{}`", reset.method));
        Finding::new(Weight::Kernel, subject, what, "a method of the kernel's", found)
    })
}

/// Returns the guests that run at the look `name`: those without a probe before it, which may have
/// ended them.
pub(super) fn running_at<'a>(cell: &'a ResolvedCell, name: &str) -> BTreeSet<&'a str> {
    let look = |step: &Step| matches!(step, Step::Look(look) if look.name == name);
    let Some(at) = cell.steps.iter().position(look) else { return BTreeSet::new() };
    let probed: BTreeSet<_> = cell
        .steps
        .iter()
        .take(at)
        .filter_map(|step| if let Step::Probe(probe) = step { Some(probe.guest.as_str()) } else { None })
        .collect();
    cell.guests.keys().map(String::as_str).filter(|guest| !probed.contains(guest)).collect()
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

/// Returns the stores of step `at` that differ from the step.
fn wrong_stores(record: &Record, at: usize, step: &StoreStep) -> Vec<Finding> {
    let of_step = record.at::<Stored>(at);
    let as_planned = |stored: &At<'_, Stored>| {
        stored.guest == step.guest
            && stored.device == step.device
            && stored.map == step.map
            && stored.bytes == step.bytes.0
            // A wide store may take several instructions.
            && stored.result.stores >= stored.bytes / u64::from(stored.width.max(1))
            && stored.result.stores <= stored.bytes / NARROWEST
            && stored.result.nanos > 0
    };
    of_step
        .filter(|stored| !as_planned(stored))
        .map(|stored| {
            let found = format!(
                "{} stores of {} B, {} bytes by {} to {}",
                stored.result.stores, stored.width, stored.bytes, stored.guest, stored.device
            );
            let expected = format!("{} bytes by {} to {}", step.bytes, step.guest, step.device);
            let subject = Subject::step(at).guest(&step.guest).region(&step.device);
            Finding::new(Weight::Lab, subject, format!("step {at}, store"), expected, found)
        })
        .collect()
}
