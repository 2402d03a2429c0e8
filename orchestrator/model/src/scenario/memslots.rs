//! Checks of the step `memslot`: its guest must have the VMM, the region and the other device, and
//! no access may come that the memslot does not allow.

use super::backing::read_only_regions;
use super::mte;
use super::parts::{Parts, Step, size};
use super::{RAM, Size};
use crate::diagnostic::Sink;
use crate::lines::one_of;
use crate::yaml::Node;
use s2lab_protocol::MemslotOperation;
use std::collections::{BTreeMap, BTreeSet};

/// The least size of a BAR of which a quarter is mapped once more: four of the largest pages of a host.
const LEAST_DIVIDED: u64 = 4 * (64 << 10);

/// The state of a memslot that does not allow every access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Removed,
    ReadOnly,
}

pub(super) fn check(parts: &Parts<'_>, sink: &mut Sink<'_>) {
    let guests = parts.guests.iter().flat_map(|guests| guests.values());
    let read_only: BTreeSet<&str> =
        guests.flat_map(|guest| read_only_regions(guest)).filter_map(Node::text).collect();
    let mut states: BTreeMap<&str, State> = read_only.iter().map(|of| (*of, State::ReadOnly)).collect();
    // KVM must refuse the memslot of a device in a guest with memory tagging, so it stays removed.
    let tagged = |device: &&str| {
        let guest = parts.owner.get(device).and_then(|guest| parts.guests.as_ref()?.get(guest));
        guest.is_some_and(|guest| mte::has(guest))
    };
    let tagged: BTreeSet<&str> = parts.owner.keys().copied().filter(tagged).collect();
    states.extend(tagged.iter().map(|of| (*of, State::Removed)));
    let (mut replaced, mut divided) = (BTreeSet::new(), BTreeSet::new());
    for step in &parts.steps {
        if step.kind != "memslot" {
            accesses(step, &states, sink);
            continue;
        }
        has_memslots(parts, step, sink);
        region(parts, step, sink);
        other(parts, step, sink);
        let (Some(of), Some(operation)) = (step.word("of"), step.word("do")) else { continue };
        let before = states.get(of).copied();
        if divided.contains(of) {
            sink.error(step.span.clone(), format!("`{of}` is divided, and has two memslots"));
            continue;
        }
        match (operation, before) {
            ("add", Some(State::Removed)) if tagged.contains(of) => {}
            ("add", Some(State::Removed)) if read_only.contains(of) => {
                states.insert(of, State::ReadOnly);
            }
            ("add", Some(State::Removed)) => drop(states.remove(of)),
            ("add", _) => {
                let message = format!("the memslot of `{of}` was not removed before");
                sink.error_help(step.span.clone(), message, "write a step with `do: remove` before it");
            }
            (_, Some(State::Removed)) => {
                let message = format!("the memslot of `{of}` is removed");
                sink.error_help(step.span.clone(), message, "write a step with `do: add` before it");
            }
            ("remove", _) => drop(states.insert(of, State::Removed)),
            ("read-only" | "protect", _) => drop(states.insert(of, State::ReadOnly)),
            // They add the memslot as it was first, or map a part of the BAR that can be written to.
            ("remap" | "move" | "divide" | "renew", Some(State::ReadOnly)) if !read_only.contains(of) => {
                let message = format!("`do: {operation}` of a read-only memslot");
                sink.error_help(
                    step.span.clone(),
                    message,
                    "write steps with `do: remove` and `do: add` before it",
                );
            }
            ("divide" | "renew", _) if replaced.contains(of) => {
                let message = format!("another BAR is behind the memslot of `{of}`");
                sink.error_help(
                    step.span.clone(),
                    message,
                    format!("{operation} the BAR before `do: replace`"),
                );
            }
            ("divide", _) => {
                divided.insert(of);
                large_enough(parts, step, sink);
            }
            ("renew", _) => large_enough(parts, step, sink),
            ("replace", _) => drop(replaced.insert(of)),
            _ => {}
        }
    }
}

