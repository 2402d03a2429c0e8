//! The kernels and the QEMU of a night that follow the archive.

use crate::boot::kernel::resolved::{KernelRequest, wanted};
use crate::cli::{failure::Failure, render::complain, shared::cells::CellPlan};
use crate::lab::{Lab, Places};
use s2lab_cache::{Cache, CacheError, KernelSource, Quiet};
use s2lab_model::{event::PlannedCell, plan::QemuChoice};
use std::{collections::BTreeSet, sync::Arc};

/// Moves each kernel with `track: newest` to the newest version that the archive has, and so the newest
/// QEMU if a cell runs on it. The default QEMU and all other packages stay, so that a change has one
/// cause. What cannot be moved stays at its version, with a warning.
pub(super) async fn move_all(places: &Places, lab: &Lab, planned: &CellPlan) -> Result<(), Failure> {
    let cache = Cache::open(&places.cache, false, Arc::new(Quiet))?;
    let of_cells = planned.cells.iter().map(|cell| &cell.kernel);
    for name in of_cells.chain([&planned.kernels.guest]).collect::<BTreeSet<_>>() {
        if let Err(error) = move_kernel(&cache, &wanted(&planned.kernels, name, &lab.images())?).await {
            complain(&format!("warning: {name} stays at its version: {error}"));
        }
    }
    let is_newest = |cell: &PlannedCell| QemuChoice::of(&cell.key) == Some(QemuChoice::Newest);
    if planned.cells.iter().any(is_newest)
        && let Err(error) = cache.move_newest_qemu().await
    {
        complain(&format!("warning: the newest QEMU stays at its version: {error}"));
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
