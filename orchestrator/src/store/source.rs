//! Sources of kernels.

use std::path::PathBuf;

/// Where a kernel's source comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelSource {
    /// A package of Debian's archive.
    Package(SourcePackage),
    /// A commit of a git repository. The repository is only read.
    Revision { repository: PathBuf, revision: String },
    /// A folder as it is now: of a git repository what is committed and what is not, but not what it ignores.
    Folder(PathBuf),
}

/// A package such as `linux-source-6.1`, with a `usr/src/NAME.tar.xz` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePackage {
    pub package: String,
    /// None: the newest.
    pub version: Option<String>,
    pub suites: Vec<String>,
}