/// Checks that a quarter of the BAR is whole pages.
fn large_enough(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let bar = || size(parts.devices.as_ref()?.get(step.word("of")?)?.node.get("bar"));
    if bar().is_some_and(|bar| bar < LEAST_DIVIDED) {
        let message = format!("a BAR whose quarter is mapped once more has {} or more", Size(LEAST_DIVIDED));
        sink.error_help(step.span.clone(), message, "pages of a host may have 64K");
    }
}

/// Reports an access that ends the guest, unless it is a probe.
fn accesses(step: &Step<'_>, states: &BTreeMap<&str, State>, sink: &mut Sink<'_>) {
    let (Some(node), Some(device)) = (step.body.get("device"), step.word("device")) else { return };
    let state = match states.get(device) {
        Some(State::Removed) if step.kind != "probe" => "removed",
        Some(State::ReadOnly) if !matches!(step.kind, "probe" | "load") => "read-only",
        _ => return,
    };
    let message = format!("the memslot of `{device}` is {state}: the access ends the guest");
    sink.error_help(
        node.span.clone(),
        message,
        "write steps with `do: remove` and `do: add` before it, or a `probe`",
    );
}

fn has_memslots(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let (Some(node), Some(guest)) = (step.body.get("guest"), step.word("guest")) else { return };
    let vmm = parts.guests.as_ref().and_then(|guests| guests.get(guest)?.node.get("vmm")?.text());
    if vmm == Some("qemu") {
        let message = format!("guest `{guest}` has QEMU, whose memslots are its own");
        sink.error_help(node.span.clone(), message, "write `vmm: builtin`");
    }
}

fn region(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let (Some(node), Some(of)) = (step.body.get("of"), step.word("of")) else { return };
    match step.word("do").and_then(|word| one_of(MemslotOperation::ALL, word)) {
        Some(operation) if operation.is_of_ram() && of != RAM => {
            let message = format!("`do: {operation}` is about all memory of the VMM");
            sink.error_help(node.span.clone(), message, format!("write `of: {RAM}`"));
        }
        _ if of != RAM => of_guest(parts, step, "of", sink),
        None => {}
        Some(operation) if operation.is_of_ram() || operation.is_of_log() => {}
        Some(operation) => {
            let message = format!("`do: {operation}` of `{RAM}`: the guest runs in it");
            let of_ram = MemslotOperation::ALL.into_iter().filter(|one| one.is_of_ram() || one.is_of_log());
            let words: Vec<_> = of_ram.map(|one| format!("`do: {one}`")).collect();
            sink.error_help(node.span.clone(), message, format!("of RAM there are {}", words.join(", ")));
        }
    }
}

/// Checks that the guest has the device that a key names.
fn of_guest(parts: &Parts<'_>, step: &Step<'_>, key: &str, sink: &mut Sink<'_>) {
    let (Some(node), Some(device)) = (step.body.get(key), step.word(key)) else { return };
    let Some(guest) = step.word("guest") else { return };
    if parts.is_device(device, &node.span, sink) && parts.owner.get(device) != Some(&guest) {
        sink.error(node.span.clone(), format!("guest `{guest}` does not have device `{device}`"));
    }
}

fn other(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let with = step.body.get("with");
    match (step.word("do"), with) {
        (Some("replace"), None) => {
            let message = "`do: replace` needs `with`: the device whose BAR comes there";
            sink.error(step.span.clone(), message);
        }
        (Some("replace"), Some(node)) => {
            of_guest(parts, step, "with", sink);
            let bar = |key| parts.bar(step.word(key)?);
            if step.word("with") == step.word("of") {
                sink.error(node.span.clone(), "a BAR does not replace itself");
            } else if let (Some(of), Some(with)) = (bar("of"), bar("with"))
                && with < of
            {
                sink.error(node.span.clone(), "the BAR that comes there is smaller than the memslot");
            }
        }
        (Some(_), Some(node)) => sink.error(node.span.clone(), "only `do: replace` has `with`"),
        _ => {}
    }
}
