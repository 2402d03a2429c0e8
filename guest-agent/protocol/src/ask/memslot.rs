//! An operation on a memslot of a running guest.

use super::{Ask, GuestRequest};
use crate::MemslotOperation;
use serde::{Deserialize, Serialize};

/// Operates on the memslot of a device's BAR, or of the guest's RAM. Only the built-in VMM can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memslot {
    /// PCI address in the guest. None: its RAM.
    pub address: Option<String>,
    pub operation: MemslotOperation,
    /// PCI address of the device for [`MemslotOperation::Replace`].
    pub with: Option<String>,
}

impl Ask for Memslot {
    type Level = GuestRequest;
    type Answer = MemslotDone;
    const DOING: &str = "change a memslot";

    fn request(self) -> GuestRequest {
        GuestRequest::Memslot(self)
    }

    fn mismatch(&self, done: &MemslotDone) -> Option<&'static str> {
        (done.operation != self.operation).then_some("another operation was asked for")
    }
}

/// The end of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemslotDone {
    pub operation: MemslotOperation,
    /// The error number with which the kernel refused it, or None if it was carried out.
    pub errno: Option<i32>,
}
