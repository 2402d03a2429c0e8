//! The needs of kernels before they can be booted, as far as the cache knows them without the network.

use crate::{
    Cache, DebianKernel, KernelBuild,
    error::{CacheError, Result},
};
use std::time::Duration;

/// The work before a kernel can be booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The cache has it.
    Nothing,
    /// Packages of so many bytes are fetched. None: their versions are not known yet.
    Fetch(Option<u64>),
    /// It is built from source.
    Build(Extent),
}

/// The extent of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Everything. The last build of everything on this machine took so long; None: there was none.
    Whole(Option<Duration>),
    /// The files that changed since an earlier build of the same source and configuration.
    Changes,
}

impl Cache {
    /// Returns what a kernel from Debian's archive needs.
    pub async fn kernel_need(&self, kernel: &DebianKernel) -> Result<Need> {
        let kernel = kernel.clone();
        self.blocking(move |cache| cache.kernel_need_blocking(&kernel)).await
    }

    /// Returns what a kernel built from source needs. It reads a tree on disk to identify it.
    pub async fn build_need(&self, build: &KernelBuild) -> Result<Need> {
        let build = build.clone();
        self.blocking(move |cache| cache.build_need_blocking(&build)).await
    }

    fn kernel_need_blocking(&self, kernel: &DebianKernel) -> Result<Need> {
        let Some(debs) = self.known_debs(kernel)? else { return Ok(Need::Fetch(None)) };
        if self.kernel_folder(kernel)?.is_some() {
            return Ok(Need::Nothing);
        }
        Ok(match self.apt.bytes_to_fetch(&debs) {
            0 => Need::Nothing,
            bytes => Need::Fetch(Some(bytes)),
        })
    }

    fn build_need_blocking(&self, build: &KernelBuild) -> Result<Need> {
        let whole = || Ok(Need::Build(Extent::Whole(self.last_whole_build())));
        match self.without_network().known_build(build) {
            Ok(known) if known.object.is_some() => Ok(Need::Nothing),
            Ok(known) if known.is_begun => Ok(Need::Build(Extent::Changes)),
            // The source is not in the cache either, and so not known.
            Ok(_) | Err(CacheError::Offline { .. }) => whole(),
            Err(error) => Err(error),
        }
    }

    /// Returns the same cache, which does not use the network.
    fn without_network(&self) -> Self {
        Self { apt: self.apt.without_network(), offline: true, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BuildConfig, KernelSource, Quiet, SourcePackage};
    use std::{fs, sync::Arc};

    fn cache(folder: &std::path::Path) -> Cache {
        Cache::open(folder, false, Arc::new(Quiet)).unwrap()
    }

    /// The archive of a machine that runs tests is never asked: the answers come from files alone.
    #[test]
    fn a_package_whose_version_is_known_has_a_size() {
        let dir = tempfile::tempdir().unwrap();
        let kernel =
            DebianKernel { package: "linux-image-x".into(), version: None, suites: vec!["s".into()] };
        let need = |cache: &Cache| cache.kernel_need_blocking(&kernel).unwrap();
        assert_eq!(need(&cache(dir.path())), Need::Fetch(None));
        let [first, second] = [("1", 300), ("2", 20)].map(|(sha256, size)| {
            format!(r#"{{"name":"p{sha256}","version":"1","architecture":"arm64","size":{size},"sha256":"{sha256}"}}"#)
        });
        let known = format!(r#"{{"linux-image-x for arm64 from s":[{first},{second}]}}"#);
        fs::write(dir.path().join("objects/resolved.json"), known).unwrap();
        assert_eq!(need(&cache(dir.path())), Need::Fetch(Some(320)));
        // One of the packages has arrived, then both: they are only unpacked.
        let pool = dir.path().join("objects/deb");
        fs::create_dir(&pool).unwrap();
        fs::write(pool.join("2-p2.deb"), [0; 20]).unwrap();
        assert_eq!(need(&cache(dir.path())), Need::Fetch(Some(300)));
        fs::write(pool.join("1-p1.deb"), [0; 300]).unwrap();
        assert_eq!(need(&cache(dir.path())), Need::Nothing);
    }

    #[test]
    fn a_build_of_a_source_that_is_not_known_is_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let package = SourcePackage {
            package: "linux-source-x".into(),
            version: Some("1".into()),
            suites: vec!["s".into()],
        };
        let build = KernelBuild {
            name: "x".into(),
            source: KernelSource::Package(package),
            config: BuildConfig::Fragments(vec![]),
            patches: vec![],
        };
        let cache = cache(dir.path());
        let need = || cache.build_need_blocking(&build).unwrap();
        assert_eq!(need(), Need::Build(Extent::Whole(None)));
        cache.note_whole_build(Duration::from_secs(431));
        assert_eq!(need(), Need::Build(Extent::Whole(Some(Duration::from_secs(431)))));
    }
}
