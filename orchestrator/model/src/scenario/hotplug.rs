//! Checks of the operations `unplug` and `plug`: the device has a slot for it, its VMM can give it up, and nothing
//! but an access may name it while it is away. `operations` checks accesses.

use super::parts::{Parts, Step};
use super::{FLASH, arguments, mte};
use crate::diagnostic::Sink;
use crate::lines::one_of;
use crate::yaml::{Entry, Node};
use s2lab_protocol::{DeviceOperation, MemslotOperation};
use std::collections::BTreeSet;

/// The driver of slots polls (Linux 6.1 to 7.2 drivers/pci/hotplug/pciehp_core.c). VFIO has a domain of its own for
/// the group of the device, and the port above is in that group.
const POLLS: &str = "pciehp.pciehp_poll_mode=1";

pub(super) fn check(root: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    if let Some((entry, ..)) = parts.steps.iter().find_map(plugs) {
        let why = "a slot has no interrupts while VFIO has its device, so the host's kernel must poll";
        arguments::require(root, POLLS, &entry.span, why, sink);
    }
    let mut away: BTreeSet<&str> = BTreeSet::new();
    for step in &parts.steps {
        match plugs(step) {
            Some((entry, DeviceOperation::Unplug, device)) => {
                has_slot(parts, entry, device, sink);
                given_up(parts, entry, device, sink);
                away.insert(device);
            }
            Some((_, _, device)) => drop(away.remove(device)),
            None => named(step, &away, sink),
        }
    }
}

/// Returns a step that plugs or unplugs: the entry, the operation and the device.
fn plugs<'a>(step: &Step<'a>) -> Option<(&'a Entry, DeviceOperation, &'a str)> {
    let entry = step.operation().filter(|_| step.kind == "host")?;
    let operation = one_of(DeviceOperation::ALL, &entry.key).filter(|operation| operation.is_of_slot())?;
    Some((entry, operation, entry.node.text()?))
}

fn has_slot(parts: &Parts<'_>, entry: &Entry, device: &str, sink: &mut Sink<'_>) {
    let Some(known) = parts.device(device) else { return };
    let may = known.node.get("hotplug").is_some_and(|value| value.to_value().as_bool() == Some(true));
    if !may && device != FLASH {
        let message = format!("the slot of `{device}` is not made for hot-plug");
        sink.error_help(entry.span.clone(), message, format!("write `{device}: {{hotplug: true, ...}}`"));
    }
}

/// Reports a device that its VMM cannot give up.
fn given_up(parts: &Parts<'_>, entry: &Entry, device: &str, sink: &mut Sink<'_>) {
    let Some(&name) = parts.owner.get(device) else { return };
    let Some(guest) = parts.guests.as_ref().and_then(|guests| guests.get(name)) else { return };
    let mut refuse = |why: String, help: &str| sink.error_help(entry.span.clone(), why, help);
    let joined = guest.node.get("join").map(Node::items).unwrap_or_default();
    if joined.iter().any(|one| one.text() == Some(device)) {
        refuse(format!("the memslot of `{device}` is joined with another"), "leave `join` out of the guest");
    } else if mte::has(guest) {
        let why = format!("guest `{name}` has memory tagging, so there is no memslot of `{device}`");
        refuse(why, "leave `mte` out of the guest");
    }
    let keeps = |step: &&Step<'_>| {
        let names = ["of", "with"].iter().any(|key| step.word(key) == Some(device));
        let operation = step.word("do").unwrap_or_default();
        let forks = operation == MemslotOperation::Fork.name() && step.word("guest") == Some(name);
        forks || names && operation != MemslotOperation::Log.name()
    };
    for step in parts.steps("memslot").filter(keeps) {
        let why = format!("a `memslot` of `{device}`, or a fork of its VMM, beside `unplug: {device}`");
        let help = "the VMM removes and adds the memslot that it had first: leave the step out";
        sink.error_help(step.span.clone(), why, help);
    }
}

/// Reports an operation on a device that is away.
fn named(step: &Step<'_>, away: &BTreeSet<&str>, sink: &mut Sink<'_>) {
    let operation = step.operation().map(|entry| &entry.node);
    let named =
        operation.into_iter().chain(["reset", "of", "with"].into_iter().filter_map(|key| step.body.get(key)));
    for node in named {
        if let Some(device) = node.text().filter(|device| away.contains(device)) {
            let message = format!("`{device}` is unplugged");
            let help = format!("write a step `host: {{plug: {device}}}` before it");
            sink.error_help(node.span.clone(), message, help);
        }
    }
}
