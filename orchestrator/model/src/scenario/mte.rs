//! Checks of `mte`, memory tagging of a host and of a guest.

use super::parts::Parts;
use crate::diagnostic::Sink;
use crate::lines::one_of;
use crate::yaml::{Entry, Node};
use s2lab_protocol::RamKind;

/// The CPU model with FEAT_MTE2 that s2lab offers for it (QEMU 10.0 docs/system/arm/emulation.rst).
const CPU: &str = "max";

pub(super) fn check(root: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    let host = root.get("host");
    let of_host = host.filter(|host| is_on(host));
    let cpu = of_host.and_then(|host| host.get("cpu"));
    if let Some(cpu) = cpu.filter(|cpu| cpu.text().is_some_and(|name| name != CPU)) {
        let message = "memory tagging is offered with another CPU";
        sink.error_help(cpu.span.clone(), message, format!("write `cpu: {CPU}`, or leave `mte` out"));
    }
    for guest in parts.guests.iter().flat_map(|guests| guests.values()).filter(|guest| has(guest)) {
        let Some(node) = guest.node.get("mte") else { continue };
        if host.is_some() && of_host.is_none() {
            sink.error_help(
                node.span.clone(),
                "the host has no memory tagging",
                "write `mte: true` in `host`",
            );
        }
        for kind in guest.node.get("ram").into_iter().flat_map(Node::one_or_many) {
            let has_tags = |kind: RamKind| matches!(kind, RamKind::Anonymous | RamKind::Thp | RamKind::NoThp);
            let known = kind.text().and_then(|word| one_of(RamKind::ALL, word));
            if known.is_some_and(|known| !has_tags(known)) {
                let message = "KVM refuses such memory in a guest with memory tagging";
                sink.error_help(kind.span.clone(), message, "write `anonymous`, `thp` or `no-thp`");
            }
        }
    }
}

fn is_on(node: &Node) -> bool {
    node.get("mte").is_some_and(|value| value.to_value().as_bool() == Some(true))
}

/// Returns true if a guest has memory tagging.
pub(super) fn has(guest: &Entry) -> bool {
    is_on(&guest.node)
}
