//! Checks of the steps `store` and `load`: the values of a step must fit each other, the BAR and
//! the guest.

use super::Size;
use super::parts::{Parts, Step, size};
use crate::diagnostic::Sink;
use crate::lines::one_of;
use crate::yaml::Node;
use s2lab_protocol::{Barrier, By, Manner, Misfit, Order};

/// Reports the first value of each step that does not fit.
pub(super) fn check(parts: &Parts<'_>, sink: &mut Sink<'_>) {
    for step in parts.steps.iter().filter(|step| matches!(step.kind, "store" | "load")) {
        instructions(step, sink);
        manner(step, sink);
        bar(parts, step, sink);
        vcpus(parts, step, sink);
    }
}

/// Yields the widths of a step with their places.
fn widths<'a>(step: &Step<'a>) -> impl Iterator<Item = (u32, &'a Node)> {
    let items = step.body.get("width").map(Node::items).unwrap_or_default();
    items.iter().filter_map(|node| Some((number(Some(node))?, node)))
}

fn number(node: Option<&Node>) -> Option<u32> {
    node?.written()?.parse().ok()
}

/// Reports the widths that `by` does not have.
fn instructions(step: &Step<'_>, sink: &mut Sink<'_>) {
    let Some(by) = step.word("by").and_then(|text| one_of(By::ALL, text)) else { return };
    for (width, node) in widths(step) {
        if let Some(Misfit { why, .. }) = by.misfit(width) {
            sink.error_help(node.span.clone(), why, "a step has one `by`: write a step for each");
        }
    }
}

/// Returns the manner of a step, or None if a value is unreadable, which is already reported.
fn read(step: &Step<'_>) -> Option<Manner> {
    let usual = Manner::default();
    let or = |key: &str, usual: u64| match step.body.get(key) {
        None => Some(usual),
        node => size(node),
    };
    let number = |key: &str, usual: u32| match step.body.get(key) {
        None => Some(usual),
        node => number(node),
    };
    let order = match step.body.get("order") {
        None => Some(usual.order),
        Some(_) => one_of(Order::ALL, step.word("order")?),
    };
    let barrier = match step.body.get("barrier") {
        None => Some(usual.barrier),
        Some(_) => one_of(Barrier::ALL, step.word("barrier")?),
    };
    Some(Manner {
        order: order?,
        barrier: barrier?,
        seed: number("seed", usual.seed)?,
        from: or("from", usual.from)?,
        chunk: or("chunk", usual.chunk)?,
        vcpus: number("vcpus", usual.vcpus)?,
    })
}

fn manner(step: &Step<'_>, sink: &mut Sink<'_>) {
    let (Some(manner), Some(bytes)) = (read(step), size(step.body.get("bytes"))) else { return };
    let Some(Misfit { key, why }) = widths(step).find_map(|(width, _)| manner.misfit(width, bytes)) else {
        return;
    };
    // The schema reports a width that no access has.
    if key != "width" {
        let place = step.body.get(key).map_or(&step.span, |node| &node.span);
        sink.error(place.clone(), why);
    }
}

fn bar(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let Some(device) = step.word("device") else { return };
    let bytes = step.body.get("bytes");
    let (Some(bar), Some(node), Some(bytes)) = (parts.bar(device), bytes, size(bytes)) else { return };
    if bytes > bar {
        let message = format!("{} is more than the BAR of `{device}` has: {}", Size(bytes), Size(bar));
        sink.error(node.span.clone(), message);
    } else if let Some((node, from)) = step.body.get("from").and_then(|node| Some((node, size(Some(node))?)))
        && from > bar - bytes
    {
        let message = format!(
            "{} from {} end beyond the BAR of `{device}`, which has {}",
            Size(bytes),
            Size(from),
            Size(bar)
        );
        sink.error(node.span.clone(), message);
    }
}

/// Checks that the guest has the vCPUs.
fn vcpus(parts: &Parts<'_>, step: &Step<'_>, sink: &mut Sink<'_>) {
    let (Some(node), Some(guest)) = (step.body.get("vcpus"), step.word("guest")) else { return };
    let Some(entry) = parts.guests.as_ref().and_then(|guests| guests.get(guest)) else { return };
    let has = match entry.node.get("vcpus") {
        None => Some(1),
        has => number(has),
    };
    if let (Some(vcpus), Some(has)) = (number(Some(node)), has)
        && vcpus > has
    {
        let message = format!("guest `{guest}` has {has} vCPU, not {vcpus}");
        sink.error_help(
            node.span.clone(),
            message,
            format!("give it more: `{guest}: {{vcpus: {vcpus}, ...}}`"),
        );
    }
}
