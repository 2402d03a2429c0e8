//! Artifacts: files that the command line names by their address and the digest of their content.
//! apt's helper fetches them, so proxies and credentials are those of the packages. What has another
//! digest is not kept.

use crate::{
    Cache,
    debian::deb::untar,
    error::{CacheError, Result},
    objects::{digest, object::Building},
};
use s2lab_model::plan::Artifact;
use s2lab_os::{
    child::{
        self,
        run::{self, RunError, Watch},
    },
    outside::{self, Kind, kinds, packed},
    waits,
};
use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The program that fetches a file like apt fetches packages. It is not on PATH.
const HELPER: &str = "/usr/lib/apt/apt-helper";
/// The options of `debian/apt/text.rs` that concern a single file: the cache's folders are not the
/// download user's.
const OPTIONS: [&str; 8] = [
    "-o",
    "APT::Sandbox::User=root",
    "-o",
    "Acquire::Retries=3",
    "-o",
    "Acquire::http::Timeout=30",
    "-o",
    "Acquire::https::Timeout=30",
];
/// The longest silence. apt itself gives up on a silent server after 30 s, four times.
const SILENCE: Duration = Duration::from_secs(150);
/// The longest time of a download.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// The kinds of objects: a file, and the modules of an archive.
const FILE: &str = "artifact";
const MODULES: &str = "artifact-modules";
/// The most members of a packed archive.
const MOST_MEMBERS: usize = 64;

impl Cache {
    /// Returns the file of an artifact, which is fetched once. Only its digest decides which object
    /// it is, whatever its address.
    ///
    /// # Errors
    /// [`CacheError::Artifact`] if the file has another digest, or is larger than its kind may be.
    pub async fn artifact(&self, artifact: &Artifact, kind: Kind) -> Result<PathBuf> {
        let artifact = artifact.clone();
        self.blocking(move |cache| {
            let fetch = |building: &mut Building| cache.fetch(&artifact, kind, &building.dir.join(FILE));
            Ok(cache.objects.get(FILE, FILE, &artifact.sha256, fetch)?.path.join(FILE))
        })
        .await
    }

    /// Returns the folder with the modules of an artifact, which is an archive of tar, packed or not.
    ///
    /// # Errors
    /// Those of [`Cache::artifact`], and [`CacheError::Artifact`] for a file without modules.
    pub async fn artifact_modules(&self, artifact: &Artifact) -> Result<PathBuf> {
        let artifact = artifact.clone();
        self.blocking(move |cache| {
            let object = cache.objects.get(MODULES, MODULES, &artifact.sha256, |building| {
                let archive = building.dir.join(FILE);
                cache.fetch(&artifact, kinds::MODULE_ARCHIVE, &archive)?;
                unpack(&artifact, &archive, &building.dir.join(MODULES))?;
                fs::remove_file(&archive).map_err(CacheError::io("cannot remove", &archive))
            })?;
            Ok(object.path.join(MODULES))
        })
        .await
    }

    /// Fetches a file, and checks its digest.
    fn fetch(&self, artifact: &Artifact, kind: Kind, to: &Path) -> Result<()> {
        if self.offline {
            return Err(CacheError::Offline { missing: artifact.to_string() });
        }
        self.progress.step(&format!("fetching {}", artifact.url));
        self.download(artifact, kind, to)?;
        match digest::file(to)? {
            found if found == artifact.sha256 => Ok(()),
            found => Err(refused(
                artifact,
                format!("it has SHA-256 {found}, expected {}; nothing of it is kept", artifact.sha256),
            )),
        }
    }

    fn download(&self, artifact: &Artifact, kind: Kind, to: &Path) -> Result<()> {
        let mut command = child::command(HELPER, child::APT);
        command.arg("-qq").args(OPTIONS).args(["download-file", &artifact.url]).arg(to);
        let (too_large, began) = (Cell::new(false), waits::now());
        let mut activity = || {
            let size = fs::metadata(to).map_or(0, |meta| meta.len());
            too_large.set(size > kind.limit);
            size
        };
        let is_late = || began.elapsed() > LONGEST;
        let watch = Watch {
            purpose: format!("fetch {}", artifact.url),
            silence: SILENCE,
            activity: &mut activity,
            cancelled: &|| self.progress.cancelled() || too_large.get() || is_late(),
        };
        match run::run(command, watch) {
            _ if too_large.get() => Err(refused(artifact, outside::Why::TooLarge(kind).to_string())),
            Err(RunError::Cancelled) if !self.progress.cancelled() => {
                let output = format!("it took more than {} s", LONGEST.as_secs());
                Err(CacheError::Fetch { what: artifact.url.clone(), output })
            }
            done => done.map(drop).map_err(|error| CacheError::fetch(&artifact.url, error)),
        }
    }
}

/// Returns the error for an artifact that is not what the user says.
fn refused(artifact: &Artifact, why: String) -> CacheError {
    CacheError::Artifact { url: artifact.url.clone(), why }
}

/// Unpacks the modules of an archive, and the kernel's lists of them.
fn unpack(artifact: &Artifact, archive: &Path, into: &Path) -> Result<()> {
    let bytes = outside::read(archive, kinds::MODULE_ARCHIVE)?;
    let plain = packed::unpacked(bytes, kinds::MODULE_ARCHIVE, MOST_MEMBERS);
    let plain = plain.map_err(|why| refused(artifact, why.to_string()))?;
    fs::create_dir(into).map_err(CacheError::io("cannot create", into))?;
    let mut modules = 0;
    let mut keep = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_module = name.ends_with(".ko") || name.contains(".ko.");
        modules += usize::from(is_module);
        is_module || name.starts_with("modules.")
    };
    untar(plain.as_slice(), into, &mut keep).map_err(|error| match error.raw_os_error() {
        Some(_) => CacheError::io("cannot unpack modules into", into)(error),
        None => refused(artifact, format!("it is not an archive of modules: {error}")),
    })?;
    match modules {
        0 => Err(refused(artifact, "it is not an archive with kernel modules".to_owned())),
        _ => Ok(()),
    }
}
