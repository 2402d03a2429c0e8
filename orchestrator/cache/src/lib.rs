//! The cache, addressed by content, and all that comes out of it: QEMU, kernels, the emulated
//! host's user land, the agent.
//!
//! `CACHE/objects/KIND/DIGEST-NAME/` is an object. Its digest covers everything that goes into it,
//! it appears by one rename, whole or not at all, and a lock file per object lets two processes
//! build it once. What a process uses it has read to the last byte, and holds by a shared lock on
//! the manifest, so that nobody removes it.

mod builds;
pub mod carried;
pub mod committed;
mod debian;
mod error;
mod git;
mod need;
pub mod objects;
pub mod parts;
mod progress;
pub mod revisions;
pub mod series;

use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use builds::build::KernelBuild;
pub use builds::config::{BuildConfig, ConfigFile};
pub use builds::selftests::{SelftestRequest, Selftests};
pub use builds::source::{KernelSource, SourcePackage};
pub use error::{CacheError, Result};
pub use need::{Extent, Need};
pub use objects::damage::Damage;
pub use objects::hosts::HOSTS_LIMIT;
pub use objects::inventory::{Item, Removed};
pub use objects::manifest::{FileFact, Manifest};
pub use parts::given::Parts;
pub use parts::modules::{Loaded, Module, ModuleInfo, Modules, parse_modinfo, write_archive};
pub use parts::programs::{DebianPrograms, Programs};
pub use parts::qemu::OLDEST as OLDEST_QEMU;
pub use progress::{Progress, Quiet};

use builds::rustc::Asked;
use debian::apt::Apt;
use objects::{folder, object::Objects};
use parts::given;

/// The cache folder, and the way to fill it. Clones are cheap.
#[derive(Clone)]
pub struct Cache {
    objects: Objects,
    apt: Apt,
    offline: bool,
    progress: Arc<dyn Progress>,
    parts: Parts,
    rustc: Asked,
}

impl Cache {
    /// Opens `cache`, which is created if it is missing, and removes half-made content of dead
    /// processes. With `offline` a missing object is an error that names it.
    pub fn open(cache: &Path, offline: bool, progress: Arc<dyn Progress>) -> Result<Self> {
        // Programs are started from other working folders.
        let cache = std::path::absolute(cache).map_err(CacheError::io("cannot find", cache))?;
        let objects = Objects::open(folder::of(&cache, &*progress)?, progress.clone())?;
        let apt = Apt::new(cache.join("apt"), objects.root().to_owned(), offline, progress.clone());
        Ok(Self { objects, apt, offline, progress, parts: Parts::default(), rustc: Asked::default() })
    }

    /// Returns the emulator: the one that was brought, else the machine's own if it is 10.0 or
    /// newer, else Debian's.
    pub async fn qemu(&self) -> Result<Qemu> {
        self.blocking(|cache| match &cache.parts.qemu {
            Some(path) => cache.given_qemu(path),
            None => cache.qemu_blocking(),
        })
        .await
    }

    /// Returns the newest emulator that Debian's archive has, in an object of its own.
    pub async fn newest_qemu(&self) -> Result<Qemu> {
        self.blocking(Self::newest_qemu_blocking).await
    }

    /// Moves the newest emulator to the version that the archive has now: the next
    /// [`Cache::newest_qemu`] takes it.
    ///
    /// # Errors
    /// The version in use stays.
    pub async fn move_newest_qemu(&self) -> Result<()> {
        self.blocking(Self::move_newest_qemu_blocking).await
    }

    /// Returns a kernel from Debian's archive with the requested modules and all their
    /// dependencies. A module that is built in is left out.
    pub async fn kernel(&self, kernel: &DebianKernel, modules: &[&str]) -> Result<Kernel> {
        let (kernel, modules) = (kernel.clone(), own(modules));
        self.blocking(move |cache| cache.kernel_blocking(&kernel, &borrow(&modules))).await
    }

