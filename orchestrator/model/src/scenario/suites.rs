//! Checks of the BAR of each device, and of the step `suite`: a device that selftests drive belongs to no guest, and
//! only a suite of VFIO has one.

use super::parts::{Parts, Step, model};
use crate::diagnostic::Sink;
use crate::steps::Suite;
use crate::yaml::Entry;

/// The model with BARs of its own.
pub(super) const MODEL: &str = "igb";
/// The keys of a device about a BAR whose memory s2lab makes.
const OF_BAR: [&str; 2] = ["bar", "count"];

pub(super) fn check(parts: &Parts<'_>, sink: &mut Sink<'_>) {
    for device in parts.devices.iter().flat_map(|devices| devices.values()) {
        has_bar(device, sink);
    }
    for step in parts.steps("suite") {
        has_device(parts, step, sink);
    }
}

/// Checks that a device has a BAR of its scenario's size, or none.
fn has_bar(device: &Entry, sink: &mut Sink<'_>) {
    if model(device) == Some(MODEL) {
        for node in OF_BAR.iter().filter_map(|key| device.node.get(key)) {
            let message = format!("`{MODEL}` has BARs of its own, whose accesses are not counted");
            sink.error_help(node.span.clone(), message, "leave the key out");
        }
    } else if model(device).is_some() && device.node.get("bar").is_none() {
        sink.error_help(
            device.span.clone(),
            "missing key `bar`",
            "`bar`: size of the prefetchable BAR, like 16M",
        );
    }
}

/// Checks the device of a suite: one that needs a device has one, which no guest has.
fn has_device(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let Some(suite) = step.word("of").and_then(|of| of.parse::<Suite>().ok()) else { return };
    match (step.body.get("device"), suite.needs_device()) {
        (None, true) => {
            let help = "name one: `device: nic`, and `nic: {model: igb}` in `host`";
            sink.error_help(step.span.clone(), format!("{suite} need a device"), help);
        }
        (Some(node), false) => {
            sink.error_help(node.span.clone(), format!("{suite} have no device"), "leave the key out");
        }
        (Some(node), true) => {
            let owner = node.text().and_then(|device| Some((device, parts.owner.get(device)?)));
            if let Some((device, owner)) = owner {
                let message = format!("`{device}` is assigned to `{owner}`, which has it to itself");
                sink.error_help(node.span.clone(), message, "name a device that no guest has");
            }
        }
        (None, false) => {}
    }
}
