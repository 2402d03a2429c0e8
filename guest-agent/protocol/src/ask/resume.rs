//! The first request to a host that was saved and goes on in another machine.

use super::{Ask, HostRequest};
use serde::{Deserialize, Serialize};

/// Asks the host's agent to begin anew, as after a boot: from its hello on, its frames carry `nonce` and are
/// counted from 0, and so are its answers. The request itself has the nonce of the host that was saved, and
/// the number that is next there. The answer comes after the hello, once a timer of each CPU has fired. The
/// guests keep the nonce of their cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    pub nonce: u64,
}

impl Ask for Resume {
    type Level = HostRequest;
    type Answer = ();
    const DOING: &str = "resume";

    fn request(self) -> HostRequest {
        HostRequest::Resume(self)
    }
}
