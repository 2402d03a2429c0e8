//! Checks of virtual functions and of the step `frames`: a function of an `igb` belongs to a guest whose payload has
//! the driver, and that driver alone accesses it.

use super::parts::{Parts, Step, size};
use super::{mte, suites, vmas};
use crate::diagnostic::Sink;
use crate::yaml::{Entry, Node};
use s2lab_protocol::DeviceOperation;

/// The way of assigning a virtual function.
pub(super) const WAY: &str = "virtual-function";
/// The most bytes of each direction, and the unit.
const MOST_BYTES: u64 = 64 << 20;
const PAGE: u64 = 4096;
/// The only operation of the host on a virtual function.
const RESET: &str = "reset";

pub(super) fn check(parts: &Parts<'_>, sink: &mut Sink<'_>) {
    for guest in parts.guests.iter().flat_map(|guests| guests.values()) {
        assigned(parts, guest, sink);
    }
    for step in &parts.steps {
        match step.kind {
            "frames" => frames(parts, step, sink),
            "look" => {}
            _ => accesses(parts, step, sink),
        }
    }
}

/// Returns true if a guest has a virtual function of the device.
fn is_function(parts: &Parts<'_>, device: &str) -> bool {
    let guest = parts.owner.get(device).and_then(|owner| parts.guests.as_ref()?.get(owner));
    guest.and_then(|guest| guest.node.get("assign")?.get(device)?.text()) == Some(WAY)
}

fn assigned(parts: &Parts<'_>, guest: &Entry, sink: &mut Sink<'_>) {
    let mut has_one = false;
    for device in guest.node.get("assign").into_iter().flat_map(Node::entries) {
        let (name, span) = (&device.key, device.node.span.clone());
        let (is_igb, is_function) = (parts.is_model(name, suites::MODEL), device.node.text() == Some(WAY));
        if is_igb && !is_function {
            let message = format!("a guest gets `{name}` as a `{WAY}` alone");
            sink.error_help(span, message, format!("write `{name}: {WAY}`"));
            continue;
        }
        if !is_function {
            continue;
        }
        if parts.device(name).is_some() && !is_igb {
            let message = format!("`{name}` has no virtual functions");
            sink.error_help(span, message, format!("write `model: {}` for it", suites::MODEL));
        } else if has_one {
            let message = format!("a second virtual function of guest `{}`", guest.key);
            sink.error_help(span, message, "a guest has memory for one: give this one to another guest");
        }
        has_one = true;
    }
    if has_one {
        memory(guest, sink);
    }
}

/// Reports memory that no device can access, and guests that cannot access the device.
fn memory(guest: &Entry, sink: &mut Sink<'_>) {
    let kinds = guest.node.get("ram").map(Node::one_or_many).unwrap_or_default();
    for kind in kinds.iter().filter(|kind| kind.text() == Some(vmas::WAY)) {
        let message = "VFIO maps no memory of `module` for a virtual function";
        sink.error_help(kind.span.clone(), message, "write another kind of RAM");
    }
    let keys = guest.node.entries().iter();
    for key in keys.filter(|key| key.key == "hypervisor" || key.key == "mte" && mte::has(guest)) {
        let message = format!("a guest with `{}` has no driver for a virtual function", key.key);
        sink.error_help(key.span.clone(), message, "leave the key out");
    }
}

fn frames(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let Some((node, name)) = step.body.get("device").and_then(|node| Some((node, node.text()?))) else {
        return;
    };
    if parts.owner.contains_key(name) && !is_function(parts, name) {
        let message = format!("no guest has a virtual function of `{name}`");
        sink.error_help(node.span.clone(), message, format!("assign it: `{name}: {WAY}`"));
    }
    let bytes = step.body.get("bytes").and_then(|node| Some((node, size(Some(node))?)));
    if let Some((node, _)) =
        bytes.filter(|(_, bytes)| *bytes == 0 || !bytes.is_multiple_of(PAGE) || *bytes > MOST_BYTES)
    {
        sink.error(node.span.clone(), "frames have 4K to 64M, a multiple of 4K");
    }
}

/// Reports a step that accesses a virtual function, or acts on it in a way that it does not have.
fn accesses(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    if let Some((entry, name)) = step.operation().and_then(|entry| Some((entry, entry.node.text()?))) {
        if is_function(parts, name) && entry.key != RESET {
            // Its memory space is always on, it has no state of low power, and its bus has the physical function too.
            let known = DeviceOperation::ALL.into_iter().any(|operation| operation.name() == entry.key);
            let message = format!("a virtual function has no `{}`", entry.key);
            if known {
                sink.error_help(entry.span.clone(), message, format!("write `{RESET}: {name}`"));
            }
        }
        return;
    }
    for node in ["device", "of", "with"].iter().filter_map(|key| step.body.get(key)) {
        if let Some(name) = node.text().filter(|name| is_function(parts, name)) {
            let message = format!("the driver in the guest has `{name}`, and nothing else may access it");
            sink.error_help(node.span.clone(), message, format!("write a step `frames` of `{name}`"));
        }
    }
}
