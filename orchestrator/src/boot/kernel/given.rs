//! Kernels that were given as files, and their check before a run is made.

use super::{
    named::{CustomKernel, names, resolve},
    ready::{KernelConfig, kernel},
    resolved::{ImageChoice, KernelRequest},
};
use crate::cache::{Cache, CacheError};
use s2lab_model::{
    event::PlannedCell,
    kconfig::{self, Lack},
    kernel::Kernels,
};
use std::path::Path;

/// Returns the kernels of these cells that were given as files. The others are checked when they
/// are gathered.
pub fn given(
    kernels: &Kernels,
    folder: &Path,
    chosen: &[CustomKernel],
    cells: &[PlannedCell],
) -> Vec<(String, ImageChoice)> {
    let given = |name: &String| match resolve(name, kernels, folder, chosen) {
        Ok(KernelRequest::File(choice)) => Some((name.clone(), choice)),
        Ok(KernelRequest::Archive(_) | KernelRequest::Built(_)) | Err(_) => None,
    };
    names(cells).filter_map(given).collect()
}

/// Checks kernels that were given as files, before a run is made: defects of them are the user's
/// mistake.
///
/// # Errors
/// [`CacheError::Given`] for a file that is not a kernel, modules that are not its own, and modules
/// that a cell needs and nobody gave.
pub async fn check(
    cache: &Cache,
    given: &[(String, ImageChoice)],
    cells: &[PlannedCell],
) -> Result<(), CacheError> {
    for (name, choice) in given {
        let files = kernel(cache, &KernelRequest::File(choice.clone())).await?;
        let Some(KernelConfig { config, .. }) = &files.config else { continue };
        let delivered = files.boot.delivered();
        let delivered = delivered.map_err(CacheError::io("cannot read", &files.boot.modules))?;
        for cell in cells.iter().filter(|cell| cell.kernel == *name) {
            let lacks = kconfig::lacking(config, &cell.scenario, &delivered);
            if let Some(module) = lacks.iter().find_map(Lack::module_not_given) {
                return Err(not_given(module, choice));
            }
        }
    }
    Ok(())
}

/// Returns the error for a module that the kernel has but that was not given.
fn not_given(module: &str, choice: &ImageChoice) -> CacheError {
    match &choice.modules {
        Some(folder) => {
            CacheError::given(folder, format!("it has no module `{module}`, which the kernel needs"))
        }
        None => CacheError::given(
            &choice.image,
            format!("its configuration has `{module}` as a module, and no modules were given: --modules DIR"),
        ),
    }
}
