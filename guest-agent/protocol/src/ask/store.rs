//! A run of stores to a BAR.

use super::{Ask, GuestRequest};
use crate::{Bar, By, Manner, MapKind};
use serde::{Deserialize, Serialize};

/// Maps the device's BAR (see [`Bar::chosen`]), stores a pattern to it and reads it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The scenario's name for the device.
    pub device: String,
    /// PCI address in the guest.
    pub address: String,
    pub map: MapKind,
    /// The bytes of each store, of [`crate::WIDTHS`].
    pub width: u32,
    /// The instructions; they must have stores of this width.
    pub by: By,
    pub manner: Manner,
    /// The number of bytes; a multiple of 64.
    pub bytes: u64,
    /// Seed of the pattern, see [`pattern`].
    pub seed: u64,
}

impl Ask for Store {
    type Level = GuestRequest;
    type Answer = Stored;
    const DOING: &str = "store";

    fn request(self) -> GuestRequest {
        GuestRequest::Store(self)
    }

    fn mismatch(&self, stored: &Stored) -> Option<&'static str> {
        let Stored { map, width, by, manner, bytes, .. } = *stored;
        let as_asked =
            (map, width, by, manner, bytes) == (self.map, self.width, self.by, self.manner, self.bytes);
        (!as_asked).then_some("another store was asked for")
    }
}

/// A run of stores that was carried out, in the words of the guest that did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// The kind of the mapped file.
    pub map: MapKind,
    /// Bytes of each store.
    pub width: u32,
    pub by: By,
    /// The manner, with the number of vCPUs that stored.
    pub manner: Manner,
    /// Bytes that were stored.
    pub bytes: u64,
    pub result: StoreResult,
}

/// The result of a store run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreResult {
    pub bar: Bar,
    /// The number of executed store instructions.
    pub stores: u64,
    /// The time of the stores alone, by the guest's clock, in nanoseconds.
    pub nanos: u64,
    /// The offset in the BAR of the first word that reads back wrong.
    pub first_difference: Option<u64>,
}

/// Returns the 8-byte little-endian word that a store run with `seed` leaves at byte offset
/// `offset` (a multiple of 8) of the BAR. Both sides compute it. A word depends on its place, so
/// that a store to a wrong place shows.
pub fn pattern(seed: u64, offset: u64) -> u64 {
    // SplitMix64's finaliser: every bit of place and seed reaches every bit of the word.
    let mut z = seed ^ (offset / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
