//! Checks that a schema cannot express: the parts of a scenario must fit together. They work on the
//! tree, not on the types, so that mistakes of both kinds are reported at once. The schema reports
//! missing keys and wrong types, so these checks skip them.

use super::parts::{Parts, Step, size};
use super::programs::{self, Programs};
use super::{
    FLASH, GICV, Guest, Host, RAM, Size, conditions, expectations, functions, host_looks, mte, platform, vmas,
};
use crate::diagnostic::Sink;
use crate::yaml::{Entry, Node};
use s2lab_protocol::{LONGEST_NAME, is_name};
use std::collections::BTreeMap;
use std::path::Path;

const BAR: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;
const HOST_MEMORY: std::ops::RangeInclusive<u64> = 512 << 20..=8 << 30;
const LEAST_GUEST_MEMORY: u64 = 64 << 20;
/// The ways of assigning a device that only the built-in VMM has.
const OF_BUILTIN: [&str; 5] = ["sysfs", "sysfs-wc", platform::WAY, vmas::WAY, functions::WAY];
/// The memory that the host needs for itself, beside its guests' RAM.
const HOST_RESERVE: u64 = 512 << 20;

/// Checks one name. The error is the mistake.
pub fn name(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    if text == RAM {
        Err(format!("`{RAM}` is reserved: it means a guest's RAM"))
    } else if text == GICV {
        Err(format!("`{GICV}` is reserved: it means the virtual CPU interface of a GICv2"))
    } else if text == FLASH {
        Err(format!("`{FLASH}` is reserved: it means the flash of the host, which needs no entry"))
    } else if length > LONGEST_NAME {
        Err(format!("`{text}` has {length} characters; a name has {LONGEST_NAME} at most"))
    } else if !is_name(text) {
        Err(format!("`{text}` is not a valid name; a name has a-z, 0-9 and `-`, and does not begin with `-`"))
    } else {
        Ok(())
    }
}

/// Reports all parts that do not fit together. Returns the digests of the programs that were read.
pub(super) fn check(
    file: &str,
    root: &Node,
    programs: &mut Programs<'_>,
    sink: &mut Sink<'_>,
) -> BTreeMap<String, String> {
    own_name(file, root, sink);
    let parts = Parts::of(root);
    sizes(root, &parts, sink);
    super::arguments::check(root, sink);
    super::needs::check(root, sink);
    parts.assignments(sink);
    for step in &parts.steps {
        parts.step(step, sink);
    }
    super::accesses::check(&parts, sink);
    super::operations::check(&parts, sink);
    super::hotplug::check(root, &parts, sink);
    super::drives::check(root, &parts, sink);
    super::suites::check(&parts, sink);
    functions::check(&parts, sink);
    super::memslots::check(&parts, sink);
    super::backing::check(&parts, sink);
    platform::check(root, &parts, sink);
    vmas::check(&parts, sink);
    mte::check(root, &parts, sink);
    super::hypervisor::check(root, &parts, sink);
    host_looks::check(root, &parts, sink);
    super::whiles::check(&parts, sink);
    parts.names_are_unique("look", sink);
    parts.names_are_unique("measure", sink);
    parts.measures_have_one_width(sink);
    parts.probes_are_last(sink);
    conditions::check(root, sink);
    expectations::check(root, &parts, sink);
    programs::needed(root, &parts, sink);
    programs::check(&parts, programs, sink)
}

fn own_name(file: &str, root: &Node, sink: &mut Sink<'_>) {
    let stem = Path::new(file).file_stem().and_then(|s| s.to_str());
    if let (Some(stem), Some(node)) = (stem, root.get("scenario"))
        && let Some(text) = node.text().filter(|t| *t != stem)
    {
        let message = format!("the scenario is called `{text}` but its file `{stem}`");
        sink.error_help(node.span.clone(), message, "both must be the same: rename one of them");
    }
}

