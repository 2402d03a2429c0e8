//! Kernels: the entries of `images/kernels.yaml` and what they declare.

use serde::{Deserialize, Serialize};

/// A fact that a kernel declares about itself; expectations choose by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trait {
    /// vfio-pci marks its VMAs as safe for Normal-NC (VM_ALLOW_ANY_UNCACHED).
    WcConveyed,
    /// KVM maps marked device memory Normal-NC at stage 2.
    WcHonoured,
}
