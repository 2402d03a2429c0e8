//! The memory types of the regions at a look by stage 2, and of the guest's mappings by both
//! stages.

use crate::judge::isolation;
use crate::lines::{Area, Attributes, Isolation, Mapping, Promised, Region, Text, Word};
use crate::record::look::{DecodedLook, GuestTables};
use crate::record::{Record, virt};
use crate::scenario::Size;
use s2lab_mmu::Stage2Leaf;
use std::collections::{BTreeMap, BTreeSet};

/// The lines of one look: each device with its mappings, RAM, and whatever is neither.
pub(super) fn lines(record: &Record, look: &DecodedLook, seen: &GuestTables) -> Vec<Promised> {
    let assigned = record.planned.resolved.guests.get(&look.guest).map(|guest| &guest.assign);
    let assigned = assigned.into_iter().flat_map(BTreeMap::keys);
    let devices: BTreeSet<&String> = assigned.chain(seen.devices.keys()).collect();
    let mut out = vec![];
    for device in devices {
        let leaves = seen.devices.get(device).map(Vec::as_slice).unwrap_or_default();
        out.extend(regions(leaves, &Area::device(device)).into_iter().map(Promised::Region));
        let mappings = seen.mappings.iter().filter(|mapping| mapping.device == *device);
        out.extend(mappings.map(|mapping| {
            let types = mapping.touched.iter().map(|(both, _)| both.effective);
            Promised::Mapping(Mapping::new(device, mapping.map, types))
        }));
    }
    out.extend(ram(&seen.ram).into_iter().map(Promised::Region));
    if !seen.unknown.is_empty() {
        out.extend(regions(&seen.unknown, &Area::Unknown).into_iter().map(Promised::Region));
    }
    out
}

/// One line for each attribute set of a device's leaves.
fn regions(leaves: &[Stage2Leaf], area: &Area) -> Vec<Region> {
    if leaves.is_empty() {
        return vec![Region::NothingMapped(area.clone())];
    }
    let kind = |leaf: &Stage2Leaf| (leaf.attr, leaf.read, leaf.write, leaf.exec, leaf.sh, leaf.af);
    let line = |leaf: &Stage2Leaf| Region::Mapped { area: area.clone(), attributes: Attributes::of(leaf) };
    distinct(leaves, kind, line)
}

/// One line for each type and shareability of RAM: its permissions and access flags vary.
fn ram(leaves: &[Stage2Leaf]) -> Vec<Region> {
    if leaves.is_empty() {
        return vec![Region::NothingMapped(Area::Ram)];
    }
    let line = |leaf: &Stage2Leaf| Region::Ram { stage2: Text::new(&leaf.attr.to_string()), sh: leaf.sh };
    distinct(leaves, |leaf| (leaf.attr, leaf.sh), line)
}

/// The line of each kind of leaf, in the order of the lines' texts. A million leaves are of a few
/// kinds.
fn distinct<K: PartialEq, L: ToString + PartialEq>(
    leaves: &[Stage2Leaf],
    kind: impl Fn(&Stage2Leaf) -> K,
    line: impl Fn(&Stage2Leaf) -> L,
) -> Vec<L> {
    let mut kinds: Vec<K> = vec![];
    let mut lines = vec![];
    for leaf in leaves {
        let kind = kind(leaf);
        if !kinds.contains(&kind) {
            kinds.push(kind);
            lines.push(line(leaf));
        }
    }
    lines.sort_by_cached_key(L::to_string);
    lines.dedup();
    lines
}

/// Returns the memory that the guest was given, and the mappings of stage 2 outside of it.
pub(super) fn isolation(record: &Record, look: &DecodedLook, isolation: &isolation::Isolation) -> Isolation {
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
