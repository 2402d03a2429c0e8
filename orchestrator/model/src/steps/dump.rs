//! KVM's own account of a guest's stage 2.

use super::Observed;
use s2lab_protocol::ask::Dumped;
use serde::{Deserialize, Serialize};

/// KVM's dump of a guest's stage 2 at the places of BARs, or the reason why there is none. It comes
/// after a look, while the guest is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpedTables {
    pub guest: String,
    pub dumped: Dumped,
}

impl Observed for DumpedTables {
    fn is_due(&self) -> bool {
        false
    }
}
