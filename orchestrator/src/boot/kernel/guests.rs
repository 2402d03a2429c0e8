//! The kernel that guests boot.

use super::{needs::need, resolved::wanted};
use s2lab_cache::{Cache, CacheError, Need};
use s2lab_model::kernel::Kernels;
use std::path::Path;

/// Returns the name of the kernel that guests boot: the quick one, if the lab has one and it needs nothing
/// or is `built`; else the usual one. `folder` is the folder of `kernels.yaml`.
///
/// # Errors
/// If a file that the quick one names cannot be read.
pub async fn guests_kernel<'a>(
    cache: &Cache,
    kernels: &'a Kernels,
    folder: &Path,
    built: bool,
) -> Result<&'a str, CacheError> {
    if kernels.quick_guest.is_none() {
        return Ok(&kernels.guest);
    }
    let request = wanted(kernels, Kernels::QUICK_GUEST, folder)?;
    let is_there = matches!(need(cache, &request).await, Some(Ok(Need::Nothing)));
    Ok(if is_there || built { Kernels::QUICK_GUEST } else { &kernels.guest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_cache::Quiet;
    use std::{fs, sync::Arc};

    const LISTED: &str = "kernels:
  usual: {about: a, provider: debian, package: linux, version: 6.12-1, suites: [s], traits: []}
default: [usual]
guest: usual
";
    const QUICK: &str = "quick-guest: {about: a, provider: source, package: linux-source, version: 6.12-1, suites: [s], config: [c], traits: []}\n";

    #[tokio::test]
    async fn the_quick_kernel_is_for_those_who_have_it_or_build_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("c"), "CONFIG_PCI=y\n").unwrap();
        let cache = Cache::open(&folder.path().join("cache"), true, Arc::new(Quiet)).unwrap();
        let chosen = async |text: &str, built| {
            let kernels = s2lab_model::kernel::load("kernels.yaml", text).unwrap();
            guests_kernel(&cache, &kernels, folder.path(), built).await.unwrap().to_owned()
        };
        let both = format!("{LISTED}{QUICK}");
        assert_eq!(chosen(LISTED, false).await, "usual");
        assert_eq!(chosen(LISTED, true).await, "usual", "the lab has no quick one");
        assert_eq!(chosen(&both, false).await, "usual", "it is not in the cache");
        assert_eq!(chosen(&both, true).await, Kernels::QUICK_GUEST);
    }
}
