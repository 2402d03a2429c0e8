//! Checks of the step `while`. The operations and the store in it are checked like steps of their own.

use super::RAM;
use super::parts::{Parts, Step, WHILE};
use crate::diagnostic::Sink;
use crate::lines::one_of;
use crate::yaml::{Class, Entry, Node, Value};
use s2lab_protocol::DeviceOperation;

pub(super) fn check(parts: &Parts<'_>, sink: &mut Sink<'_>) {
    for (place, step) in parts.steps.iter().enumerate().filter(|(_, step)| step.kind == WHILE) {
        one_width(step, sink);
        acts_on_the_device(step, sink);
        fits_the_vmm(parts, step, sink);
        let is_of_slot = |entry: &&Entry| {
            one_of(DeviceOperation::ALL, &entry.key).is_some_and(DeviceOperation::is_of_slot)
        };
        if let Some(entry) = operations(step).find(is_of_slot) {
            let message = format!("`{}` in `while`", entry.key);
            let help = "the guest may not store to a device that it gives up: write a step `host`";
            sink.error_help(entry.span.clone(), message, help);
        }
        let looked = parts.steps.iter().take(place).any(Step::is_of_guests);
        if let Some(disabling) = disabling(step).next().filter(|_| !looked) {
            let message = format!("`{}` in `while` without a look before it", disabling.key);
            let why = "the tables are read after each such operation, by the registers of a look";
            sink.error_help(disabling.span.clone(), message, why);
        }
    }
}

fn store<'a>(step: &Step<'a>) -> Option<&'a Node> {
    step.body.get("store")
}

/// Yields the operations of a round.
fn operations<'a>(step: &Step<'a>) -> impl Iterator<Item = &'a Entry> + use<'a> {
    let items = step.body.get("host").map(Node::items).unwrap_or_default();
    items.iter().filter_map(|item| item.entries().first())
}

/// Yields the operations that disable a BAR.
fn disabling<'a>(step: &Step<'a>) -> impl Iterator<Item = &'a Entry> + use<'a> {
    let disables = |entry: &&Entry| {
        let operation = one_of(DeviceOperation::ALL, &entry.key);
        operation.is_some_and(|operation| operation.undone_by().is_some())
    };
    operations(step).filter(disables)
}

fn one_width(step: &Step<'_>, sink: &mut Sink<'_>) {
    if let Some(width) = store(step).and_then(|store| store.get("width"))
        && width.items().len() > 1
    {
        let message = "the store of a `while` has one width";
        sink.error_help(width.span.clone(), message, "write a step for each width");
    }
}

/// Checks that the operations meet the stores.
fn acts_on_the_device(step: &Step<'_>, sink: &mut Sink<'_>) {
    let Some(device) = store(step).and_then(|store| store.get("device")?.text()) else { return };
    if operations(step).next().is_some() && !operations(step).any(|one| one.node.text() == Some(device)) {
        let message = format!("no operation is on `{device}`, to which the guest stores");
        sink.error_help(step.span.clone(), message, format!("add one, like `{{reset: {device}}}`"));
    }
}

/// Checks that the VMM of the guest has what the step needs.
fn fits_the_vmm(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let name = store(step).and_then(|store| store.get("guest")?.text());
    let guest = parts.guests.as_ref().and_then(|guests| guests.get(name?));
    let Some(guest) = guest else { return };
    let logs = step.body.entries().iter().find(|entry| entry.key == "log");
    let is_true = |node: &Node| matches!(&node.value, Value::Scalar(Class::Bool, word) if word == "true");
    let logs = logs.filter(|entry| is_true(&entry.node));
    if guest.node.get("vmm").and_then(Node::text) == Some("qemu") {
        if let Some(entry) = disabling(step).next() {
            let message = format!("QEMU stops guest `{}` if it stores after `{}`", guest.key, entry.key);
            let help = "write `vmm: builtin`, or operations like `reset` that leave the BAR enabled";
            sink.error_help(entry.span.clone(), message, help);
        }
        if let Some(entry) = logs {
            let message = format!("guest `{}` has QEMU, whose memslots are its own", guest.key);
            sink.error_help(entry.span.clone(), message, "write `vmm: builtin`");
        }
    } else if let Some(entry) = logs
        && guest.node.get("join").into_iter().flat_map(Node::items).any(|one| one.text() == Some(RAM))
    {
        let message = format!("the memslot of `{RAM}` is joined with another");
        sink.error_help(entry.span.clone(), message, "leave `join` out of the guest");
    }
}
