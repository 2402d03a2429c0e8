//! Binding a device of the host to a driver.

use super::{Ask, HostRequest};
use crate::{AssignKind, Bar};
use serde::{Deserialize, Serialize};

/// Detaches a device from its driver, and binds it to the driver that `kind` needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// The scenario's name for the device.
    pub device: String,
    /// PCI address of the root port above the device; of a platform device its name.
    pub port: String,
    pub kind: AssignKind,
}

impl Ask for Bind {
    type Level = HostRequest;
    type Answer = BoundDevice;
    const DOING: &str = "bind";

    fn request(self) -> HostRequest {
        HostRequest::Bind(self)
    }

    fn mismatch(&self, bound: &BoundDevice) -> Option<&'static str> {
        (bound.device != self.device).then_some("this is another device")
    }
}

/// A bound device in the host's view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundDevice {
    pub device: String,
    /// PCI address, or the name of a platform device.
    pub address: String,
    /// 0 for a platform device, and so is `id`.
    pub vendor: u16,
    pub id: u16,
    /// The name of the driver, empty if it has none.
    pub driver: String,
    /// None: it is in no group. Only VFIO needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iommu_group: Option<u32>,
    pub bars: Vec<Bar>,
}
