//! The forbidden targets of leaves.

use super::{Foreign, Scene, What, mapped};
use crate::record::beside::SeenBeside;
use crate::record::overlap::Overlaps;
use crate::record::virt;
use s2lab_mmu::{Granule, Stage2Leaf};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub(super) const ALL: [fn(&Scene) -> Vec<Foreign>; 8] =
    [outside, kept, tables, reached, beside, again, bar_moved, bar_elsewhere];

fn foreign<'a>(leaves: impl Iterator<Item = &'a Stage2Leaf>, what: &What) -> Vec<Foreign> {
    leaves.map(|leaf| Foreign { leaf: *leaf, what: what.clone() }).collect()
}

/// RAM of the host is mapped at the IPAs where QEMU has given RAM to the guest, and nowhere else.
/// Leaves do not overlap in IPA, so it is not more than the guest's memory either.
fn outside(scene: &Scene) -> Vec<Foreign> {
    let stolen_time = virt::STOLEN_TIME.start..virt::STOLEN_TIME.start + scene.seen.granule.size();
    let fits = |leaf: &&Stage2Leaf| {
        let end = leaf.ipa.saturating_add(leaf.size);
        let within = |range: &Range<u64>| range.start <= leaf.ipa && end <= range.end;
        within(&scene.ram)
            || within(&stolen_time)
            || within(&virt::FLASH) && scene.seen.zeros.contains(&leaf.ipa)
    };
    foreign(scene.seen.ram.iter().filter(|leaf| !fits(leaf)), &What::Outside)
}

/// The host's kernel, its reserved memory and its device tree are its own. Its zero page is there
/// too, and may be mapped read-only at many IPAs. So a read-only leaf that contains nothing but
/// zeroes does no harm.
fn kept(scene: &Scene) -> Vec<Foreign> {
    let of = |leaf: &Stage2Leaf| {
        let zeros = !leaf.write && scene.seen.zeros.contains(&leaf.ipa);
        let kept = scene.kept.over(&mapped(leaf)).filter(|_| !zeros)?;
        Some(Foreign { leaf: *leaf, what: What::Kept(kept) })
    };
    scene.leaves().filter_map(of).collect()
}

/// No guest reaches what the MMU reads as a table of stage 2, its own or another's. With write
/// access it could map anything; with read access it would learn where the host has its memory.
fn tables(scene: &Scene) -> Vec<Foreign> {
    let pages = |tables: &[u64], granule: Granule, guest: &str| -> Vec<(Range<u64>, String)> {
        tables.iter().map(|at| (*at..at.saturating_add(granule.size()), guest.to_owned())).collect()
    };
    let mut all = pages(&scene.seen.tables, scene.seen.granule, scene.guest);
    for (guest, beside) in &scene.seen.beside {
        all.extend(pages(&beside.tables, beside.granule, guest));
    }
    let all = Overlaps::of(all);
    let own = |leaf: &Stage2Leaf| {
        let guest = all.with(&mapped(leaf))?;
        Some(Foreign { leaf: *leaf, what: What::Table(guest.clone()) })
    };
    scene.leaves().filter_map(own).collect()
}

/// The same in the other direction: no other guest's look sees this guest's present tables.
fn reached(scene: &Scene) -> Vec<Foreign> {
    let size = scene.seen.granule.size();
    let tables = Overlaps::of(scene.seen.tables.iter().map(|at| (*at..at.saturating_add(size), ())));
    let of = |(guest, beside): (&String, &SeenBeside)| {
        let over = beside.leaves.iter().filter(|leaf| tables.with(&mapped(leaf)).is_some());
        foreign(over, &What::Reached(guest.clone()))
    };
    scene.seen.beside.iter().flat_map(of).collect()
}

