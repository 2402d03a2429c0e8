//! Checks of the keys `ram`, `join` and `read-only` of a guest: the memory behind its regions.

use super::parts::{Parts, Step, size};
use super::{Guest, RAM, Size};
use crate::diagnostic::Sink;
use crate::lines::one_of;
use crate::yaml::{Entry, Node};
use s2lab_protocol::{MemslotOperation, RamKind};

/// The least size of a joined BAR: the largest page of a host.
const LEAST_JOINED: u64 = 64 << 10;

pub(super) fn check(parts: &Parts<'_>, sink: &mut Sink<'_>) {
    for guest in parts.guests.iter().flat_map(|guests| guests.values()) {
        is_of_builtin(guest, sink);
        whole_pages(guest, sink);
        joined(parts, guest, sink);
        read_only(parts, guest, sink);
    }
    for step in parts.steps("memslot") {
        operates(parts, step, sink);
    }
}

fn is_of_builtin(guest: &Entry, sink: &mut Sink<'_>) {
    if guest.node.get("vmm").and_then(Node::text) != Some("qemu") {
        return;
    }
    let of_builtin = ["ram", "join", "read-only", "mte", "vmas", "hypervisor"];
    for key in guest.node.entries().iter().filter(|entry| of_builtin.contains(&entry.key.as_str())) {
        let message = format!("`{}` is a key of the built-in VMM; QEMU decides about its memslots", key.key);
        sink.error_help(key.span.clone(), message, "write `vmm: builtin`, or leave it out");
    }
}

/// Checks that huge pages fill their part of RAM.
fn whole_pages(guest: &Entry, sink: &mut Sink<'_>) {
    let Some(kinds) = guest.node.get("ram").map(Node::one_or_many) else { return };
    let memory = guest.node.get("memory");
    let memory = memory.map_or(Some(Guest::default_memory().0), |_| size(memory));
    let (Some(memory), true) = (memory, !kinds.is_empty()) else { return };
    let part = memory / kinds.len() as u64;
    for kind in kinds {
        let page = kind.text().and_then(|word| one_of(RamKind::ALL, word)?.huge_page());
        let Some(page) = page.filter(|page| !part.is_multiple_of(*page)) else { continue };
        let message = format!("{} of RAM are not whole pages of {}", Size(part), Size(page));
        let help = format!("give the guest `memory`: a multiple of {}", Size(page * kinds.len() as u64));
        sink.error_help(kind.span.clone(), message, help);
    }
}

/// Yields the regions that a guest joins.
fn regions(guest: &Entry) -> impl Iterator<Item = &Node> {
    guest.node.get("join").into_iter().flat_map(Node::items)
}

fn joined(parts: &Parts<'_>, guest: &Entry, sink: &mut Sink<'_>) {
    for (node, place) in regions(guest).zip(0..) {
        let Some(name) = node.text() else { continue };
        if name == RAM {
            if place > 0 {
                let help = format!("write `{RAM}` first, and the device second");
                sink.error_help(node.span.clone(), format!("`{RAM}` is not right behind a BAR"), help);
            }
            continue;
        }
        if !parts.is_device(name, &node.span, sink) {
            continue;
        }
        if parts.owner.get(name) != Some(&guest.key.as_str()) {
            let message = format!("guest `{}` does not have device `{name}`", guest.key);
            sink.error(node.span.clone(), message);
        }
        let bar = parts.bar(name);
        if bar.is_some_and(|bar| bar < LEAST_JOINED) {
            let message = format!("a BAR that is joined has {} or more", Size(LEAST_JOINED));
            sink.error_help(node.span.clone(), message, "pages of a host may be as large");
        }
    }
}

/// Returns the regions of a guest whose memslots are read-only from the start.
pub(super) fn read_only_regions(guest: &Entry) -> &[Node] {
    guest.node.get("read-only").map(Node::one_or_many).unwrap_or_default()
}

fn read_only(parts: &Parts<'_>, guest: &Entry, sink: &mut Sink<'_>) {
    for node in read_only_regions(guest) {
        let Some(name) = node.text() else { continue };
        if regions(guest).any(|joined| joined.text() == Some(name)) {
            sink.error(node.span.clone(), format!("the memslot of `{name}` is joined with another"));
        } else if name == RAM {
            let kinds = guest.node.get("ram").map_or(1, |kinds| kinds.one_or_many().len());
            if kinds != 2 {
                let help = "write `ram: [anonymous, memfd]`: the guest stores to the lower half alone";
                let message = format!("`{RAM}` is read-only in its upper half, which has a kind of its own");
                sink.error_help(node.span.clone(), message, help);
            }
        } else if parts.is_device(name, &node.span, sink)
            && parts.owner.get(name) != Some(&guest.key.as_str())
        {
            let message = format!("guest `{}` does not have device `{name}`", guest.key);
            sink.error(node.span.clone(), message);
        }
    }
}

/// Reports an operation on a memslot that is joined, or on RAM that has two. A log of a BAR may be asked for,
/// which KVM refuses.
fn operates(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let operation = step.word("do").and_then(|word| one_of(MemslotOperation::ALL, word));
    let is_log_of_bar = operation == Some(MemslotOperation::Log) && step.word("of") != Some(RAM);
    if operation.is_some_and(MemslotOperation::is_of_ram) || is_log_of_bar {
        return;
    }
    let guest = parts.guests.as_ref().and_then(|guests| guests.get(step.word("guest")?));
    for node in ["of", "with"].into_iter().filter_map(|key| step.body.get(key)) {
        let halves = |guest: &Entry| read_only_regions(guest).iter().any(|region| region.text() == Some(RAM));
        if node.text() == Some(RAM) && guest.is_some_and(|guest| halves(guest)) {
            let message = format!("`{RAM}` has two memslots");
            sink.error_help(node.span.clone(), message, "leave `ram` out of `read-only`");
        }
        let is_it = |region: &Node| region.text().is_some() && region.text() == node.text();
        if guest.is_some_and(|guest| regions(guest).any(is_it)) {
            let message =
                format!("the memslot of `{}` is joined with another", node.text().unwrap_or_default());
            sink.error_help(node.span.clone(), message, "leave `join` out of the guest");
        }
    }
}
