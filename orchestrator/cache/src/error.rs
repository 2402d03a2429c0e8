//! Failures of the cache.

use crate::{
    objects::damage::Damage,
    parts::image::ImageError,
    series::{Refusal, SeriesError},
};
use s2lab_os::{
    child::run::RunError,
    lock::LockError,
    outside::{CopyError, ReadError, Why},
    whole::no_room,
};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The hint for a full disk.
const ROOM: &str = "the file system of the cache is full: make room (`s2lab cache gc` removes what was not used for long), or name another with XDG_CACHE_HOME; finished objects stay";
/// The messages of the programs that the cache runs for ENOSPC, EDQUOT and EFBIG: glibc's strerror;
/// apt 2.6 apt-private/private-install.cc.
const FULL: [&str; 4] =
    ["No space left on device", "Disk quota exceeded", "File too large", "have enough free space in"];

/// A failure of the cache. [`CacheError::hint`] returns a hint.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("{what} `{path}`: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },

    #[error(transparent)]
    Read(#[from] ReadError),

    #[error(transparent)]
    Copy(#[from] CopyError),

    #[error("offline, and the cache does not have {missing}")]
    Offline { missing: String },

    #[error("the cache does not have {missing}, and cannot take it: `{path}`: {source}")]
    ReadOnly { missing: String, path: PathBuf, source: io::Error },

    #[error("{what} in the cache is damaged ({damage}) and cannot be made anew: {source}")]
    Damaged { what: String, damage: Damage, source: Box<CacheError> },

    #[error("the machine has no `{program}`, which is needed to {purpose}")]
    NoProgram { program: String, purpose: String },

    #[error("`{program}` failed ({status}) while it was to {purpose}\n{output}")]
    Program { program: String, status: String, purpose: String, output: String },

    #[error("{what} made no progress for {} s", limit.as_secs())]
    Stalled { what: String, limit: Duration },

    #[error("waited {} s for another s2lab that holds `{lock}`", limit.as_secs())]
    LockTimeout { lock: String, limit: Duration },

    #[error("the agent was brought, and no plugin with it")]
    NotBrought,

    #[error("cancelled")]
    Cancelled,

    #[error("apt on this machine names no Debian archive that could serve `{suite}`")]
    NoMirror { suite: String },

    #[error("no Debian keyring at {looked}", looked = paths.join(" or "))]
    NoKeyring { paths: Vec<String> },

    #[error("`{name}` is not the name of a {what}")]
    BadName { what: &'static str, name: String },

    #[error("the archive has no package `{package}` in {suites}: {reason}")]
    NoPackage { package: String, suites: String, reason: String },

    #[error("the archive has no {package} {version} in {suites}; it has {has}")]
    NoVersion { package: String, version: String, suites: String, has: String },

    #[error("cannot fetch {what}: {output}")]
    Fetch { what: String, output: String },

    #[error("the archive does not have all suites of {suites}: {output}")]
    NoSuite { suites: String, output: String },

    #[error("{file}: {reason}")]
    Malformed { file: String, reason: String },

    #[error("kernel module `{module}` is neither in {place} nor built into the kernel{needed}",
        needed = needed_by.as_ref().map(|n| format!(" (needed by `{n}`)")).unwrap_or_default())]
    NoModule { module: String, place: String, needed_by: Option<String> },

    #[error("library `{library}`, which `{needed_by}` needs, is in none of the unpacked packages")]
    NoLibrary { library: String, needed_by: String },

    #[error("{what} has SHA-256 {found}, expected {expected}")]
    Digest { what: String, expected: String, found: String },

    #[error("building {what} failed ({status}); its log is {log}\n{said}", log = log.display())]
    Build { what: String, status: String, log: PathBuf, said: String },

    #[error("kernel {kernel}: there is no {image}: the tree is not built", image = image.display())]
    NotBuilt { kernel: String, image: PathBuf },

    #[error("no kernel can be built in {}: make and the kernel's Makefiles misread {misread:?} in a path", folder.display())]
    BuildPlace { folder: PathBuf, misread: char },

    #[error("the configuration of {what} did not take what was asked for:\n{}", options.join("\n"))]
    Config { what: String, options: Vec<String> },

    #[error(transparent)]
    Series(#[from] SeriesError),

    #[error(transparent)]
    Refused(Box<Refusal>),

    #[error("{argument} {path}: {why}")]
    Part { argument: &'static str, path: PathBuf, why: String },

    /// A file that the user has given by its address is not valid.
    #[error("{url}: {why}")]
    Artifact { url: String, why: String },

    /// A file or a folder that the user has given is not valid.
    #[error("{path}: {why}")]
    Given { path: PathBuf, why: String },

    #[error("{}: {missing} files or folders of {version} are not in the repository", place.display())]
    Incomplete { version: String, place: PathBuf, missing: usize },

    /// [`CacheError::Given`] for a kernel's Image.
    #[error("{path}: {why}")]
    Image { path: PathBuf, why: ImageError },

    #[error("a task of the cache ended early: {0}")]
    Task(String),
}

impl CacheError {
    /// Returns a hint for the user.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Io { source, .. } if no_room(source) => {
                ROOM.to_owned()
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "name another cache with XDG_CACHE_HOME".to_owned()
            }
            Self::Io { source, .. } => return s2lab_os::limits::hint(source).map(str::to_owned),
            Self::Read(error) | Self::Copy(CopyError::Read(error)) => {
                return error.limit_hint().map(str::to_owned);
            }
            Self::Copy(CopyError::Write { source, .. }) if no_room(source) => ROOM.to_owned(),
            Self::ReadOnly { .. } => {
                "fill the cache once where it can be written, or name another with XDG_CACHE_HOME".to_owned()
            }
            Self::Damaged { source, .. } => return source.hint(),
            Self::Offline { .. } => "run once without --offline".to_owned(),
            Self::NoProgram { program, .. } => format!("put `{program}` on PATH"),
            Self::Stalled { .. } => "is the network up? the next attempt starts where nothing is half-made".to_owned(),
            Self::LockTimeout { .. } => "is that process still at work? its end, even by kill, frees the lock".to_owned(),
            Self::NoMirror { .. } => {
                "s2lab takes Debian's packages from the archive that the machine's apt already uses: give apt a line for it and run `apt-get update`".to_owned()
            }
            Self::NoKeyring { .. } => "install debian-archive-keyring: signatures are always checked".to_owned(),
            Self::NoPackage { .. } => {
                "the archive moves on: a remembered version may be gone, `s2lab cache refresh` takes the newest".to_owned()
            }
            Self::NoVersion { .. } => {
                "give one of these; a version that was only remembered is forgotten by `s2lab cache refresh`".to_owned()
            }
            Self::Program { output: said, .. } | Self::Fetch { output: said, .. } | Self::Build { said, .. } if FULL.iter().any(|full| said.contains(full)) => {
                ROOM.to_owned()
            }
            Self::Fetch { .. } => "is the network up? what has arrived whole is kept, and the next run goes on from there".to_owned(),
            Self::NoSuite { .. } => "give the machine's apt a line for an archive that has them".to_owned(),
            Self::NoModule { .. } => "see the kernel's config, or give --modules".to_owned(),
            Self::NotBuilt { .. } => {
                "build it with make, or let s2lab build it: `build: true` in images/kernels.yaml".to_owned()
            }
            Self::BuildPlace { .. } => "name a cache without it, with XDG_CACHE_HOME".to_owned(),
            Self::Config { .. } => {
                "an option is silently dropped if the tree does not have it or something that it depends on is missing".to_owned()
            }
            Self::Incomplete { place, .. } => format!(
                "s2lab asks no server for the rest of a partial clone: `git -C {} fetch --refetch --no-filter` fetches it",
                place.display()
            ),
            Self::Image { why, .. } => return why.hint().map(str::to_owned),
            Self::Digest { .. } => "the download was damaged or replaced; try again".to_owned(),
            Self::Series(error) => return error.hint(),
            Self::Refused(refusal) => return refusal.hint().map(str::to_owned),
            _ => return None,
        })
    }

    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// Returns the error of apt when it could not fetch `what`.
    pub(crate) fn fetch(what: &str, error: RunError) -> Self {
        match error {
            RunError::Failed { output, .. } => Self::Fetch { what: what.to_owned(), output },
            other => other.into(),
        }
    }

    pub fn given(path: &Path, why: impl ToString) -> Self {
        Self::Given { path: path.to_owned(), why: why.to_string() }
    }

    /// Returns the error for a file of the user's that cannot be read. A file that is too large, or
    /// a pipe, is the user's mistake; a limit of the machine is not.
    pub(crate) fn not_read(error: ReadError) -> Self {
        match error.why {
            Why::NotAFile(_)
            | Why::TooLarge(_)
            | Why::NotText { .. }
            | Why::Packed { .. }
            | Why::Unknown(_)
            | Why::Members { .. } => Self::given(&error.path, &error.why),
            _ => Self::Read(error),
        }
    }

    pub(crate) fn malformed(file: impl ToString, reason: impl ToString) -> Self {
        Self::Malformed { file: file.to_string(), reason: reason.to_string() }
    }
}

impl From<RunError> for CacheError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Io { what, program, source } => Self::Io { what, path: program.into(), source },
            RunError::NoProgram { program, purpose } => Self::NoProgram { program, purpose },
            RunError::Failed { program, status, purpose, output } => {
                Self::Program { program, status, purpose, output }
            }
            RunError::Stalled { program, limit } => Self::Stalled { what: program, limit },
            RunError::Cancelled => Self::Cancelled,
        }
    }
}

impl From<LockError> for CacheError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Io { what, path, source } => Self::Io { what, path, source },
            LockError::Timeout { lock, limit } => Self::LockTimeout { lock, limit },
            LockError::Cancelled => Self::Cancelled,
        }
    }
}

pub type Result<T, E = CacheError> = std::result::Result<T, E>;
