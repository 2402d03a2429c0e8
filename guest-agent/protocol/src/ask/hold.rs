//! Holding a guest for a look.

use super::{Ask, GuestRequest};
use crate::{Bar, HypervisorType, MapKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The general register that holds the nonce of [`Hold`] while the guest spins: x19.
pub const HOLD_REGISTER: &str = "x19";

/// The general register that holds the number of the vCPU, from 0, while the guest spins: x20.
pub const VCPU_REGISTER: &str = "x20";

/// Spins on each vCPU in user space with `nonce` in [`HOLD_REGISTER`] and its number in
/// [`VCPU_REGISTER`] until [`Release`]. The answer comes when the spinning has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    pub nonce: u64,
}

impl Ask for Hold {
    type Level = GuestRequest;
    type Answer = Held;
    const DOING: &str = "hold";

    fn request(self) -> GuestRequest {
        GuestRequest::Hold(self)
    }

    /// Each mapping is walked while the machine is stopped: one that is there twice costs twice.
    fn mismatch(&self, held: &Held) -> Option<&'static str> {
        let mut known = BTreeSet::new();
        let once = held.mappings.iter().all(|mapping| known.insert((&mapping.device, mapping.map)));
        (!once).then_some("a mapping is there twice")
    }
}

/// A guest that spins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    pub pid: u32,
    /// The mappings of the guest.
    pub mappings: Vec<Mapping>,
    /// The number of vCPUs that spin: all of the guest.
    pub vcpus: u32,
}

/// A BAR that the held guest's user space has mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    pub device: String,
    pub map: MapKind,
    /// The guest virtual address of the BAR's first byte.
    pub va: u64,
    pub bar: Bar,
    /// The type that the stage 2 of a guest hypervisor gives the BAR, read in its tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<HypervisorType>,
}

/// Stops the spinning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {}

impl Ask for Release {
    type Level = GuestRequest;
    type Answer = ();
    const DOING: &str = "release";

    fn request(self) -> GuestRequest {
        GuestRequest::Release(self)
    }
}
