//! s2lab's own kernel module, built for the kernels whose cells have memory of it.

use super::{BUILT_HERE, cells_of, resolved::KernelRequest};
use s2lab_cache::{Cache, CacheError};
use s2lab_model::{cell::ResolvedCell, event::PlannedCell, outlook::NO_MODULE};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The module for a kernel.
#[derive(Debug, Clone, Default)]
pub enum MemoryModule {
    /// No cell asks for it, or the kernel is not built here.
    #[default]
    None,
    Built(PathBuf),
    Failed(Arc<CacheError>),
}

/// The reason why a cell cannot have memory of the module.
#[derive(Debug)]
pub enum ModuleLack {
    /// The kernel is not built here.
    NoTree,
    /// It could not be built, for this reason.
    NotBuilt(String),
}

impl ModuleLack {
    /// Returns a hint.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ModuleLack::NoTree => Some(BUILT_HERE),
            ModuleLack::NotBuilt(_) => None,
        }
    }
}

impl fmt::Display for ModuleLack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ModuleLack::NoTree => NO_MODULE,
            ModuleLack::NotBuilt(why) => why,
        })
    }
}

/// Returns true if a cell of a kernel asks for the module.
pub(in crate::boot) fn is_asked(cells: &[PlannedCell], kernel: &str) -> bool {
    cells_of(cells, kernel).any(|cell| cell.resolved.uses_module())
}

impl MemoryModule {
    /// Builds the module, if the kernel is built from source. If it cannot be built, it is missing to its cells
    /// alone.
    ///
    /// # Errors
    /// [`CacheError::Cancelled`] alone.
    pub(in crate::boot) async fn built(cache: &Cache, kernel: &KernelRequest) -> Result<Self, CacheError> {
        let KernelRequest::Built(build) = kernel else { return Ok(Self::None) };
        match cache.memory_module(build).await {
            Ok(file) => Ok(Self::Built(file)),
            Err(CacheError::Cancelled) => Err(CacheError::Cancelled),
            Err(error) => Ok(Self::Failed(Arc::new(error))),
        }
    }

    /// Returns its file.
    pub(in crate::boot) fn file(&self) -> Option<&Path> {
        match self {
            Self::Built(file) => Some(file),
            Self::None | Self::Failed(_) => None,
        }
    }

    /// Returns the reason why a cell that asks for the module does not get it.
    pub(in crate::boot) fn lack(&self, cell: &ResolvedCell) -> Option<ModuleLack> {
        match self {
            Self::None => cell.uses_module().then_some(ModuleLack::NoTree),
            Self::Failed(error) => cell.uses_module().then(|| ModuleLack::NotBuilt(error.to_string())),
            Self::Built(_) => None,
        }
    }
}