/// No other guest reaches what one guest can write to. Memory that both can only read is the host's
/// zero page, or a file of both VMMs.
fn beside(scene: &Scene) -> Vec<Foreign> {
    let mut out = vec![];
    for (guest, beside) in &scene.seen.beside {
        let of = |only_writable: bool| {
            let leaves = beside.leaves.iter().filter(|leaf| leaf.write || !only_writable);
            Overlaps::of(leaves.map(|leaf| (mapped(leaf), ())))
        };
        let (all, writable) = (of(false), of(true));
        let shared = scene.seen.ram.iter().filter(|leaf| {
            let theirs = if leaf.write { &all } else { &writable };
            theirs.with(&mapped(leaf)).is_some()
        });
        out.extend(foreign(shared, &What::Ram(guest.clone())));
    }
    out
}

/// A page that the guest can write to is at one IPA, one of the GIC too, and so is a BAR, writable or not. The host's
/// zero page is at many, read-only.
fn again(scene: &Scene) -> Vec<Foreign> {
    let others = scene.seen.gicv.iter().chain(&scene.seen.unknown);
    let mut out = twice(scene.seen.ram.iter().chain(others).collect(), false, &What::Again);
    let cell = &scene.record.planned.resolved;
    let once = |device: &str| !cell.is_in_replacement(device, scene.step);
    for (device, leaves) in scene.seen.devices.iter().filter(|(device, _)| once(device)) {
        out.extend(twice(leaves.iter().collect(), true, &What::BarAgain(device.clone())));
    }
    out
}

/// Returns leaves that share a byte with an earlier leaf. Of two that are read-only, only if
/// `always`.
fn twice(mut leaves: Vec<&Stage2Leaf>, always: bool, what: &What) -> Vec<Foreign> {
    leaves.sort_by_key(|leaf| (leaf.pa, leaf.ipa));
    // The end of the leaves so far, and of the writable ones among them.
    let (mut all, mut writable) = (0, 0);
    let mut out = vec![];
    for leaf in leaves {
        let end = mapped(leaf).end;
        if leaf.pa < if always || leaf.write { all } else { writable } {
            out.push(Foreign { leaf: *leaf, what: what.clone() });
        }
        all = all.max(end);
        writable = if leaf.write { writable.max(end) } else { writable };
    }
    out
}

/// A BAR is where the guest has it, all of it at one distance: at its own memslot, and at those over
/// which the VMM has mapped it.
fn bar_moved(scene: &Scene) -> Vec<Foreign> {
    let mut out = vec![];
    let mut places: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for mapping in &scene.seen.mappings {
        let behind = scene.record.planned.resolved.behind(&mapping.device, scene.step);
        places.entry(&mapping.device).or_default();
        places.entry(behind).or_default().insert(mapping.ipa);
    }
    for (device, ipas) in places {
        let Some(bar) = scene.record.session.around.bar(device) else { continue };
        let bar_range = bar.start..bar.start.saturating_add(bar.size);
        let in_bar = Overlaps::of([(bar_range, ())]);
        let leaves = scene.seen.devices.get(device).into_iter().flatten();
        let moved = leaves.filter(|leaf| {
            in_bar.with(&mapped(leaf)).is_some()
                && !ipas.iter().any(|ipa| leaf.ipa.wrapping_sub(leaf.pa) == ipa.wrapping_sub(bar.start))
        });
        out.extend(foreign(moved, &What::BarAgain(device.to_owned())));
    }
    out
}

/// A guest has RAM, flash and QEMU's devices up to the end of its RAM, except for one window of PCI
/// memory. There is no BAR in their place, not even of a device that is the guest's.
fn bar_elsewhere(scene: &Scene) -> Vec<Foreign> {
    let mut out = vec![];
    for (device, leaves) in &scene.seen.devices {
        let fits = |leaf: &&Stage2Leaf| {
            let end = leaf.ipa.saturating_add(leaf.size);
            scene.ram.end <= leaf.ipa || virt::PCI.start <= leaf.ipa && end <= virt::PCI.end
        };
        out.extend(foreign(leaves.iter().filter(|leaf| !fits(leaf)), &What::BarElsewhere(device.clone())));
    }
    out
}
