//! The end of the host.

use super::{Ask, HostRequest};
use serde::{Deserialize, Serialize};

/// Asks for the final record of the host, after which it powers off. Each cell has a record of its own,
/// see [`super::EndCell`].
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

/// The last frame of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalRecord {
    /// The number of answered requests, this one included.
    pub answered: u64,
    /// The taint, see [`crate::Hello`], read for this record.
    #[serde(default)]
    pub taint: Option<u64>,
    /// None: the host had no guest, or its kernel has no such account (before Linux 6.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<TableMemory>,
}

/// The memory of the host's secondary page tables, in KiB: stage 2 of its guests and, since Linux
/// 6.11, the tables of IOMMUs (`SecPageTables` of `/proc/meminfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableMemory {
    /// Before the first guest.
    pub before: u64,
    /// After the end of the last one.
    pub after: u64,
}
