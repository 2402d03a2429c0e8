//! Kernels that the command line brings.

use super::kernels::Wanted;
use crate::series::Patch;

/// A kernel that is no entry of `images/kernels.yaml`, or one with a series on top.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The kernel's half of a key.
    pub label: String,
    pub wanted: Wanted,
    /// What it is, in a line for a person.
    pub about: String,
}

impl Chosen {
    /// What is applied to its source.
    pub fn patches(&self) -> &[Patch] {
        match &self.wanted {
            Wanted::Built(build) => &build.patches,
            Wanted::Archive(_) | Wanted::File(_) => &[],
        }
    }
}