impl<'a> Parts<'a> {
    fn assignments(&self, sink: &mut Sink<'_>) {
        for guest in self.guests.iter().flat_map(|g| g.values()) {
            for device in guest.node.get("assign").into_iter().flat_map(Node::entries) {
                self.is_device(&device.key, &device.span, sink);
                match self.owner.get(device.key.as_str()) {
                    Some(owner) if *owner != guest.key => sink.error(
                        device.span.clone(),
                        format!(
                            "device `{}` is assigned to `{owner}` already; a device belongs to one guest",
                            device.key
                        ),
                    ),
                    _ => {}
                }
                if let Some(way) = self.only_builtin(guest.key.as_str(), device) {
                    let message =
                        format!("`{way}` is a way of the built-in VMM; QEMU assigns devices by `vfio-pci`");
                    sink.error_help(device.node.span.clone(), message, "write `vmm: builtin`, or `vfio-pci`");
                }
            }
        }
    }

    /// Returns the way of an assignment that its guest's VMM does not have.
    fn only_builtin(&self, guest: &str, device: &'a Entry) -> Option<&'a str> {
        let way = device.node.text().filter(|way| OF_BUILTIN.contains(way))?;
        let vmm = self.guests.as_ref()?.get(guest)?.node.get("vmm")?.text()?;
        (vmm == "qemu").then_some(way)
    }

    /// Returns the way in which a guest gets a device, if vfio-pci does not hold it.
    fn without_vfio_pci(&self, device: &str) -> Option<&'a str> {
        let guest = self.guests.as_ref()?.get(self.owner.get(device)?)?;
        let way = guest.node.get("assign")?.get(device)?.text();
        way.filter(|way| OF_BUILTIN.contains(way) && *way != functions::WAY)
    }

    /// Follows the references of a step. A key means the same in every step.
    fn step(&self, step: &Step<'a>, sink: &mut Sink<'_>) {
        let guest = step.body.get("guest");
        let guest_known =
            guest.and_then(|n| Some((n.text()?, n))).filter(|(g, n)| self.is_guest(g, &n.span, sink));
        let acted_on = step.operation().map(|operation| &operation.node).or(step.body.get("reset"));
        let device = acted_on.or(step.body.get("device"));
        let device =
            device.and_then(|n| Some((n.text()?, n))).filter(|(d, n)| self.is_device(d, &n.span, sink));
        let Some((device, node)) = device else { return };
        let owner = self.owner.get(device).copied();
        if let Some((guest, _)) = guest_known.filter(|(guest, _)| owner != Some(guest)) {
            let help = match owner {
                Some(owner) => format!("`{device}` is assigned to `{owner}`"),
                None => format!("assign it: `{guest}: {{assign: {{{device}: vfio-pci}}}}`"),
            };
            sink.error_help(
                node.span.clone(),
                format!("guest `{guest}` does not have device `{device}`"),
                help,
            );
        }
        if let (Some(_), Some(way)) = (acted_on, self.without_vfio_pci(device)) {
            let (message, help) = match way {
                platform::WAY => {
                    (format!("`{device}` is no PCI device: it has no operation"), "leave the step out")
                }
                _ => (
                    format!("device `{device}` is assigned by `{way}`, so VFIO does not hold it"),
                    "assign it by `vfio-pci`",
                ),
            };
            sink.error_help(node.span.clone(), message, help);
        }
        if acted_on.is_some() && owner.is_none() && self.guests.is_some() {
            let message = format!("device `{device}` is assigned to no guest, so VFIO does not hold it");
            sink.error_help(node.span.clone(), message, "assign it to a guest by `vfio-pci`");
        }
    }

    fn measures_have_one_width(&self, sink: &mut Sink<'_>) {
        let widths = self.steps("measure").filter_map(|step| step.body.get("store")?.get("width"));
        for width in widths.filter(|width| width.items().len() > 1) {
            let message = "a measure has one width: its samples are of one kind";
            sink.error_help(width.span.clone(), message, "write a measure for each width");
        }
    }

