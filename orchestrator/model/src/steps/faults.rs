//! The stage-2 faults of a guest, in the trace of the host's kernel.

use super::Observed;
use s2lab_protocol::ask::Faulted;
use serde::{Deserialize, Serialize};

/// The pages at which a guest has taken a stage-2 translation fault since the last such observation,
/// or since it was started. It comes right after a look, while the guest is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedFaults {
    pub guest: String,
    pub faulted: Faulted,
}

impl Observed for TracedFaults {
    fn is_due(&self) -> bool {
        false
    }
}
