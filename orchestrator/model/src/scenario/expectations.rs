//! Checks of a scenario's expectations against its steps.

use super::conditions::{Conditions, uncovered};
use super::parts::{Parts, Step};
use super::{GICV, RAM, Stage2Type, host_looks, probe_of, programs};
use crate::diagnostic::{Sink, suggest};
use crate::kernel::Trait;
use crate::regions::RegionName;
use crate::yaml::{Entry, Node};
use s2lab_protocol::ProbeKind;

/// The keys with which an expectation asserts something of a look.
pub(super) const OF_TABLES: [&str; 6] = ["stage2", "effective", "exec", "access", "share", "af"];

pub(super) fn check(root: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    let Some(list) = root.entries().iter().find(|e| e.key == "expect") else { return };
    for expectation in list.node.items() {
        form(expectation, sink);
        nothing(expectation, sink);
        match host_looks::is_of_host(expectation, parts, sink) {
            true => host_looks::expectation(expectation, sink),
            false => region(expectation, root, parts, sink),
        }
        looks(expectation, parts, sink);
    }
    // A program has a result on every kernel.
    if !programs::has_result(parts) {
        every_kernel_has_one(list, sink);
    }
}

/// Returns the first key that is about a probe.
fn probed(expectation: &Node) -> Option<&Entry> {
    expectation.entries().iter().find(|e| probe_of(&e.key).is_some())
}

fn entry<'a>(node: &'a Node, key: &str) -> Option<&'a Entry> {
    node.entries().iter().find(|e| e.key == key)
}

/// Checks that an expectation asserts something, in one of the two forms.
fn form(expectation: &Node, sink: &mut Sink<'_>) {
    let tables = expectation.entries().iter().find(|e| OF_TABLES.contains(&e.key.as_str()));
    let at = entry(expectation, "at");
    match (tables, probed(expectation)) {
        (None, None) => {
            // An unknown key may have been meant to assert something; it is already reported.
            let known = ["at", "of", "when", "unless", "points"];
            if let Some(first) = expectation.entries().first()
                && expectation.entries().iter().all(|e| known.contains(&e.key.as_str()))
            {
                let keys = OF_TABLES.map(|key| format!("`{key}`")).join(", ");
                let help = format!("say what must be seen: {keys}, or the end of a probe, like `unaligned`");
                sink.error_help(first.span.clone(), "this expectation asserts nothing", help);
            }
        }
        (Some(_), Some(unaligned)) => {
            let help = "write two expectations: one of the tables with `at`, one of the probe without";
            let message = format!("`{}` stands beside what the tables say", unaligned.key);
            sink.error_help(unaligned.span.clone(), message, help);
        }
        (Some(tables), None) if at.is_none() => {
            let message = format!("`{}` needs `at`: the look at which it must hold", tables.key);
            sink.error(tables.span.clone(), message);
        }
        (Some(_), None) => {}
        (None, Some(probed)) => {
            if let Some(at) = at {
                let message = format!("`{}` is about a probe, not about a look", probed.key);
                sink.error_help(at.span.clone(), message, "leave `at` out");
            }
        }
    }
}

/// Checks that an expectation of no leaf asserts nothing of leaves.
fn nothing(expectation: &Node, sink: &mut Sink<'_>) {
    if expectation.get("stage2").and_then(Node::text) != Some(Stage2Type::Nothing.name()) {
        return;
    }
    let of_leaves = |entry: &&Entry| entry.key != "stage2" && OF_TABLES.contains(&entry.key.as_str());
    for entry in expectation.entries().iter().filter(of_leaves) {
        let message =
            format!("`{}` beside `stage2: none`: where nothing is mapped, nothing has it", entry.key);
        sink.error(entry.span.clone(), message);
    }
}

/// Returns true if the host's GIC has a virtual CPU interface in memory.
fn has_gicv(root: &Node) -> bool {
    root.get("host").and_then(|host| host.get("gic")).and_then(Node::written) == Some("2")
}

