//! Checks of `nvme` and of the step `dma`: a drive belongs to a guest with a Linux, whose driver alone accesses the
//! device.

use super::parts::{Parts, Step, model, size};
use super::{Size, arguments};
use crate::diagnostic::Sink;
use crate::yaml::{Entry, Node};
use s2lab_protocol::DeviceOperation;
use std::{collections::BTreeSet, ops::RangeInclusive};

/// The model with a drive.
const MODEL: &str = "nvme";
/// The sizes of a drive, and the unit.
const DRIVE: RangeInclusive<u64> = MIB..=1 << 30;
const MIB: u64 = 1 << 20;
/// The most bytes of a transfer, and the unit.
const MOST_BYTES: u64 = 64 << 20;
const PAGE: u64 = 4096;

/// vfio-pci leaves a device that nobody has open switched on (Linux 6.1 to 7.2 drivers/vfio/pci/vfio_pci.c). Else
/// it goes into D3hot: the controller has that state, ivshmem-plain does not. QEMU unmaps the BARs of a device in
/// D3hot (QEMU 10.0 hw/pci/pci.c, pci_pm_state).
const STAYS_ON: &str = "vfio_pci.disable_idle_d3=1";

pub(super) fn check(root: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    for device in parts.devices.iter().flat_map(|devices| devices.values()) {
        has_drive(device, sink);
    }
    for guest in parts.guests.iter().flat_map(|guests| guests.values()) {
        for device in guest.node.get("assign").into_iter().flat_map(Node::entries) {
            if guest.node.get("vmm").and_then(Node::text) == Some("builtin") && is_drive(parts, &device.key) {
                let message = format!("a guest of the built-in VMM has no driver for `{}`", device.key);
                sink.error_help(device.span.clone(), message, "write `vmm: qemu`");
            } else if is_drive(parts, &device.key) {
                let why = "vfio-pci switches an idle drive off, and QEMU then has no place of its BAR";
                arguments::require(root, STAYS_ON, &device.span, why, sink);
            }
        }
    }
    let mut released = BTreeSet::new();
    for step in &parts.steps {
        match step.kind {
            "dma" => transfers(parts, step, &released, sink),
            _ => accesses(parts, step, sink),
        }
        has_reset(parts, step, sink);
        released.extend(resets(step).map(|(_, device)| device));
    }
    for of in root.get("expect").into_iter().flat_map(Node::items).filter_map(|one| one.get("of")) {
        if of.text().is_some_and(|device| is_drive(parts, device)) {
            let message = "the guest's driver decides what it accesses of this device";
            sink.error_help(of.span.clone(), message, "expect something of another region");
        }
    }
}

fn is_drive(parts: &Parts<'_>, name: &str) -> bool {
    parts.is_model(name, MODEL)
}

fn has_drive(device: &Entry, sink: &mut Sink<'_>) {
    let drive = device.node.get("drive");
    match (model(device), drive) {
        (Some(MODEL), None) => {
            let message = format!("`{}` has no drive", device.key);
            sink.error_help(device.span.clone(), message, "write `drive: 16M`");
        }
        (Some(model), Some(drive)) if model != MODEL => {
            let message = format!("`{model}` has no drive");
            sink.error_help(drive.span.clone(), message, format!("write `model: {MODEL}`"));
        }
        _ => {}
    }
    if let (Some(node), Some(bytes)) = (drive, size(drive))
        && !(DRIVE.contains(&bytes) && bytes.is_multiple_of(MIB))
    {
        sink.error(node.span.clone(), "a drive has 1M to 1G, a multiple of 1M");
    }
}

fn transfers(parts: &Parts<'_>, step: &Step<'_>, released: &BTreeSet<&str>, sink: &mut Sink<'_>) {
    let Some((node, name)) = step.body.get("device").and_then(|node| Some((node, node.text()?))) else {
        return;
    };
    let Some(known) = parts.device(name) else { return };
    if !is_drive(parts, name) {
        let help = format!("give it one: `{name}: {{model: {MODEL}, drive: 16M, ...}}`");
        sink.error_help(node.span.clone(), format!("`{name}` has no drive"), help);
        return;
    }
    if released.contains(name) {
        let message = format!("the driver of the guest has released `{name}` before its reset");
        sink.error_help(node.span.clone(), message, "write the transfer before the step `guest`");
        return;
    }
    let bytes = step.body.get("bytes").and_then(|node| Some((node, size(Some(node))?)));
    let Some((node, bytes)) = bytes else { return };
    if bytes == 0 || !bytes.is_multiple_of(PAGE) || bytes > MOST_BYTES {
        sink.error(node.span.clone(), "a transfer has 4K to 64M, a multiple of 4K");
    } else if let Some(drive) = size(known.node.get("drive")).filter(|drive| *drive < bytes) {
        let message = format!("{} is more than the drive of `{name}` has: {}", Size(bytes), Size(drive));
        sink.error(node.span.clone(), message);
    }
}

/// Returns the device of a step in which a guest resets its function.
fn resets<'a>(step: &Step<'a>) -> Option<(&'a Entry, &'a str)> {
    let entry = step.operation().filter(|entry| entry.key == DeviceOperation::FunctionReset.name())?;
    Some((entry, entry.node.text()?))
}

/// Reports a function that cannot be reset.
fn has_reset(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let Some((entry, device)) = resets(step) else { return };
    if let Some(model) = parts.device(device).and_then(model).filter(|model| *model != MODEL) {
        let message = format!("`{device}` has no Function Level Reset: it is of the model `{model}`");
        sink.error_help(entry.span.clone(), message, format!("name a device of the model `{MODEL}`"));
    }
}

/// Reports a step that accesses a device with a driver, or acts on it.
fn accesses(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let operation = step.operation().filter(|_| resets(step).is_none()).map(|entry| &entry.node);
    let named = operation.into_iter().chain(["device", "reset"].iter().filter_map(|key| step.body.get(key)));
    for node in named {
        if let Some(name) = node.text().filter(|name| is_drive(parts, name)) {
            let message = format!("the guest's driver has `{name}`, and nothing else may access it");
            sink.error_help(node.span.clone(), message, format!("write a step `dma` of `{name}`"));
        }
    }
}
