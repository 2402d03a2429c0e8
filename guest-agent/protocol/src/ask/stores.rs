//! Stores that go on while the host acts.

use super::{Ask, GuestRequest, Store};
use serde::{Deserialize, Serialize};

/// Begins to make a store again and again, until [`EndStores`]. Nothing is read back. The answer comes
/// when each vCPU stores. Until the end the guest answers [`EndStores`] and [`super::Memslot`] alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginStores {
    pub store: Store,
    /// The BAR may be disabled meanwhile: the VMM runs a vCPU again whose KVM_RUN fails with EFAULT. Only
    /// the built-in VMM does.
    pub may_fault: bool,
}

impl Ask for BeginStores {
    type Level = GuestRequest;
    type Answer = ();
    const DOING: &str = "begin to store";

    fn request(self) -> GuestRequest {
        GuestRequest::BeginStores(self)
    }
}

/// Ends the stores. The answer comes when no vCPU stores any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndStores {}

impl Ask for EndStores {
    type Level = GuestRequest;
    type Answer = StoresEnded;
    const DOING: &str = "end the stores";

    fn request(self) -> GuestRequest {
        GuestRequest::EndStores(self)
    }
}

/// Stores that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoresEnded {
    /// The number of times that each vCPU has stored all of its bytes, summed up.
    pub passes: u64,
    /// The number of times that KVM_RUN has failed with EFAULT.
    pub faults: u64,
}
