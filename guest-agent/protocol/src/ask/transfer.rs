//! Data that a guest's kernel transfers to and from a drive by DMA.

use super::{Ask, GuestRequest};
use serde::{Deserialize, Serialize};

/// Writes a pattern (see [`super::pattern`]) to the first bytes of a drive, or reads it from there. No cache of the
/// guest's kernel is between. Only a guest with a Linux of its own can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// PCI address in the guest.
    pub address: String,
    pub direction: Direction,
    /// A multiple of 4096.
    pub bytes: u64,
    pub seed: u64,
}

/// The direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the guest's memory to the drive.
    Write,
    /// From the drive to the guest's memory.
    Read,
}

impl Ask for Transfer {
    type Level = GuestRequest;
    type Answer = Transferred;
    const DOING: &str = "transfer data by DMA";

    fn request(self) -> GuestRequest {
        GuestRequest::Transfer(self)
    }

    fn mismatch(&self, done: &Transferred) -> Option<&'static str> {
        let as_asked = (done.direction, done.bytes) == (self.direction, self.bytes);
        (!as_asked).then_some("another transfer was asked for")
    }
}

/// A transfer that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transferred {
    pub direction: Direction,
    pub bytes: u64,
    /// The offset of the first word that was read and is not the pattern.
    pub first_difference: Option<u64>,
}
