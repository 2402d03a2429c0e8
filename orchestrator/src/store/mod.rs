//! The store: a content-addressed cache, and all that comes out of it - QEMU, kernels, the emulated host's user land,
//! the agent.
//!
//! `CACHE/store/KIND/DIGEST-NAME/` is an entry. Its digest covers everything that goes into it, it appears by one
//! rename, whole or not at all, and a lock file per entry lets two processes build it once.

#![allow(dead_code, reason = "signatures first")]
mod error;
pub mod initramfs;
mod progress;

use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use error::{Result, StoreError};
pub use progress::{Progress, Quiet};

/// The cache folder, and the way to fill it. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    #[expect(dead_code, reason = "signatures first")]
    inner: Arc<(PathBuf, bool, Arc<dyn Progress>)>,
}

impl Store {
    /// `cache` is created where it is missing. `offline`: what is not in the store is an error that names it.
    pub fn open(cache: &Path, offline: bool, progress: Arc<dyn Progress>) -> Result<Self> {
        Ok(Self { inner: Arc::new((cache.to_owned(), offline, progress)) })
    }

    /// The emulator: the machine's own if it is 10.0 or newer, else Debian's.
    pub async fn qemu(&self) -> Result<Qemu> {
        todo!()
    }

    /// A kernel from Debian's archive with the wanted modules and all that they depend on.
    pub async fn kernel(&self, _entry: &DebianKernel, _modules: &[&str]) -> Result<Kernel> {
        todo!()
    }

    /// What the emulated host needs to start QEMU and to serve ssh.
    pub async fn host_userland(&self) -> Result<Userland> {
        todo!()
    }

    /// The agent, built from the checkout at `source` for aarch64, static.
    pub async fn agent(&self, _source: &Path) -> Result<Agent> {
        todo!()
    }
}

/// A kernel in Debian's archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebianKernel {
    /// An image package or a metapackage that depends on one, such as `linux-image-cloud-arm64`.
    pub package: String,
    /// The newest version in any of these is taken, such as `bookworm`, `bookworm-security`.
    pub suites: Vec<String>,
}

/// An emulator that can be started with `program args.. <your arguments>`.
#[derive(Debug, Clone)]
pub struct Qemu {
    /// The program to start: QEMU itself, or the store's dynamic loader, for which `args` name QEMU.
    pub program: PathBuf,
    /// Added to the environment.
    pub env: Vec<(OsString, OsString)>,
    /// Come before all other arguments.
    pub args: Vec<OsString>,
    /// As QEMU says it, such as `10.0.2`.
    pub version: String,
    /// Where it comes from; empty for the machine's own.
    pub packages: Vec<Package>,
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
    /// A cpio archive (newc, not compressed) with `modules/LIST` (file names, one a line, in load order) and
    /// `modules/*.ko` (not compressed). Padded so that archives can be put behind one another.
    pub modules: PathBuf,
    /// The kernel's configuration, if the package has it.
    pub config: Option<PathBuf>,
}

/// Programs and libraries for the emulated host.
#[derive(Debug, Clone)]
pub struct Userland {
    /// A cpio archive (newc, not compressed), padded so that archives can be put behind one another.
    pub archive: PathBuf,
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

/// A Debian package that went into an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// Of the .deb file, hexadecimal.
    pub sha256: String,
}
