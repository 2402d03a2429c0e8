//! The end of the host.

use super::{Ask, HostRequest};
use serde::{Deserialize, Serialize};

/// Asks for the final record, after which the host powers off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finish {}

impl Ask for Finish {
    type Level = HostRequest;
    type Answer = FinalRecord;
    const DOING: &str = "finish";

    fn request(self) -> HostRequest {
        HostRequest::Finish(self)
    }
}

/// The last frame of an agent. Without it a cell cannot pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalRecord {
    /// The number of answered requests, this one included.
    pub answered: u64,
    /// The taint, see [`crate::Hello`], read for this record.
    #[serde(default)]
    pub taint: Option<u64>,
}