    /// Moves a kernel to the newest version that the archive has: the next [`Cache::kernel`] takes it.
    ///
    /// # Errors
    /// The version in use stays.
    pub async fn move_kernel(&self, kernel: &DebianKernel) -> Result<()> {
        let kernel = kernel.clone();
        self.blocking(move |cache| cache.move_kernel_blocking(&kernel)).await
    }

    /// Moves a package of kernel source like [`Cache::move_kernel`].
    pub async fn move_source(&self, source: &SourcePackage) -> Result<()> {
        let source = source.clone();
        self.blocking(move |cache| cache.move_source_blocking(&source)).await
    }

    /// Returns a kernel built from source, with modules like [`Cache::kernel`]. The same input is
    /// built once.
    pub async fn build_kernel(&self, build: &KernelBuild, modules: &[&str]) -> Result<Kernel> {
        let (build, modules) = (build.clone(), own(modules));
        self.blocking(move |cache| cache.build_blocking(&build, &borrow(&modules))).await
    }

    /// Returns these selftests of a kernel's tree, which are in a folder of `tools/testing/selftests`. They
    /// are built once, as static programs.
    pub async fn selftests(&self, build: &KernelBuild, request: SelftestRequest<'_>) -> Result<Selftests> {
        let (build, folder, tests) = (build.clone(), request.folder.to_owned(), request.tests.clone());
        let libraries = own(request.libraries);
        self.blocking(move |cache| {
            let libraries = borrow(&libraries);
            let request = SelftestRequest { folder: &folder, libraries: &libraries, tests: &tests };
            cache.selftests_blocking(&build, request)
        })
        .await
    }

    /// Returns s2lab's own kernel module for a kernel built from source. It is built once, whether the kernel is
    /// built or not.
    pub async fn memory_module(&self, build: &KernelBuild) -> Result<PathBuf> {
        let build = build.clone();
        self.blocking(move |cache| cache.memory_module_blocking(&build)).await
    }

    /// Returns a kernel given as a file, with modules from the tree `modules_from`. Without the
    /// tree all are taken to be built in. Its release and version are unknown.
    pub async fn image(
        &self,
        image: &Path,
        modules_from: Option<&Path>,
        modules: &[&str],
    ) -> Result<ImageFile> {
        let (image, dir, modules) = (image.to_owned(), modules_from.map(Path::to_owned), own(modules));
        self.blocking(move |cache| cache.image_blocking(&image, dir.as_deref(), &borrow(&modules))).await
    }

    /// Returns the programs that the emulated host needs to start QEMU and to serve ssh.
    pub async fn host_userland(&self) -> Result<Userland> {
        self.blocking(|cache| match &cache.parts.rootfs {
            Some(path) => cache.given_userland(path),
            None => cache.userland_blocking(),
        })
        .await
    }

    /// Returns the agent: the one that was brought, else built for aarch64, static, from the source
    /// in this program.
    pub async fn agent(&self) -> Result<Agent> {
        self.blocking(|cache| match &cache.parts.agent {
            Some(path) => given::given_agent(path),
            None => cache.agent_blocking(),
        })
        .await
    }

    /// Returns the plugin of QEMU: the one that was brought, else built for this machine from the
    /// source in this program. With an agent that was brought nothing is built.
    pub async fn plugin(&self) -> Result<Plugin> {
        self.blocking(|cache| match (&cache.parts.plugin, &cache.parts.agent) {
            (Some(path), _) => given::given_plugin(path),
            (None, Some(_)) => Err(CacheError::NotBrought),
            (None, None) => cache.plugin_blocking(),
        })
        .await
    }

