//! Checks of `flash`, the platform device of a host.

use super::parts::{Parts, Step};
use super::{FLASH, arguments};
use crate::diagnostic::Sink;
use crate::yaml::Node;

/// The way of assigning a platform device.
pub(super) const WAY: &str = "vfio-platform";
/// vfio-platform takes no device that it cannot reset, unless it is told to, and it knows no flash (Linux 6.1
/// drivers/vfio/platform/vfio_platform_common.c, vfio_platform_probe_common).
const ARGUMENT: &str = "vfio_platform.reset_required=0";

pub(super) fn check(root: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    for guest in parts.guests.iter().flat_map(|guests| guests.values()) {
        for device in guest.node.get("assign").into_iter().flat_map(Node::entries) {
            let way = device.node.text();
            match (device.key.as_str(), way) {
                (FLASH, Some(WAY)) => {
                    let why = format!("`{WAY}` takes no device that it cannot reset, and so not the flash");
                    arguments::require(root, ARGUMENT, &device.node.span, &why, sink);
                }
                (FLASH, Some(way)) => {
                    let message = format!("`{FLASH}` is a platform device, which `{way}` does not have");
                    sink.error_help(device.node.span.clone(), message, format!("write `{FLASH}: {WAY}`"));
                }
                (name, Some(WAY)) => {
                    let message = format!("device `{name}` is a PCI function, which `{WAY}` does not have");
                    let help = format!("the only platform device is `{FLASH}`");
                    sink.error_help(device.node.span.clone(), message, help);
                }
                _ => {}
            }
        }
    }
    parts.steps.iter().for_each(|step| is_read(step, sink));
}

/// Reports a step that writes to the flash: it takes what is written as a command, and then no longer reads as
/// memory.
fn is_read(step: &Step<'_>, sink: &mut Sink<'_>) {
    let reads = matches!(step.kind, "load" | "look" | "memslot");
    let keys = if reads { &["with"][..] } else { &["device"] };
    for node in keys.iter().filter_map(|key| step.body.get(key)).filter(|node| node.text() == Some(FLASH)) {
        let message = format!("`{FLASH}` takes what is written to it as commands");
        sink.error_help(node.span.clone(), message, "write a `load`");
    }
}
