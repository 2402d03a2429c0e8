//! A kernel by its name in a plan: an entry of `images/kernels.yaml`, or a kernel from the command
//! line.

use super::resolved::{KernelRequest, wanted};
use s2lab_cache::{CacheError, KernelSource, series::Patch};
use s2lab_model::{
    event::{KernelOrigin, PlannedCell, SeriesOrigin},
    kernel::Kernels,
};
use std::{collections::BTreeSet, path::Path};

/// A kernel that is not an entry of `images/kernels.yaml`, or one with a series on top.
#[derive(Debug, Clone)]
pub struct CustomKernel {
    /// The kernel's half of a key.
    pub label: String,
    pub wanted: KernelRequest,
    /// The description, in a line for a person.
    pub about: String,
    /// The series on top.
    pub series: Option<SeriesOrigin>,
}

impl CustomKernel {
    /// Returns its origin, for the plan.
    pub fn origin(&self) -> KernelOrigin {
        let commit = match &self.wanted {
            KernelRequest::Built(build) => match &build.source {
                KernelSource::Revision { revision, .. } => Some(revision.clone()),
                KernelSource::Package(_) | KernelSource::Folder(_) => None,
            },
            KernelRequest::Archive(_) | KernelRequest::File(_) => None,
        };
        KernelOrigin { about: self.about.clone(), commit, series: self.series.clone() }
    }

    /// Returns the patches that are applied to its source.
    pub fn patches(&self) -> &[Patch] {
        match &self.wanted {
            KernelRequest::Built(build) => &build.patches,
            KernelRequest::Archive(_) | KernelRequest::File(_) => &[],
        }
    }
}

/// Yields the kernels of these cells, each once.
pub(in crate::boot) fn names(cells: &[PlannedCell]) -> impl Iterator<Item = &String> {
    let mut known = BTreeSet::new();
    cells.iter().map(|cell| &cell.kernel).filter(move |name| known.insert(*name))
}

/// Returns the request to the cache for the kernel of this name.
pub(in crate::boot) fn resolve(
    name: &str,
    kernels: &Kernels,
    folder: &Path,
    chosen: &[CustomKernel],
) -> Result<KernelRequest, CacheError> {
    let given = chosen.iter().find(|chosen| chosen.label == name);
    given.map_or_else(|| wanted(kernels, name, folder), |chosen| Ok(chosen.wanted.clone()))
}
