//! One access that may fault.

use super::{Ask, GuestRequest};
use crate::{MapKind, ProbeKind};
use serde::{Deserialize, Serialize};

/// Tries one access in a process of its own. It may kill the guest or its VMM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// PCI address in the guest.
    pub address: String,
    pub map: MapKind,
    pub kind: ProbeKind,
    /// Place in the BAR.
    pub offset: u64,
}

impl Ask for Probe {
    type Level = GuestRequest;
    type Answer = ProbeDone;
    const DOING: &str = "probe";

    fn request(self) -> GuestRequest {
        GuestRequest::Probe(self)
    }

    fn mismatch(&self, done: &ProbeDone) -> Option<&'static str> {
        ((done.map, done.kind) != (self.map, self.kind)).then_some("another probe was asked for")
    }
}

/// An access that the guest survived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeDone {
    /// The kind by the sysfs file that the accessing process has mapped.
    pub map: MapKind,
    pub kind: ProbeKind,
    pub outcome: ProbeEnd,
}

/// The end of an access after which the guest was still alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeEnd {
    /// The access completed, and the bytes are those that it makes.
    Ok,
    /// The access completed, but the bytes are others.
    Wrong,
    /// The guest's user space got a signal.
    Signal(i32),
    /// The guest has no operating system, and its CPU took this exception: ESR_EL1.
    Exception(u64),
    /// The guest's CPU does not have the instruction. It was not executed.
    Unsupported,
}
