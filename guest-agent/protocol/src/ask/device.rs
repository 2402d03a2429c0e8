//! Operations on an assigned device.

use super::{Ask, GuestRequest, HostRequest};
use crate::DeviceOperation;
use serde::{Deserialize, Serialize};

/// Lets the operation happen to the device, through VFIO like its VMM. [`DeviceOperation::Unplug`] and
/// [`DeviceOperation::Plug`] happen to the machine: the host waits until its kernel has removed the device, or has
/// found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    pub guest: String,
    pub device: String,
    pub operation: DeviceOperation,
}

impl Ask for Device {
    type Level = HostRequest;
    type Answer = DeviceDone;
    const DOING: &str = "change the state of a device";

    fn request(self) -> HostRequest {
        HostRequest::Device(self)
    }

    fn mismatch(&self, done: &DeviceDone) -> Option<&'static str> {
        (done.operation != self.operation).then_some("another operation was asked for")
    }
}

/// Switches memory space on or off in the command register, or resets the function, as a driver in the guest does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// PCI address in the guest.
    pub address: String,
    /// [`DeviceOperation::MemoryOff`], [`DeviceOperation::MemoryOn`] or [`DeviceOperation::FunctionReset`].
    pub operation: DeviceOperation,
}

impl Ask for Command {
    type Level = GuestRequest;
    type Answer = DeviceDone;
    const DOING: &str = "write the configuration space";

    fn request(self) -> GuestRequest {
        GuestRequest::Command(self)
    }

    fn mismatch(&self, done: &DeviceDone) -> Option<&'static str> {
        (done.operation != self.operation).then_some("another operation was asked for")
    }
}

/// [`DeviceOperation::Unplug`] or [`DeviceOperation::Plug`]. The built-in VMM gives a device up when VFIO asks for it,
/// or takes it again. A guest with a Linux of its own waits until its kernel has removed the device, or found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plug {
    /// PCI address in the guest.
    pub address: String,
    pub operation: DeviceOperation,
}

impl Ask for Plug {
    type Level = GuestRequest;
    type Answer = DeviceDone;
    const DOING: &str = "give up a device or take it again";

    fn request(self) -> GuestRequest {
        GuestRequest::Plug(self)
    }

    fn mismatch(&self, done: &DeviceDone) -> Option<&'static str> {
        (done.operation != self.operation).then_some("another operation was asked for")
    }
}

/// An operation that has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceDone {
    pub operation: DeviceOperation,
}