    /// No two steps of this kind have one name.
    fn names_are_unique(&self, kind: &'static str, sink: &mut Sink<'_>) {
        let mut seen = Vec::new();
        for node in self.steps(kind).filter_map(|s| s.body.get("name")) {
            match node.text() {
                Some(text) if seen.contains(&text) => {
                    sink.error(node.span.clone(), format!("a {kind} is called `{text}` already"));
                }
                Some(text) => seen.push(text),
                None => {}
            }
        }
    }

    fn probes_are_last(&self, sink: &mut Sink<'_>) {
        for (i, probe) in self.steps.iter().enumerate().filter(|(_, s)| s.kind == "probe") {
            let Some(guest) = probe.word("guest") else { continue };
            let needs_guest = |s: &&Step<'a>| {
                let has = |device| self.owner.get(device) == Some(&guest);
                let is_of = [s.word("guest"), s.word("in")].contains(&Some(guest)) && s.kind != "probe";
                let acted_on = s.operation().and_then(|entry| entry.node.text()).or(s.word("reset"));
                s.is_of_guests() || is_of || acted_on.is_some_and(has)
            };
            if let Some(later) = self.steps[i + 1..].iter().find(needs_guest) {
                let message = format!("`{}` comes after the probe of guest `{guest}`", later.kind);
                let why = "a probe may kill its guest, and then no look can see it and no step but a probe can use it: \
                           move the probe to the end";
                sink.error_help(later.span.clone(), message, why);
            }
        }
    }
}

/// Checks the sizes that stand alone, and that the guests fit into the host.
fn sizes(root: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    for bar in parts.devices.iter().flat_map(|d| d.values()).filter_map(|d| d.node.get("bar")) {
        if size(Some(bar)).is_some_and(|s| !s.is_power_of_two() || !BAR.contains(&s)) {
            sink.error(bar.span.clone(), "the size of a BAR is a power of two from 4K to 1G");
        }
    }
    memory(root, parts, sink);
}

/// Checks the RAM of the host and of its guests, with the defaults.
fn memory(root: &Node, parts: &Parts<'_>, sink: &mut Sink<'_>) {
    let Some(host) = root.entries().iter().find(|e| e.key == "host") else { return };
    let given = host.node.get("memory");
    let has = given.map_or(Some(Host::default_memory().0), |_| size(given));
    let host_right = has.is_some_and(|s| HOST_MEMORY.contains(&s) && whole_mib(s));
    if let Some(node) = given.filter(|_| has.is_some() && !host_right) {
        sink.error(node.span.clone(), "a host has 512M to 8G of RAM, a multiple of 1M");
    }
    let mut guests = Some(0u64);
    for guest in parts.guests.iter().flat_map(|g| g.values()) {
        let memory = guest.node.get("memory");
        let s = memory.map_or(Some(Guest::default_memory().0), |_| size(memory));
        if let (Some(node), Some(s)) = (memory, s)
            && (s < LEAST_GUEST_MEMORY || !whole_mib(s))
        {
            sink.error(node.span.clone(), "a guest has 64M of RAM or more, a multiple of 1M");
        }
        guests = guests.zip(s).map(|(sum, s)| sum.saturating_add(s));
    }
    if let (Some(has), Some(guests), true) = (has, guests, host_right)
        && has < guests.saturating_add(HOST_RESERVE)
    {
        let place = given.map_or(&host.span, |m| &m.span);
        let message = format!("the host has {}, its guests together {}", Size(has), Size(guests));
        let help = format!("it needs {} for itself: give it more `memory`, or them less", Size(HOST_RESERVE));
        sink.error_help(place.clone(), message, help);
    }
}

fn whole_mib(bytes: u64) -> bool {
    bytes.is_multiple_of(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_is_that_of_the_protocol() {
        assert_eq!(name(&"x".repeat(LONGEST_NAME)), Ok(()));
        let longer = "x".repeat(LONGEST_NAME + 1);
        assert_eq!(name(&longer), Err(format!("`{longer}` has 42 characters; a name has 41 at most")));
        assert!(name(&"ä".repeat(LONGEST_NAME)).unwrap_err().contains("is not a valid name"));
    }
}
