//! Checks of `vmas`, the VMAs that s2lab's own kernel module makes.

use super::RAM;
use super::parts::{Parts, Step, WHILE};
use crate::diagnostic::Sink;
use crate::yaml::{Entry, Node};
use s2lab_protocol::{MemslotOperation, Pgprot, VmaKind};
use std::collections::BTreeSet;

/// The kind of memory that the module makes: a way of assigning a device, and a kind of RAM.
pub(super) const WAY: &str = "module";
/// Linux 6.1 to 7.2 arch/arm64/kvm/mmu.c, kvm_arch_prepare_memory_region.
const UNLOGGED: &str = "KVM logs no dirty pages of `pfnmap`";

pub(super) fn check(parts: &Parts<'_>, sink: &mut Sink<'_>) {
    for guest in parts.guests.iter().flat_map(|guests| guests.values()) {
        let of_module: BTreeSet<&str> = regions(guest).map(|(name, _)| name).collect();
        for (name, node) in regions(guest).filter(|(name, _)| vma(guest, name).is_none()) {
            let help =
                format!("write `vmas: {{{name}: {{pgprot: write-combine}}}}` in guest `{}`", guest.key);
            sink.error_help(node.span.clone(), format!("`{WAY}` needs the VMA of `{name}`"), help);
        }
        for entry in guest.node.get("vmas").into_iter().flat_map(Node::entries) {
            if !of_module.contains(entry.key.as_str()) {
                let message = format!("guest `{}` has no memory of `{WAY}` as `{}`", guest.key, entry.key);
                let help = match entry.key.as_str() {
                    RAM => format!("write `ram: {WAY}`"),
                    device => format!("write `assign: {{{device}: {WAY}}}`"),
                };
                sink.error_help(entry.span.clone(), message, help);
            }
            fits(entry, sink);
        }
    }
    parts.steps("memslot").for_each(|step| operates(parts, step, sink));
    parts.steps(WHILE).for_each(|step| logs(parts, step, sink));
}

/// Yields the regions of a guest whose memory is of the module, each with the place that says so.
fn regions(guest: &Entry) -> impl Iterator<Item = (&str, &Node)> {
    let devices = guest.node.get("assign").map(Node::entries).unwrap_or_default().iter();
    let devices = devices.map(|device| (device.key.as_str(), &device.node));
    let ram = guest.node.get("ram").map(Node::one_or_many).unwrap_or_default().iter();
    devices.chain(ram.map(|kind| (RAM, kind))).filter(|(_, node)| node.text() == Some(WAY))
}

fn vma<'a>(guest: &'a Entry, region: &str) -> Option<&'a Node> {
    guest.node.get("vmas")?.get(region)
}

fn is_on<'a>(vma: &'a Node, key: &str) -> Option<&'a Node> {
    vma.get(key).filter(|value| value.to_value().as_bool() == Some(true))
}

/// Checks that the properties of a VMA fit each other.
fn fits(Entry { key: region, node: vma, .. }: &Entry, sink: &mut Sink<'_>) {
    if let Some(node) = is_on(vma, "private") {
        // vmf_insert_pfn takes no mapping for copy-on-write (Linux 6.1 and 6.12 mm/memory.c).
        let is_mixed = vma.get("kind").and_then(Node::text) == Some(VmaKind::Mixedmap.name());
        if region == RAM {
            let message = "a guest that stores to private RAM of the module ends";
            sink.error_help(
                node.span.clone(),
                message,
                "leave `private` out: KVM maps page frames of a private VMA only for loads",
            );
        } else if is_mixed {
            let message = "a private VMA with page frames alone is `pfnmap`";
            sink.error_help(node.span.clone(), message, "write `kind: pfnmap`, or leave `private` out");
        }
    }
    let pgprot = vma.get("pgprot");
    let is = |words: &[Pgprot]| words.iter().any(|word| pgprot.and_then(Node::text) == Some(word.name()));
    if let Some(node) = pgprot.filter(|_| region == RAM && is(&[Pgprot::Device, Pgprot::Noncached])) {
        let message = "RAM that is Device memory for the VMM cannot be copied to";
        sink.error_help(node.span.clone(), message, "write `write-back` or `write-combine`");
    }
    if let Some(node) = is_on(vma, "marked")
        && is(&[Pgprot::WriteBack])
        && region != RAM
    {
        // Linux 6.17 arch/arm64/kvm/mmu.c, user_mem_abort: a cacheable VMA is cacheable, whatever its flag is.
        let message = "versions of KVM differ in the type of a marked VMA that is cacheable";
        sink.error_help(node.span.clone(), message, "leave `marked` out, or write `pgprot: write-combine`");
    }
}

/// Returns true if RAM is page frames alone.
fn has_frames(guest: &Entry) -> bool {
    let kind = |vma: &Node| vma.get("kind").and_then(Node::text) != Some(VmaKind::Mixedmap.name());
    vma(guest, RAM).is_some_and(kind)
}

/// Reports a log of RAM that the kernel refuses.
fn logs(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let guest = || parts.guests.as_ref()?.get(step.body.get("store")?.get("guest")?.text()?).copied();
    if let Some(node) = is_on(step.body, "log")
        && guest().is_some_and(has_frames)
    {
        sink.error_help(node.span.clone(), UNLOGGED, "write `kind: mixedmap`");
    }
}

/// Reports operations that the kernel refuses for such a VMA.
fn operates(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let guest = || parts.guests.as_ref()?.get(step.word("guest")?).copied();
    let (Some(guest), Some(node)) = (guest(), step.body.get("of")) else { return };
    let Some(of) = node.text().filter(|of| regions(guest).any(|(name, _)| name == *of)) else { return };
    let is_private = vma(guest, of).is_some_and(|vma| is_on(vma, "private").is_some());
    let is_log = step.word("do") != Some(MemslotOperation::Fork.name());
    if of == RAM && is_log && has_frames(guest) {
        sink.error_help(node.span.clone(), UNLOGGED, "write `kind: mixedmap`");
    } else if is_private {
        let message = format!("`{of}` is private: the copy is not the BAR");
        sink.error_help(node.span.clone(), message, "leave `private` out");
    }
}
