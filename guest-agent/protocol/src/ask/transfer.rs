//! Data that a guest transfers by DMA: its kernel to and from a drive, or the guest itself by frames of a virtual
//! function.

use super::{Ask, GuestRequest, HostRequest};
use serde::{Deserialize, Serialize};

/// Writes a pattern (see [`super::pattern`]) to the first bytes of a drive, or reads it from there. No cache of the
/// guest's kernel is between.
///
/// A guest of the built-in VMM has no drive. It sends the pattern in frames of its virtual function
/// (see [`crate::ethernet`]), or receives those that the function has already put into its memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// PCI address in the guest.
    pub address: String,
    pub direction: Direction,
    /// A multiple of 4096; 64 KiB of frames at most.
    pub bytes: u64,
    pub seed: u64,
}

/// The direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From memory to the drive, or to the function.
    Write,
    /// From the drive, or from the function, to memory.
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

/// Sends a pattern in frames from the interface of a physical function to the guest that has its virtual function, or
/// receives the frames that the guest has sent. The interface receives from [`super::Bind`] on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frames {
    /// The scenario's name for the device.
    pub device: String,
    pub direction: Direction,
    /// A multiple of 1024, 64 KiB at most.
    pub bytes: u64,
    pub seed: u64,
}

impl Ask for Frames {
    type Level = HostRequest;
    type Answer = Transferred;
    const DOING: &str = "exchange frames";

    fn request(self) -> HostRequest {
        HostRequest::Frames(self)
    }

    fn mismatch(&self, done: &Transferred) -> Option<&'static str> {
        let as_asked = (done.direction, done.bytes) == (self.direction, self.bytes);
        (!as_asked).then_some("other frames were asked for")
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