/// Checks that its region exists, and that a guest has it.
fn region(expectation: &Node, root: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    let Some(node) = expectation.get("of") else { return };
    let Some(of) = node.text() else { return };
    let region = RegionName::of(of);
    for entry in expectation.entries() {
        if let Some(why) = region.kind().refuses(&entry.key) {
            sink.error(entry.span.clone(), format!("`{}` is {why}", entry.key));
        }
    }
    if matches!(region, RegionName::Gicv(_)) && !has_gicv(root) {
        let message = format!("the host has no `{of}`: only a GICv2 has a virtual CPU interface in memory");
        sink.error_help(node.span.clone(), message, "write `gic: 2` in `host`");
    }
    if !matches!(region, RegionName::Device(_)) {
        return;
    }
    let Some(devices) = &parts.devices else { return };
    if !devices.contains_key(of) {
        let known = devices.keys().copied().chain([RAM]).chain(has_gicv(root).then_some(GICV));
        sink.error_help(node.span.clone(), format!("no device is called `{of}`"), suggest(of, known));
        return;
    }
    if !parts.owner.contains_key(of) {
        let message = format!("device `{of}` is assigned to no guest, so no guest's tables map it");
        sink.error(node.span.clone(), message);
        return;
    }
    for entry in expectation.entries() {
        let Some(kind) = probe_of(&entry.key) else { continue };
        let is_it = |s: &Step<'_>| {
            s.word("device") == Some(of)
                && s.body.get("do").map_or(Some(ProbeKind::default().name()), Node::text) == Some(kind.name())
        };
        if !parts.steps("probe").any(is_it) {
            let is_usual = kind == ProbeKind::default();
            let message = match is_usual {
                true => format!("no step probes device `{of}`"),
                false => format!("no step probes device `{of}` by `do: {kind}`"),
            };
            let word = if is_usual { String::new() } else { format!(", do: {kind}") };
            let help = format!(
                "add `- probe: {{guest: ..., device: ..., map: wc{word}}}` as the last step of the guest"
            );
            sink.error_help(entry.span.clone(), message, help);
        }
    }
}

/// Checks that its looks exist, and show what it asserts.
fn looks(expectation: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    let of = expectation.get("of").and_then(Node::text);
    for node in expectation.get("at").into_iter().flat_map(Node::one_or_many) {
        let Some(at) = node.text() else { continue };
        let Some(place) = parts.steps.iter().position(|s| s.kind == "look" && s.word("name") == Some(at))
        else {
            let known = parts.steps("look").filter_map(|s| s.word("name"));
            sink.error_help(node.span.clone(), format!("no look is called `{at}`"), suggest(at, known));
            continue;
        };
        let known_device = |of: &&str| parts.devices.as_ref().is_some_and(|d| d.contains_key(of));
        if let (Some(effective), Some(of)) = (entry(expectation, "effective"), of.filter(known_device)) {
            // The mapping of a probe ends with its process.
            let maps = |s: &Step<'_>| s.kind != "probe" && s.word("device") == Some(of);
            if !parts.steps[..place].iter().any(maps) {
                let message = format!("no step maps `{of}` in its guest before look `{at}`");
                let help = "`effective` needs a guest's own mapping: add a `store` before the look";
                sink.error_help(effective.span.clone(), message, help);
            }
        }
    }
}

/// Checks that every choice of traits has an expectation: otherwise a cell would pass without
/// proof.
fn every_kernel_has_one(list: &Entry, sink: &mut Sink<'_>) {
    // An item with a mistake may be meant for any kernel.
    let items: Option<Vec<_>> = list.node.items().iter().map(Conditions::read).collect();
    let Some(items) = items.filter(|items| !items.is_empty()) else { return };
    let Some(traits) = uncovered(&items) else { return };
    let names: Vec<_> = traits.iter().map(Trait::to_string).collect();
    let of = match names.is_empty() {
        true => "no trait".to_owned(),
        false => format!("just {}", names.join(", ")),
    };
    let help = "add one for such kernels, with `unless` or `when`: a cell of which nothing is expected proves nothing";
    sink.error_help(list.span.clone(), format!("nothing is expected of a kernel that declares {of}"), help);
}
