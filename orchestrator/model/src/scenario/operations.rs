//! Checks of the steps `host` and `guest`: an operation must be possible, and change something, and no
//! access may come while the device is disabled.

use super::parts::{Parts, Step};
use crate::diagnostic::Sink;
use crate::lines::one_of;
use s2lab_protocol::DeviceOperation;
use std::collections::BTreeSet;

pub(super) fn check(parts: &Parts<'_>, sink: &mut Sink<'_>) {
    // What disables which device.
    let mut disabled: BTreeSet<(&str, DeviceOperation)> = BTreeSet::new();
    for step in &parts.steps {
        let Some(entry) = step.operation() else {
            accesses(step, &disabled, sink);
            continue;
        };
        let Some(device) = entry.node.text() else { continue };
        if step.kind == "guest" {
            has_configuration_space(parts, step, device, sink);
        }
        let Some(operation) = one_of(DeviceOperation::ALL, &entry.key) else { continue };
        let changes = match operation.undone_by() {
            Some(_) => {
                let changes = disabled.insert((device, operation));
                if operation == DeviceOperation::Unplug {
                    // It comes back as it was first.
                    disabled.retain(|(of, by)| *of != device || *by == operation);
                }
                changes
            }
            None => {
                let before = disabled.len();
                disabled.retain(|(of, by)| (*of, by.undone_by()) != (device, Some(operation)));
                disabled.len() < before || operation.is_reset()
            }
        };
        if !changes {
            let message = format!("`{operation}` of `{device}` changes nothing");
            sink.error_help(entry.span.clone(), message, "it is the device's state already");
        }
    }
}

/// Reports an access to a disabled device, unless it is a probe.
fn accesses(step: &Step<'_>, disabled: &BTreeSet<(&str, DeviceOperation)>, sink: &mut Sink<'_>) {
    let (Some(node), Some(device)) = (step.body.get("device"), step.word("device")) else { return };
    let by = disabled.iter().find(|(of, _)| *of == device).filter(|_| step.kind != "probe");
    if let Some((by, undone)) = by.and_then(|(_, by)| Some((by, by.undone_by()?))) {
        let message = format!("an access to `{device}` after `{by}` ends the guest");
        let help = format!("write a step with `{undone}` before it, or a `probe`");
        sink.error_help(node.span.clone(), message, help);
    }
}

/// Reports an operation that a guest of the built-in VMM makes.
fn has_configuration_space(parts: &Parts<'_>, step: &Step<'_>, device: &str, sink: &mut Sink<'_>) {
    let Some(guest) = parts.owner.get(device) else { return };
    let vmm = parts.guests.as_ref().and_then(|guests| guests.get(guest)?.node.get("vmm")?.text());
    if vmm == Some("builtin") {
        let message = format!("guest `{guest}` has the built-in VMM, and so no configuration space");
        sink.error_help(step.span.clone(), message, "write `host`, or `vmm: qemu`");
    }
}
