//! The reasons why a file from outside was not read.

use super::{Kind, packed::Packing};
use crate::size::Size;
use std::{
    fmt,
    fs::Metadata,
    io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    string::FromUtf8Error,
    time::Duration,
};

/// A file from outside that was not read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{path}`: {why}")]
pub struct ReadError {
    pub path: PathBuf,
    pub why: Why,
}

/// The reason.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error("{0}")]
    Io(io::Error),
    #[error("it is {0}, not a file")]
    NotAFile(NodeType),
    #[error("it is larger than {}, the limit of {}", Size(.0.limit), .0.name)]
    TooLarge(Kind),
    /// The text is not UTF-8. Lines and columns count from 1.
    #[error("it is not UTF-8 at line {line}, column {column}")]
    NotText { line: usize, column: usize },
    #[error("it was not read to its end within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("it is a pipe, and nothing came out of it for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("there is not enough memory for it")]
    NoMemory,
    #[error("it is packed with {packing}, and damaged or cut short: {source}")]
    Packed { packing: Packing, source: io::Error },
    #[error("it is packed with {0}, which s2lab does not unpack")]
    Unknown(Packing),
    #[error("it has more than {most} {packing} members")]
    Members { packing: Packing, most: usize },
}

impl ReadError {
    pub fn new(path: &Path, why: Why) -> Self {
        Self { path: path.to_owned(), why }
    }

    /// Returns a hint, if a limit of the machine has caused the error.
    pub fn limit_hint(&self) -> Option<&'static str> {
        match &self.why {
            Why::Io(error) => crate::limits::hint(error),
            _ => None,
        }
    }

    /// Returns true if there is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(&self.why, Why::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl Why {
    pub fn not_text(error: &FromUtf8Error) -> Self {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let before = String::from_utf8_lossy(valid);
        let rest = before.rsplit('\n').next().unwrap_or_default();
        Why::NotText { line: before.matches('\n').count() + 1, column: rest.chars().count() + 1 }
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        let kind = match &error.why {
            Why::Io(source) => source.kind(),
            Why::NotAFile(_) | Why::NotText { .. } => io::ErrorKind::InvalidInput,
            Why::TooLarge(_) | Why::Packed { .. } | Why::Unknown(_) | Why::Members { .. } => {
                io::ErrorKind::InvalidData
            }
            Why::Slow(_) | Why::Silent(_) => io::ErrorKind::TimedOut,
            Why::NoMemory => io::ErrorKind::OutOfMemory,
        };
        io::Error::new(kind, error)
    }
}

/// The types of nodes besides a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeType {
    Folder,
    /// Seen only where links are not followed.
    Link,
    Pipe,
    Socket,
    CharacterDevice,
    BlockDevice,
    Other,
}

impl NodeType {
    /// Returns the type, or None for a regular file.
    pub fn of(meta: &Metadata) -> Option<Self> {
        let kind = meta.file_type();
        Some(match () {
            () if kind.is_file() => return None,
            () if kind.is_dir() => Self::Folder,
            () if kind.is_symlink() => Self::Link,
            () if kind.is_fifo() => Self::Pipe,
            () if kind.is_socket() => Self::Socket,
            () if kind.is_char_device() => Self::CharacterDevice,
            () if kind.is_block_device() => Self::BlockDevice,
            () => Self::Other,
        })
    }
}

impl fmt::Display for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder => "a folder",
            Self::Link => "a link",
            Self::Pipe => "a named pipe",
            Self::Socket => "a socket",
            Self::CharacterDevice => "a character device",
            Self::BlockDevice => "a block device",
            Self::Other => "of an unknown type",
        })
    }
}
