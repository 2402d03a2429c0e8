//! The kernels of a night that follow the archive.

use crate::boot::kernel::resolved::{KernelRequest, wanted};
use crate::cli::{failure::Failure, render::complain, shared::cells::CellPlan};
use crate::lab::{Lab, Places};
use s2lab_cache::{Cache, CacheError, KernelSource, Quiet};
use std::{collections::BTreeSet, sync::Arc};

/// Moves each kernel with `track: newest` to the newest version that the archive has. QEMU and all
/// other packages stay, so that a change has one cause. A kernel that cannot be moved stays at its
/// version, with a warning.
pub(super) async fn move_kernels(places: &Places, lab: &Lab, planned: &CellPlan) -> Result<(), Failure> {
    let cache = Cache::open(&places.cache, false, Arc::new(Quiet))?;
    let of_cells = planned.cells.iter().map(|cell| &cell.kernel);
    for name in of_cells.chain([&planned.kernels.guest]).collect::<BTreeSet<_>>() {
        if let Err(error) = move_kernel(&cache, &wanted(&planned.kernels, name, &lab.images())?).await {
            complain(&format!("warning: {name} stays at its version: {error}"));
        }
    }
    Ok(())
}

async fn move_kernel(cache: &Cache, request: &KernelRequest) -> Result<(), CacheError> {
    match request {
        KernelRequest::Archive(kernel) if kernel.version.is_none() => cache.move_kernel(kernel).await,
        KernelRequest::Built(build) => match &build.source {
            KernelSource::Package(package) if package.version.is_none() => cache.move_source(package).await,
            _ => Ok(()),
        },
        KernelRequest::Archive(_) | KernelRequest::File(_) | KernelRequest::Fetched(_) => Ok(()),
    }
}
