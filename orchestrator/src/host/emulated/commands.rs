//! The QMP commands that s2lab sends, and what it reads of their answers (QEMU 10.0 qapi/*.json). qapi has types for all
//! 300 commands, which take as long to compile as a tenth of s2lab.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
pub(super) use command;

/// Defines commands without arguments.
macro_rules! bare {
    ($($(#[$doc:meta])* $type:ident, $name:literal, $answer:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Serialize)]
        pub struct $type {}
        command!($type, $name, $answer);
    )*};
}

bare! {
    /// Leaves the negotiation of capabilities, without one.
    Capabilities, "qmp_capabilities", Value;
    /// Lets the machine run.
    Cont, "cont", Value;
    /// Stops the machine.
    Stop, "stop", Value;
    QueryStatus, "query-status", Status;
    QueryPci, "query-pci", Vec<Bus>;
    /// Returns the parts of memory that QEMU fills.
    QueryRoms, "x-query-roms", Text;
}

/// Presses the button of a device's slot.
#[derive(Debug, Serialize)]
pub(super) struct DeviceDel {
    pub(super) id: String,
}
command!(DeviceDel, "device_del", Value);

/// Adds a device: its driver, id, bus and options in one object.
#[derive(Debug, Serialize)]
pub(super) struct DeviceAdd(pub(super) Value);
command!(DeviceAdd, "device_add", Value);

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
    /// Of a bridge alone.
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
    /// It has 64 bits.
    #[serde(default)]
    pub mem_type_64: bool,
}
