//! The kernel that guests boot.

use super::{
    needs::need,
    resolved::{KernelRequest, wanted},
};
use s2lab_cache::{Cache, CacheError, Need};
use s2lab_model::kernel::Kernels;
use std::path::Path;

/// A listed kernel that guests boot.
#[derive(Debug)]
pub struct GuestsKernel<'a> {
    pub name: &'a str,
    /// Its request and the need, if the cache was asked.
    pub(super) known: Option<(KernelRequest, Result<Need, CacheError>)>,
}

impl<'a> GuestsKernel<'a> {
    /// Returns the usual one.
    pub fn usual(kernels: &'a Kernels) -> Self {
        Self { name: &kernels.guest, known: None }
    }

    /// Returns the quick one, if the lab has one and it needs nothing or is `built`; else the usual one. `folder`
    /// is the folder of `kernels.yaml`.
    ///
    /// # Errors
    /// If a file that the quick one names cannot be read.
    pub async fn chosen(
        cache: &Cache,
        kernels: &'a Kernels,
        folder: &Path,
        built: bool,
    ) -> Result<Self, CacheError> {
        if kernels.quick_guest.is_none() {
            return Ok(Self::usual(kernels));
        }
        let request = wanted(kernels, Kernels::QUICK_GUEST, folder)?;
        let need = need(cache, &request).await;
        let is_there = matches!(need, Some(Ok(Need::Nothing)));
        Ok(match is_there || built {
            true => Self { name: Kernels::QUICK_GUEST, known: need.map(|need| (request, need)) },
            false => Self::usual(kernels),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::needs::needs, *};
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
            GuestsKernel::chosen(&cache, &kernels, folder.path(), built).await.unwrap().name.to_owned()
        };
        let both = format!("{LISTED}{QUICK}");
        assert_eq!(chosen(LISTED, false).await, "usual");
        assert_eq!(chosen(LISTED, true).await, "usual", "the lab has no quick one");
        assert_eq!(chosen(&both, false).await, "usual", "it is not in the cache");
        assert_eq!(chosen(&both, true).await, Kernels::QUICK_GUEST);
    }

    #[tokio::test]
    async fn the_cache_is_asked_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("c"), "CONFIG_PCI=y\n").unwrap();
        let cache = Cache::open(&folder.path().join("cache"), true, Arc::new(Quiet)).unwrap();
        let kernels = s2lab_model::kernel::load("kernels.yaml", &format!("{LISTED}{QUICK}")).unwrap();
        let mut guest = GuestsKernel::chosen(&cache, &kernels, folder.path(), true).await.unwrap();
        let (_, need) = guest.known.as_mut().unwrap();
        // An answer that the cache does not give.
        *need = Ok(Need::Fetch(Some(7)));
        let needs = needs(&cache, &kernels, folder.path(), &[], &[], Some(guest)).await;
        assert_eq!(needs.iter().map(|need| need.need).collect::<Vec<_>>(), [Need::Fetch(Some(7))]);
    }
}