    /// Returns the folder `name` of the cache, beside the objects. It may be missing.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.objects.root().with_file_name(name)
    }

    /// Returns the folder of an object that the caller fills, if there is none for `inputs`, which
    /// are all that decides its content. `fill` gets an empty folder. Blocks.
    pub fn filled(
        &self,
        kind: &str,
        name: &str,
        inputs: &impl Serialize,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        Ok(self.objects.get(kind, name, inputs, |building| fill(&building.dir))?.path)
    }

    /// Returns the digest of a file, in or out of the cache. It reads the file only if this process has not
    /// verified it. Blocks.
    pub fn digest(&self, path: &Path) -> Result<String> {
        self.objects.digest(path)
    }

    /// Checks that the machine's apt names an archive that serves our suites, and that the keys to
    /// verify it exist.
    pub async fn archive(&self) -> Result<()> {
        self.blocking(|cache| cache.apt.archive()).await
    }

    /// Forgets the versions in use: the next use asks the archive for the newest. Objects stay.
    pub fn forget(&self) -> Result<()> {
        self.apt.forget()
    }

    /// Runs work on files and programs beside the asynchronous tasks. Dropping the future does not
    /// end it: [`Progress::cancelled`] does.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let cache = self.clone();
        tokio::task::spawn_blocking(move || work(&cache))
            .await
            .map_err(|e| CacheError::Task(e.to_string()))?
    }
}

fn own(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn borrow(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// A kernel in Debian's archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebianKernel {
    /// An image package or a metapackage that depends on one, such as `linux-image-cloud-arm64`.
    pub package: String,
    /// None: the newest.
    pub version: Option<String>,
    /// The suites to search, such as `bookworm`, `bookworm-security`.
    pub suites: Vec<String>,
}

/// An emulator that starts with `program args.. <your arguments>`.
#[derive(Debug, Clone)]
pub struct Qemu {
    /// The program to start: QEMU itself, or the cache's dynamic loader, for which `args` name
    /// QEMU.
    pub program: PathBuf,
    /// Added to the environment.
    pub env: Vec<(OsString, OsString)>,
    /// Arguments that come before all others.
    pub args: Vec<OsString>,
    /// The version in QEMU's own form, such as `10.0.2`.
    pub version: String,
    /// The packages it comes from; empty for the machine's own.
    pub packages: Vec<Package>,
}

impl Qemu {
    /// Returns the program without arguments of ours. It gets a list of the environment's
    /// variables, and [`Qemu::env`].
    pub fn command(&self) -> std::process::Command {
        let mut command = s2lab_os::child::command(&self.program, s2lab_os::child::QEMU);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A bootable kernel.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// A plain arm64 `Image`.
    pub image: PathBuf,
    pub image_sha256: String,
    /// `uname -r`.
    pub release: String,
    pub package_version: String,
    /// A cpio archive (newc, not compressed) with `modules/LIST` (file names, one a line, in load
    /// order) and `modules/*.ko` (not compressed). It is padded, so that archives can follow each
    /// other.
    pub modules: PathBuf,
    /// The requested modules that are neither files nor built in.
    pub absent: Vec<String>,
    /// The kernel's configuration, if the package has it.
    pub config: Option<PathBuf>,
    /// The kernel's symbols, if the package has them.
    pub system_map: Option<PathBuf>,
}

/// A kernel that the user gave as a file.
#[derive(Debug, Clone)]
pub struct ImageFile {
    /// A plain arm64 `Image`.
    pub image: PathBuf,
    pub image_sha256: String,
    /// The archive of modules, see [`Kernel::modules`].
    pub modules: PathBuf,
    /// The missing modules, see [`Kernel::absent`]. Empty if nothing lists the built-in ones.
    pub absent: Vec<String>,
}

/// Programs and libraries for the emulated host.
#[derive(Debug, Clone)]
pub struct Userland {
    /// A cpio archive (newc, not compressed), padded so that archives can follow each other.
    pub archive: PathBuf,
    /// The same without QEMU and its libraries.
    pub without_qemu: PathBuf,
    pub packages: Vec<Package>,
    /// The version of the `qemu-system-aarch64` in it.
    pub qemu_version: String,
}

/// The built agent.
#[derive(Debug, Clone)]
pub struct Agent {
    pub program: PathBuf,
    pub sha256: String,
}

/// The plugin of QEMU, a shared library.
#[derive(Debug, Clone)]
pub struct Plugin {
    pub file: PathBuf,
    pub sha256: String,
}

/// A Debian package that is an input of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// The digest of the .deb file, in hexadecimal.
    pub sha256: String,
}
