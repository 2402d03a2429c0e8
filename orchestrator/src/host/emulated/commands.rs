//! QMP commands, and what s2lab reads of their answers (QEMU 10.0 qapi/*.json). Those of a single module are there.
//! The types of `qapi-qmp` for all 300 commands take as long to compile as a tenth of s2lab.

use qapi::Empty;
use serde::{Deserialize, Serialize};

/// Makes a type a command: its name in QMP, and the type of its answer.
macro_rules! command {
    ($type:ident, $name:literal, $answer:ty) => {
        impl qapi::Command for $type {
            type Ok = $answer;
            const NAME: &'static str = $name;
            const ALLOW_OOB: bool = false;
        }
    };
}

/// Defines commands without arguments.
macro_rules! bare {
    ($($(#[$doc:meta])* $visible:vis $type:ident, $name:literal, $answer:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, serde::Serialize)]
        $visible struct $type {}
        $crate::host::emulated::commands::command!($type, $name, $answer);
    )*};
}

/// Defines commands whose arguments are one object.
macro_rules! with_object {
    ($($(#[$doc:meta])* $visible:vis $type:ident, $name:literal, $answer:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, serde::Serialize)]
        $visible struct $type($visible serde_json::Value);
        $crate::host::emulated::commands::command!($type, $name, $answer);
    )*};
}
pub(super) use {bare, command, with_object};

bare! {
    /// Leaves the negotiation of capabilities, without one.
    pub Capabilities, "qmp_capabilities", Empty;
    /// Lets the machine run.
    pub Cont, "cont", Empty;
    /// Stops the machine.
    pub Stop, "stop", Empty;
    /// Returns the state of the machine.
    pub QueryStatus, "query-status", Status;
    /// Returns the machine's buses with their functions.
    pub QueryPci, "query-pci", Vec<Bus>;
    /// Returns the parts of memory that QEMU fills.
    pub QueryRoms, "x-query-roms", Text;
}

/// Presses the button of a device's slot.
#[derive(Debug, Serialize)]
pub(super) struct DeviceDel {
    pub(super) id: String,
}
command!(DeviceDel, "device_del", Empty);

with_object! {
    /// Adds a device: its driver, id, bus and options.
    pub(super) DeviceAdd, "device_add", Empty;
}

/// A line of QEMU's monitor for people.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MonitorCommand {
    pub(super) command_line: String,
}
command!(MonitorCommand, "human-monitor-command", String);

/// The state of the machine.
#[derive(Debug, Deserialize)]
pub struct Status {
    pub running: bool,
    /// The name of the state: `running`, `paused`.
    pub status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Text {
    pub human_readable_text: String,
}

/// A PCI bus of the machine.
#[derive(Debug, Deserialize)]
pub struct Bus {
    pub devices: Vec<Function>,
}

/// A PCI function.
#[derive(Debug, Deserialize)]
pub struct Function {
    pub qdev_id: String,
    pub slot: u64,
    pub function: u64,
    pub regions: Vec<Region>,
    /// The part of a bridge; none for other functions.
    pub pci_bridge: Option<Bridge>,
}

/// The part of a bridge that is behind it.
#[derive(Debug, Deserialize)]
pub struct Bridge {
    #[serde(default)]
    pub devices: Vec<Function>,
}

/// A BAR. One without a place has the address -1.
#[derive(Debug, Deserialize)]
pub struct Region {
    pub bar: i64,
    #[serde(rename = "type")]
    pub kind: String,
    pub address: i64,
    pub size: i64,
    #[serde(default)]
    pub prefetch: bool,
    /// True for a BAR of 64 bits.
    #[serde(default)]
    pub mem_type_64: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of QEMU 10.0: a bridge, a device behind it, and a BAR of I/O ports, which has no `prefetch`.
    #[test]
    fn what_the_schema_leaves_out_may_be_missing() {
        let text = r#"[{"bus": 0, "devices": [
            {"bus": 0, "qdev_id": "", "slot": 0, "function": 0, "irq_pin": 0, "regions": [],
             "class_info": {"class": 1536, "desc": "Host bridge"}, "id": {"device": 8, "vendor": 6966}},
            {"bus": 0, "qdev_id": "port-nic", "slot": 8, "function": 0, "irq_pin": 1, "regions": [],
             "class_info": {"class": 1540}, "id": {"device": 12, "vendor": 6966},
             "pci_bridge": {"bus": {"number": 0, "secondary": 1, "subordinate": 1}, "devices": [
                {"bus": 1, "qdev_id": "dev-nic", "slot": 0, "function": 0, "class_info": {"class": 1280},
                 "id": {"device": 4368, "vendor": 6900}, "irq_pin": 0, "regions": [
                    {"bar": 1, "type": "io", "address": -1, "size": 32},
                    {"bar": 2, "type": "memory", "address": 549755813888, "size": 4096, "prefetch": true,
                     "mem_type_64": true}]}]}},
            {"bus": 0, "qdev_id": "port-empty", "slot": 9, "function": 0, "irq_pin": 1, "regions": [],
             "class_info": {"class": 1540}, "id": {"device": 12, "vendor": 6966},
             "pci_bridge": {"bus": {"number": 0, "secondary": 2, "subordinate": 2}}}]}]"#;
        let buses: Vec<Bus> = serde_json::from_str(text).unwrap();
        let [host, port, empty] = &buses[0].devices[..] else { panic!("{buses:?}") };
        assert!(host.pci_bridge.is_none() && empty.pci_bridge.as_ref().unwrap().devices.is_empty());
        let regions = &port.pci_bridge.as_ref().unwrap().devices[0].regions;
        let found: Vec<_> = regions.iter().map(|bar| (bar.bar, bar.address, bar.prefetch)).collect();
        assert_eq!(found, [(1, -1, false), (2, 1 << 39, true)]);
        let state = r#"{"running": false, "status": "internal-error"}"#;
        assert_eq!(serde_json::from_str::<Status>(state).unwrap().status, "internal-error");
        assert!(serde_json::from_str::<Empty>("null").is_err());
    }
}
