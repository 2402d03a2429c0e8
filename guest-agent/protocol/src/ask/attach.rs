//! A device that a guest of QEMU's gets again.

use super::{Ask, HostRequest};
use serde::{Deserialize, Serialize};

/// Makes QEMU take a device that the host has again, in the place of before. The built-in VMM is asked by its own
/// link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    pub guest: String,
    pub device: String,
}

impl Ask for Attach {
    type Level = HostRequest;
    type Answer = ();
    const DOING: &str = "give a device to QEMU again";

    fn request(self) -> HostRequest {
        HostRequest::Attach(self)
    }
}
