//! The accepted reports that the program carries: those of the cells that run by default.

use std::{error::Error, path::Path};

/// Returns whether the program carries the file at `path`: anything but a report of another cell. `defaults` are
/// the default kernels.
pub(crate) fn is_carried(path: &str, defaults: &[String], checkout: &Path) -> bool {
    let Some((scenario, file)) = path.strip_prefix("reports/").and_then(|path| path.split_once('/')) else {
        return true;
    };
    // The file's name has the kernel and the cell's point: `debian-6.12+page=64K.txt`.
    let kernel = file.strip_suffix(".txt").and_then(|name| name.split('+').next());
    let is_default = kernel.is_some_and(|kernel| defaults.iter().any(|default| default == kernel));
    // Scenarios of a folder below run only if they are named.
    is_default && checkout.join(format!("scenarios/{scenario}.yaml")).is_file()
}

/// Returns the default kernels of a list of kernels, which has them in one line.
pub(crate) fn defaults(list: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let line = list.lines().find_map(|line| line.strip_prefix("default: [")?.split_once(']'));
    let (names, _) = line.ok_or("images/kernels.yaml has no line `default: [...]`")?;
    Ok(names.split(',').map(|name| name.trim().to_owned()).collect())
}
