//! The steps `host` and `guest`: an operation on a device, by the host through VFIO or by the guest.

use super::{Due, Observed, Removal, StepAttempt, StepKind, StepLine, Unmapped, reset};
use crate::cell::ResolvedCell;
use crate::finding::Finding;
use crate::kconfig::{Need, Whose, need};
use crate::lines::{LineError, Promised, Shape, Word, line, one_of};
use crate::record::At;
use s2lab_protocol::DeviceOperation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The host acts on a device that a guest has, through VFIO like the guest's VMM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub enum HostStep {
    /// The device to reset (`VFIO_DEVICE_RESET`).
    Reset(String),
    /// The device whose memory space is switched off in its command register. Until `memory-on`,
    /// an access to the BAR ends the guest.
    MemoryOff(String),
    /// The device whose memory space is switched on again.
    MemoryOn(String),
    /// The device that may go into a state of low power. Until `power-on`, an access to the BAR ends
    /// the guest.
    PowerOff(String),
    /// The device that leaves the state of low power.
    PowerOn(String),
    /// The device whose bus is reset (`VFIO_DEVICE_PCI_HOT_RESET`).
    BusReset(String),
    /// The device that is taken out of its slot. VFIO asks the VMM for it, which gives it up. Until `plug`, an
    /// access to the BAR ends the guest. Only for a device with `hotplug`.
    Unplug(String),
    /// The device that comes into its slot again. It is bound to its driver, and the VMM takes it again.
    Plug(String),
}

impl HostStep {
    /// Returns the device, and the operation, if it is not a reset of the device alone.
    pub fn parts(&self) -> (&str, Option<DeviceOperation>) {
        match self {
            HostStep::Reset(device) => (device, None),
            HostStep::MemoryOff(device) => (device, Some(DeviceOperation::MemoryOff)),
            HostStep::MemoryOn(device) => (device, Some(DeviceOperation::MemoryOn)),
            HostStep::PowerOff(device) => (device, Some(DeviceOperation::PowerOff)),
            HostStep::PowerOn(device) => (device, Some(DeviceOperation::PowerOn)),
            HostStep::BusReset(device) => (device, Some(DeviceOperation::BusReset)),
            HostStep::Unplug(device) => (device, Some(DeviceOperation::Unplug)),
            HostStep::Plug(device) => (device, Some(DeviceOperation::Plug)),
        }
    }
}

/// A guest acts on a device that it has. Only for `vmm: qemu`: a guest of the built-in VMM has no
/// configuration space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub enum GuestStep {
    /// The device whose memory space is switched off in its command register.
    MemoryOff(String),
    /// The device whose memory space is switched on again.
    MemoryOn(String),
    /// The device that resets its function (Function Level Reset), by its PCI Express capability. The driver of the
    /// guest's kernel releases it first. Only for `model: nvme`.
    FunctionReset(String),
}

impl GuestStep {
    /// Returns the device and the operation.
    pub fn parts(&self) -> (&str, DeviceOperation) {
        match self {
            GuestStep::MemoryOff(device) => (device, DeviceOperation::MemoryOff),
            GuestStep::MemoryOn(device) => (device, DeviceOperation::MemoryOn),
            GuestStep::FunctionReset(device) => (device, DeviceOperation::FunctionReset),
        }
    }
}

/// The slot of a device that is unplugged has a driver.
static PLUG_NEEDS: [Need; 1] = [need("HOTPLUG_PCI_PCIE", "the host's kernel unplugs a device", Whose::All)];

impl StepKind for HostStep {
    fn needs(&self) -> &'static [Need] {
        match self {
            HostStep::Unplug(_) | HostStep::Plug(_) => &PLUG_NEEDS,
            _ => &[],
        }
    }

    fn device(&self) -> Option<&str> {
        Some(self.parts().0)
    }

    fn removes(&self) -> Option<Removal<'_>> {
        let (device, operation) = self.parts();
        let by = operation.map_or(reset::WORD, DeviceOperation::name);
        operation.is_none_or(DeviceOperation::removes).then_some(Removal::whole(device, by))
    }

    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        let (device, operation) = self.parts();
        vec![match operation {
            None => reset::due(device, attempt),
            Some(operation) => due(Actor::Host, device, operation, attempt),
        }]
    }

    fn unlike(&self, attempt: &StepAttempt<'_>) -> Vec<Finding> {
        reset::unlike(attempt)
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        reset::promised(attempt).into_iter().chain(promised(attempt)).collect()
    }

    fn shape(&self, attempt: &StepAttempt<'_>) -> Vec<Shape> {
        reset::shape(attempt)
    }
}

impl ResolvedCell {
    /// Returns true if the device is out of its slot in step `at`.
    pub(crate) fn is_unplugged(&self, device: &str, at: usize) -> bool {
        let before = self.steps.iter().take(at).filter_map(|step| step.of::<HostStep>()).map(HostStep::parts);
        let mut operations = before.filter_map(|(of, operation)| operation.filter(|_| of == device));
        operations.rfind(|operation| operation.is_of_slot()) == Some(DeviceOperation::Unplug)
    }
}

impl StepKind for GuestStep {
    fn device(&self) -> Option<&str> {
        Some(self.parts().0)
    }

    fn removes(&self) -> Option<Removal<'_>> {
        let (device, operation) = self.parts();
        operation.removes().then_some(Removal::whole(device, operation.name()))
    }

    fn due(&self, attempt: &StepAttempt<'_>) -> Vec<Due> {
        let (device, operation) = self.parts();
        vec![due(Actor::Guest, device, operation, attempt)]
    }

    fn promised(&self, attempt: &StepAttempt<'_>) -> Vec<Promised> {
        promised(attempt)
    }
}

fn due(by: Actor, device: &str, operation: DeviceOperation, attempt: &StepAttempt<'_>) -> Due {
    let is_it =
        |one: &At<'_, DeviceOperated>| one.by == by && one.device == device && one.operation == operation;
    Due {
        subject: attempt.subject().region(device),
        what: format!("step {}, {operation} of {device} by the {by}", attempt.at),
        found: attempt.all().filter(is_it).count(),
    }
}

fn promised(attempt: &StepAttempt<'_>) -> Vec<Promised> {
    let line = |one: At<'_, DeviceOperated>| DeviceLine {
        by: one.by,
        operation: one.operation,
        device: Word::new(&one.device),
    };
    attempt.all().map(line).map(|line| Promised::Step(StepLine::Device(line))).collect()
}

/// The side that acts on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    Host,
    Guest,
}

impl Actor {
    pub(crate) const ALL: [Actor; 2] = [Actor::Host, Actor::Guest];

    fn name(self) -> &'static str {
        match self {
            Actor::Host => "host",
            Actor::Guest => "guest",
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An operation on a device has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceOperated {
    pub by: Actor,
    pub device: String,
    pub operation: DeviceOperation,
}

impl Observed for DeviceOperated {
    fn unmaps(&self) -> Option<Unmapped<'_>> {
        self.operation.removes().then_some(Unmapped::Device(&self.device))
    }
}

/// `host memory-off nic`: an operation on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceLine {
    pub by: Actor,
    pub operation: DeviceOperation,
    pub device: Word,
}

impl fmt::Display for DeviceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.by, self.operation, self.device)
    }
}

impl FromStr for DeviceLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        line(text, "host OPERATION DEVICE, or guest OPERATION DEVICE", |text| {
            let [by, operation, device]: [&str; 3] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
            let (by, operation) = (one_of(Actor::ALL, by)?, one_of(DeviceOperation::ALL, operation)?);
            Some(DeviceLine { by, operation, device: device.parse().ok()? })
        })
    }
}
