//! Checks of looks at the host's own stage 2, and of what is expected there.

use super::expectations::OF_TABLES;
use super::parts::{Parts, Step};
use super::{Stage2Type, arguments};
use crate::diagnostic::{Sink, suggest};
use crate::regions::HostRegion;
use crate::yaml::Node;

/// The argument of the host's kernel for the mode of KVM with a stage 2 of the host's own.
const PROTECTED: &str = "kvm-arm.mode=protected";

/// Checks that the host has a stage 2 of its own.
pub(super) fn check(root: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    for of in parts.steps("look").filter(|look| look.is_of_host()).filter_map(|look| look.body.get("of")) {
        let why = "the host has no stage 2 of its own: KVM gives it one in protected mode alone";
        arguments::require(root, PROTECTED, &of.span, why, sink);
    }
}

/// Returns true if an expectation is about looks at the host. Reports one that is about other looks too.
pub(super) fn is_of_host(expectation: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) -> bool {
    let of_host = |at: &&Node| {
        let is_it = |look: &&Step<'_>| at.text().is_some() && look.word("name") == at.text();
        parts.steps("look").find(is_it).is_some_and(Step::is_of_host)
    };
    let places = || expectation.get("at").into_iter().flat_map(Node::one_or_many);
    let Some(at) = places().find(of_host) else { return false };
    if let Some(other) = places().find(|at| !of_host(at)) {
        let (host, other) = (at.text().unwrap_or_default(), other.text().unwrap_or_default());
        let message = format!("look `{host}` is one at the host, and `{other}` is not");
        sink.error_help(at.span.clone(), message, "write an expectation for each");
    }
    true
}

/// Checks the region of an expectation about looks at the host, and what it asserts.
pub(super) fn expectation(expectation: &Node, sink: &mut Sink<'_>) {
    let Some(node) = expectation.get("of") else { return };
    let Some(of) = node.text() else { return };
    let Some(region) = HostRegion::named(of) else {
        let known = HostRegion::ALL.map(HostRegion::name);
        let message = format!("the host's own stage 2 has no region `{of}`");
        sink.error_help(node.span.clone(), message, suggest(of, known));
        return;
    };
    for entry in expectation.entries() {
        let key = entry.key.as_str();
        if OF_TABLES.contains(&key) && !region.keys().contains(&key) {
            let message = format!("`{key}` is not asked of `{of}` in the host's own stage 2");
            let keys = region.keys().iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            sink.error_help(entry.span.clone(), message, format!("known here: {keys}"));
        }
    }
    let Some(stage2) = expectation.get("stage2") else { return };
    let asked = stage2.text().and_then(|text| Stage2Type::try_from(text.to_owned()).ok());
    if asked.is_some_and(|asked| !region.may_have(asked)) {
        let (message, help) = match region {
            HostRegion::Ram | HostRegion::Mmio => {
                ("the host always has it mapped", "write a type, as `Normal-WB`")
            }
            HostRegion::Hypervisor | HostRegion::Stacks => {
                ("the host must not have it mapped", "write `stage2: none`")
            }
        };
        sink.error_help(stage2.span.clone(), format!("`{of}`: {message}"), help);
    }
}
