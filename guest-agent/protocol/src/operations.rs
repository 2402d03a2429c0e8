//! Operations on what a guest has, as they are named in messages, scenarios, logs and reports.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An operation on a device that a guest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceOperation {
    /// Memory space is switched off in the command register.
    MemoryOff,
    /// Memory space is switched on in the command register.
    MemoryOn,
    /// VFIO may put the device into a state of low power.
    PowerOff,
    /// The device leaves the state of low power.
    PowerOn,
    /// The device's bus is reset, with all devices on it.
    BusReset,
    /// The function resets itself (Function Level Reset), by its PCI Express capability.
    FunctionReset,
    /// The device is taken out of its slot, while its guest runs.
    Unplug,
    /// The device comes into its slot again.
    Plug,
}

impl DeviceOperation {
    pub const ALL: [DeviceOperation; 8] = [
        DeviceOperation::MemoryOff,
        DeviceOperation::MemoryOn,
        DeviceOperation::PowerOff,
        DeviceOperation::PowerOn,
        DeviceOperation::BusReset,
        DeviceOperation::FunctionReset,
        DeviceOperation::Unplug,
        DeviceOperation::Plug,
    ];

    /// The word in scenarios, logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            DeviceOperation::MemoryOff => "memory-off",
            DeviceOperation::MemoryOn => "memory-on",
            DeviceOperation::PowerOff => "power-off",
            DeviceOperation::PowerOn => "power-on",
            DeviceOperation::BusReset => "bus-reset",
            DeviceOperation::FunctionReset => "function-reset",
            DeviceOperation::Unplug => "unplug",
            DeviceOperation::Plug => "plug",
        }
    }

    /// Returns the operation after which the BAR may be accessed again, if none may be after this one.
    pub fn undone_by(self) -> Option<DeviceOperation> {
        match self {
            DeviceOperation::MemoryOff => Some(DeviceOperation::MemoryOn),
            DeviceOperation::PowerOff => Some(DeviceOperation::PowerOn),
            DeviceOperation::Unplug => Some(DeviceOperation::Plug),
            DeviceOperation::MemoryOn
            | DeviceOperation::PowerOn
            | DeviceOperation::BusReset
            | DeviceOperation::FunctionReset
            | DeviceOperation::Plug => None,
        }
    }

    /// Returns true if the device leaves its slot or comes into it.
    pub fn is_of_slot(self) -> bool {
        matches!(self, DeviceOperation::Unplug | DeviceOperation::Plug)
    }

    /// Returns true if the operation removes the BAR from the tables.
    pub fn removes(self) -> bool {
        self.undone_by().is_some() || self.is_reset()
    }

    /// Returns true for a reset, after which the BAR may be accessed at once.
    pub fn is_reset(self) -> bool {
        matches!(self, DeviceOperation::BusReset | DeviceOperation::FunctionReset)
    }
}

impl fmt::Display for DeviceOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An operation of a VMM on a memslot of its running guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemslotOperation {
    /// The memslot is removed.
    Remove,
    /// A removed memslot is added again, as it was first.
    Add,
    /// The memslot moves to another IPA, and back.
    Move,
    /// The memslot is removed, and added read-only.
    ReadOnly,
    /// Dirty pages are logged.
    Log,
    /// Dirty pages are no longer logged.
    Unlog,
    /// The VMM moves its mapping to another address (`mremap`), and the memslot with it.
    Remap,
    /// The VMM maps another device's BAR over its mapping. The memslot stays as it is.
    Replace,
    /// The VMM forks, and the kernel copies each page of RAM that it or its copy writes to. The memslot stays.
    /// Only of RAM.
    Fork,
    /// The VMM takes its own permission to write to the BAR (`mprotect`), until the memslot is added again. The
    /// memslot stays as it is.
    Protect,
    /// The VMM maps the second quarter of the BAR once more, over itself. The memslot stays as it is.
    Renew,
    /// The VMM has the host compact its memory, which moves pages of RAM to other frames. The memslot stays. Only of
    /// RAM.
    Compact,
    /// The VMM maps the second quarter of the BAR once more, over itself, so that three VMAs are behind it. The
    /// memslot is removed, and two are added: the second begins in the middle of the last VMA.
    Divide,
}

impl MemslotOperation {
    pub const ALL: [MemslotOperation; 13] = [
        MemslotOperation::Remove,
        MemslotOperation::Add,
        MemslotOperation::Move,
        MemslotOperation::ReadOnly,
        MemslotOperation::Log,
        MemslotOperation::Unlog,
        MemslotOperation::Remap,
        MemslotOperation::Replace,
        MemslotOperation::Fork,
        MemslotOperation::Protect,
        MemslotOperation::Renew,
        MemslotOperation::Compact,
        MemslotOperation::Divide,
    ];

    /// The word in scenarios, logs and reports.
    pub fn name(self) -> &'static str {
        match self {
            MemslotOperation::Remove => "remove",
            MemslotOperation::Add => "add",
            MemslotOperation::Move => "move",
            MemslotOperation::ReadOnly => "read-only",
            MemslotOperation::Log => "log",
            MemslotOperation::Unlog => "unlog",
            MemslotOperation::Remap => "remap",
            MemslotOperation::Replace => "replace",
            MemslotOperation::Fork => "fork",
            MemslotOperation::Protect => "protect",
            MemslotOperation::Renew => "renew",
            MemslotOperation::Compact => "compact",
            MemslotOperation::Divide => "divide",
        }
    }

    /// Returns true if the operation removes the memslot's device from stage 2, or a part of it, until the guest
    /// accesses it again.
    pub fn removes(self) -> bool {
        match self {
            MemslotOperation::Remove
            | MemslotOperation::Move
            | MemslotOperation::ReadOnly
            | MemslotOperation::Remap
            | MemslotOperation::Replace
            | MemslotOperation::Protect
            | MemslotOperation::Renew
            | MemslotOperation::Divide => true,
            MemslotOperation::Add
            | MemslotOperation::Log
            | MemslotOperation::Unlog
            | MemslotOperation::Fork
            | MemslotOperation::Compact => false,
        }
    }

    /// Returns true if the operation is one of RAM alone.
    pub fn is_of_ram(self) -> bool {
        matches!(self, MemslotOperation::Fork | MemslotOperation::Compact)
    }

    /// Returns true if the operation is about dirty pages alone.
    pub fn is_of_log(self) -> bool {
        matches!(self, MemslotOperation::Log | MemslotOperation::Unlog)
    }
}

impl fmt::Display for MemslotOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_travels_as_it_is_written() {
        for operation in DeviceOperation::ALL {
            assert_eq!(serde_json::to_value(operation).unwrap(), operation.to_string());
        }
        for operation in MemslotOperation::ALL {
            assert_eq!(serde_json::to_value(operation).unwrap(), operation.to_string());
        }
    }
}
