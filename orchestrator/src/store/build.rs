//! Kernels built from source.

use super::{Kernel, KernelSource, Store, error::Result};
use crate::series::Patch;

/// What is to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelBuild {
    /// What progress and errors call it, and the store's entry: a kernel's name, `[a-z0-9.-]`.
    pub name: String,
    pub source: KernelSource,
    pub config: BuildConfig,
    /// On top of the source, in order.
    pub patches: Vec<Patch>,
}

/// A kernel's configuration before the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildConfig {
    /// These options and what they select; nothing else. A later fragment wins. Each option must take.
    Fragments(Vec<ConfigFile>),
    /// A whole `.config`; what it does not say gets its default (`make olddefconfig`).
    Whole(ConfigFile),
}

/// A file of options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// What errors call it.
    pub name: String,
    pub text: String,
}

impl Store {
    pub(crate) fn build_blocking(&self, _build: &KernelBuild, _wanted: &[&str]) -> Result<Kernel> {
        todo!("skeleton")
    }
}
