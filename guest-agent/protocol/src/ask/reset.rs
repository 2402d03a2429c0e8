//! Resetting an assigned device.

use super::{Ask, HostRequest};
use serde::{Deserialize, Serialize};

/// Resets the device through VFIO (`VFIO_DEVICE_RESET`), as its VMM would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    pub guest: String,
    pub device: String,
}

impl Ask for Reset {
    type Level = HostRequest;
    type Answer = ResetDone;
    const DOING: &str = "reset a device";

    fn request(self) -> HostRequest {
        HostRequest::Reset(self)
    }
}

/// A reset that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetDone {
    /// The kernel's name in sysfs `reset_method`.
    pub method: String,
}
