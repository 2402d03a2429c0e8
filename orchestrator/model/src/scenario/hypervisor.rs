//! Checks of `hypervisor`: what the host of a guest hypervisor must have.

use super::parts::Parts;
use super::{arguments, mte};
use crate::diagnostic::Sink;
use crate::yaml::{Entry, Node};

/// The CPU models with FEAT_NV2 (ID_AA64MMFR2_EL1.NV is 2, QEMU 10.0 target/arm/tcg/cpu64.c), without which KVM has
/// no EL2 for guests (Linux 7.3 arch/arm64/kernel/cpufeature.c, has_nested_virt_support).
const CPUS: [&str; 3] = ["max", "neoverse-v1", "neoverse-n2"];

/// The argument of the host's kernel for the mode of KVM with EL2 for guests.
const NESTED: &str = "kvm-arm.mode=nested";

pub(super) fn check(root: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    let guests = || parts.guests.iter().flat_map(|guests| guests.values());
    let mut keys = guests().filter_map(|guest| key(guest)).peekable();
    let (Some(host), Some(_)) = (root.get("host"), keys.peek()) else { return };
    let cpu = host.get("cpu").and_then(|cpu| Some((cpu, cpu.text()?)));
    if let Some((node, name)) = cpu.filter(|(_, name)| !CPUS.contains(name)) {
        let known = CPUS.map(|name| format!("`{name}`")).join(", ");
        let message = format!("{name} has no FEAT_NV2, so KVM has no EL2 for a guest hypervisor");
        sink.error_help(
            node.span.clone(),
            message,
            format!("write one of {known}, or leave `hypervisor` out"),
        );
    }
    if let Some(gic) = host.get("gic").filter(|gic| gic.written() == Some("2")) {
        let message = "a guest hypervisor needs a GICv3";
        sink.error_help(gic.span.clone(), message, "leave `gic` out, or `hypervisor`");
    }
    for key in keys {
        arguments::require(root, NESTED, &key.span, "the host's KVM has no EL2 for guests", sink);
    }
    for guest in guests().filter(|guest| mte::has(guest)) {
        let Some(key) = key(guest) else { continue };
        let message = "KVM has no memory tagging for a guest hypervisor";
        sink.error_help(key.span.clone(), message, "leave `mte` out, or `hypervisor`");
    }
}

fn key(guest: &Entry) -> Option<&Entry> {
    guest.node.entries().iter().find(|entry| entry.key == "hypervisor")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::CpuModel;

    #[test]
    fn the_cpus_are_models_of_hosts() {
        assert!(CPUS.iter().all(|name| CpuModel::named(name).is_some()));
    }
}
