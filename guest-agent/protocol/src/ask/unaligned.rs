//! One unaligned store.

use super::{Ask, GuestRequest};
use crate::MapKind;
use serde::{Deserialize, Serialize};

/// Stores 8 bytes unaligned in user space. It may kill the guest or its VMM: the last request a
/// guest gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unaligned {
    /// PCI address in the guest.
    pub address: String,
    pub map: MapKind,
    /// Place in the BAR.
    pub offset: u64,
}

impl Ask for Unaligned {
    type Level = GuestRequest;
    type Answer = UnalignedStore;
    const DOING: &str = "probe";

    fn request(self) -> GuestRequest {
        GuestRequest::Unaligned(self)
    }

    fn mismatch(&self, store: &UnalignedStore) -> Option<&'static str> {
        (store.map != self.map).then_some("another store was asked for")
    }
}

/// An unaligned store that the guest survived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnalignedStore {
    /// The kind by the sysfs file that the storing process has mapped.
    pub map: MapKind,
    pub outcome: UnalignedOutcome,
}

/// The end of an unaligned store after which the guest was still alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnalignedOutcome {
    /// The store completed and reads back.
    Ok,
    /// The store completed but reads back wrong.
    Wrong,
    /// The guest's user space got a signal.
    Signal(i32),
}
