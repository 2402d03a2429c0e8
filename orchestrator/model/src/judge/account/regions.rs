//! The regions of a look in a report, and the types of devices.

use crate::judge::isolation;
use crate::lines::{Isolation, Promised, Word};
use crate::record::look::{DecodedLook, GuestTables};
use crate::record::{Record, virt};
use crate::regions::{RegionName, distinct};
use crate::scenario::Size;
use std::collections::{BTreeMap, BTreeSet};

/// The lines of one look: each device with its mappings, RAM, and whatever is neither.
pub(crate) fn lines(record: &Record, look: &DecodedLook, seen: &GuestTables) -> Vec<Promised> {
    let guest = record.planned.resolved.guests.get(&look.guest);
    RegionName::of_look(guest, seen).iter().flat_map(|region| region.kind().promised(seen)).collect()
}

/// Returns the memory that the guest was given, and the mappings of stage 2 outside of it.
pub(crate) fn isolation(record: &Record, look: &DecodedLook, isolation: &isolation::Isolation) -> Isolation {
    if !isolation.own {
        return Isolation::Foreign;
    }
    let given = record.planned.resolved.guests.get(&look.guest);
    let memory = given.map_or(Size(0), |guest| guest.memory);
    let devices = given.into_iter().flat_map(|guest| guest.assign.keys());
    let devices = devices.map(|device| Word::new(device)).collect();
    Isolation::Own { memory, start: virt::RAM_START, devices }
}

/// Each device with the types that stage 2 gave it in any look.
pub(super) fn types_of_devices(looks: &[DecodedLook]) -> BTreeMap<String, BTreeSet<String>> {
    let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let seen = looks.iter().filter_map(|look| look.seen.as_ref().ok());
    for (device, leaves) in seen.flat_map(|seen| &seen.devices) {
        let names = distinct(leaves, |leaf| leaf.attr, |leaf| leaf.attr.to_string());
        types.entry(device.clone()).or_default().extend(names);
    }
    types
}
