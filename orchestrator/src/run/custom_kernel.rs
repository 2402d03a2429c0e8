//! Kernels from the command line.

use super::kernels::KernelRequest;
use crate::series::Patch;

/// A kernel that is not an entry of `images/kernels.yaml`, or one with a series on top.
#[derive(Debug, Clone)]
pub struct CustomKernel {
    /// Returns the kernel's half of a key.
    pub label: String,
    pub wanted: KernelRequest,
    /// The description, in a line for a person.
    pub about: String,
}

impl CustomKernel {
    /// Returns the patches that are applied to its source.
    pub fn patches(&self) -> &[Patch] {
        match &self.wanted {
            KernelRequest::Built(build) => &build.patches,
            KernelRequest::Archive(_) | KernelRequest::File(_) => &[],
        }
    }
}
