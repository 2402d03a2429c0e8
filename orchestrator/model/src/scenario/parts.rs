//! The parts of a scenario's tree by name, for the checks.

use super::{FLASH, Size};
use crate::diagnostic::{Sink, suggest};
use crate::record::virt;
use crate::yaml::{Entry, Node};
use std::collections::BTreeMap;
use std::ops::Range;

/// The key of a step that has steps in it.
pub(super) const WHILE: &str = "while";

/// One step: its kind, the place of its key, and its content.
pub(super) struct Step<'a> {
    pub(super) kind: &'a str,
    pub(super) span: Range<usize>,
    pub(super) body: &'a Node,
}

impl<'a> Step<'a> {
    pub(super) fn word(&self, key: &str) -> Option<&'a str> {
        self.body.get(key)?.text()
    }

    /// Returns true for a look at the host's own stage 2.
    pub(super) fn is_of_host(&self) -> bool {
        self.kind == "look" && self.body.get("of").is_some()
    }

    /// Returns true for a look at guests.
    pub(super) fn is_of_guests(&self) -> bool {
        self.kind == "look" && self.body.get("of").is_none()
    }

    /// Returns the operation of a step `host` or `guest`: its word, and the node of its device.
    pub(super) fn operation(&self) -> Option<&'a Entry> {
        self.body.entries().first().filter(|_| matches!(self.kind, "host" | "guest"))
    }
}

/// The parts of a scenario by name. A map is None if the file's is unreadable: then references are
/// not checked.
pub(super) struct Parts<'a> {
    /// Those of the host, and its flash if a guest gets it: the entry is then that of the assignment.
    pub(super) devices: Option<BTreeMap<&'a str, &'a Entry>>,
    pub(super) guests: Option<BTreeMap<&'a str, &'a Entry>>,
    /// The guest that has each device.
    pub(super) owner: BTreeMap<&'a str, &'a str>,
    pub(super) steps: Vec<Step<'a>>,
}

/// Returns the model of a device.
pub(super) fn model(device: &Entry) -> Option<&str> {
    device.node.get("model").and_then(Node::text)
}

impl<'a> Parts<'a> {
    /// Returns the device of this name.
    pub(super) fn device(&self, name: &str) -> Option<&'a Entry> {
        self.devices.as_ref()?.get(name).copied()
    }

    /// Returns true if the device of this name has this model.
    pub(super) fn is_model(&self, name: &str, of: &str) -> bool {
        self.device(name).and_then(model) == Some(of)
    }

    pub(super) fn of(root: &'a Node) -> Self {
        let by_name = |node: &'a Node| {
            let is_map = matches!(node.value, crate::yaml::Value::Map(_));
            is_map.then(|| node.entries().iter().map(|e| (e.key.as_str(), e)).collect::<BTreeMap<_, _>>())
        };
        let devices = root.get("host").filter(|host| by_name(host).is_some()).and_then(|host| {
            match host.get("devices") {
                Some(devices) => by_name(devices),
                None => Some(BTreeMap::new()),
            }
        });
        let guests = match root.get("guests") {
            Some(guests) => by_name(guests),
            None => Some(BTreeMap::new()),
        };
        let (mut devices, mut owner) = (devices, BTreeMap::new());
        for guest in guests.iter().flat_map(|g: &BTreeMap<_, &'a Entry>| g.values()) {
            for device in guest.node.get("assign").into_iter().flat_map(Node::entries) {
                owner.entry(device.key.as_str()).or_insert(guest.key.as_str());
                if let Some(devices) = devices.as_mut().filter(|_| device.key == FLASH) {
                    devices.entry(FLASH).or_insert(device);
                }
            }
        }
        let steps =
            root.get("steps").into_iter().flat_map(Node::items).filter_map(|item| item.entries().first());
        let steps = steps.flat_map(|entry| std::iter::once(step(entry)).chain(inner(entry))).collect();
        Self { devices, guests, owner, steps }
    }

    pub(super) fn steps(&self, kind: &'static str) -> impl Iterator<Item = &Step<'a>> {
        self.steps.iter().filter(move |s| s.kind == kind)
    }

    /// Returns true if there is such a device, and reports a missing one.
    pub(super) fn is_device(&self, name: &str, span: &Range<usize>, sink: &mut Sink<'_>) -> bool {
        is_there("device", self.devices.as_ref(), name, span, sink)
    }

    /// Returns the bytes of a device's BAR, or of a bank of the flash.
    pub(super) fn bar(&self, device: &str) -> Option<u64> {
        match device {
            FLASH => Some(virt::FLASH_BANK),
            device => size(self.devices.as_ref()?.get(device)?.node.get("bar")),
        }
    }

    pub(super) fn is_guest(&self, name: &str, span: &Range<usize>, sink: &mut Sink<'_>) -> bool {
        is_there("guest", self.guests.as_ref(), name, span, sink)
    }
}

fn step(entry: &Entry) -> Step<'_> {
    Step { kind: &entry.key, span: entry.span.clone(), body: &entry.node }
}

/// Yields the parts of a step that are checked like steps of their own: the store of `measure`; the
/// operations of `while`, then its store.
fn inner(entry: &Entry) -> impl Iterator<Item = Step<'_>> {
    let has_store = matches!(entry.key.as_str(), "measure" | WHILE);
    let operations = entry.node.get("host").filter(|_| entry.key == WHILE);
    let operations = operations.map(Node::items).unwrap_or_default().iter().map(|item| Step {
        kind: "host",
        span: item.entries().first().map_or(&item.span, |operation| &operation.span).clone(),
        body: item,
    });
    let stores = entry.node.entries().iter().filter(move |inner| has_store && inner.key == "store");
    operations.chain(stores.map(step))
}

fn is_there(
    what: &str,
    known: Option<&BTreeMap<&str, &Entry>>,
    name: &str,
    span: &Range<usize>,
    sink: &mut Sink<'_>,
) -> bool {
    let Some(known) = known else { return false };
    let found = known.contains_key(name);
    if !found {
        let help = suggest(name, known.keys().copied());
        sink.error_help(span.clone(), format!("no {what} is called `{name}`"), help);
    }
    found
}

/// Returns a node's size in bytes, if it is a size.
pub(super) fn size(node: Option<&Node>) -> Option<u64> {
    Size::try_from(node?.written()?.to_owned()).ok().map(|s| s.0)
}
