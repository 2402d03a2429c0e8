//! The end of a cell on a host that may serve another cell.

use super::{Ask, HostRequest, TableMemory};
use serde::{Deserialize, Serialize};

/// Asks for the record of a cell. The host first ends the guests that are left, takes the devices
/// from their drivers, and writes [`crate::cell_line`] to its kernel's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndCell {
    /// The nonce of the cell.
    pub nonce: u64,
    /// Another cell may follow: the host also resets the devices, and checks that they are in the state of a fresh
    /// boot.
    pub follows: bool,
}

impl Ask for EndCell {
    type Level = HostRequest;
    type Answer = CellRecord;
    const DOING: &str = "end the cell";

    fn request(self) -> HostRequest {
        HostRequest::EndCell(self)
    }

    fn mismatch(&self, answer: &CellRecord) -> Option<&'static str> {
        (answer.nonce != self.nonce).then_some("it is the record of another cell")
    }
}

/// The record of a cell. Without it the cell cannot pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellRecord {
    /// The nonce of the cell.
    pub nonce: u64,
    /// The number of requests that the host has answered since its boot, this one included.
    pub answered: u64,
    /// The taint, see [`crate::Hello`], read for this record.
    #[serde(default)]
    pub taint: Option<u64>,
    /// None: the cell had no guest, or the host's kernel has no such account (before Linux 6.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<TableMemory>,
    /// The reason why the devices are not in the state of a fresh boot. None: they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean: Option<String>,
}
