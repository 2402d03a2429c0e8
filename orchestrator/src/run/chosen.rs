//! Kernels from the command line.

use super::kernels::Wanted;
use crate::series::Patch;

/// A kernel that is not an entry of `images/kernels.yaml`, or one with a series on top.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Returns the kernel's half of a key.
    pub label: String,
    pub wanted: Wanted,
    /// The description, in a line for a person.
    pub about: String,
}

impl Chosen {
    /// Returns the patches that are applied to its source.
    pub fn patches(&self) -> &[Patch] {
        match &self.wanted {
            Wanted::Built(build) => &build.patches,
            Wanted::Archive(_) | Wanted::File(_) => &[],
        }
    }
}
