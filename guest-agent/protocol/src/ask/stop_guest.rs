//! Ending a guest.

use super::{Ask, HostRequest};
use serde::{Deserialize, Serialize};

/// Ends the guest's VMM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopGuest {
    pub guest: String,
}

impl Ask for StopGuest {
    type Level = HostRequest;
    type Answer = ();
    const DOING: &str = "stop a guest";

    fn request(self) -> HostRequest {
        HostRequest::StopGuest(self)
    }
}
