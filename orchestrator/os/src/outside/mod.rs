//! The one reader of files that s2lab has not written in this process.
//! A file is opened without waiting, must be a regular one, and has a limit by its kind. A link at
//! the end of a path is followed to a regular file. A pipe is read only if the user has named it:
//! [`read_named`]. Below a folder that may come from elsewhere, no link is followed:
//! [`Outside::open_below`].

mod below;
mod error;
pub mod kinds;
pub mod packed;

pub use below::Ends;
pub use error::{NodeType, ReadError, Why};
pub use kinds::Kind;

use crate::waits;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    io::Errno,
};
use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The bytes of one read. The deadline is checked between two reads.
const PIECE: usize = 1 << 20;
/// The longest time for one file. A slower file system is taken for dead.
const DEADLINE: Duration = Duration::from_secs(300);
/// The longest silence of a pipe.
const SILENCE: Duration = Duration::from_secs(60);

/// Reads the whole file at `path`.
///
/// # Errors
/// Anything but a regular file, one beyond its kind's limit, one that cannot be read in time.
pub fn read(path: &Path, kind: Kind) -> Result<Vec<u8>, ReadError> {
    Outside::open(path, kind)?.whole()
}

/// Checks that [`read`] would accept the file at `path`, without reading it.
pub fn check(path: &Path, kind: Kind) -> Result<(), ReadError> {
    Outside::open(path, kind).map(drop)
}

/// Reads a file like [`read`], as text.
pub fn read_text(path: &Path, kind: Kind) -> Result<String, ReadError> {
    text(path, read(path, kind)?)
}

/// Reads a file like [`read_text`]. Returns None if there is no such file.
pub fn read_text_if_there(path: &Path, kind: Kind) -> Result<Option<String>, ReadError> {
    match read_text(path, kind) {
        Err(error) if error.is_absent() => Ok(None),
        read => read.map(Some),
    }
}

/// Reads a file like [`read`] whose path the user has named on the command line. It may be a pipe,
/// such as the shell's `<(...)`.
pub fn read_named(path: &Path, kind: Kind) -> Result<Vec<u8>, ReadError> {
    Outside::open_as(path, kind, true)?.whole()
}

/// Returns true if the path leads to a pipe.
pub fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| NodeType::of(&meta) == Some(NodeType::Pipe))
}

/// Copies the file at `from` to `to`, which may exist.
pub fn copy(from: &Path, to: &Path, kind: Kind) -> Result<(), CopyError> {
    let mut from = Outside::open(from, kind)?;
    let write = |source| CopyError::Write { path: to.to_owned(), source };
    let mut out = File::create(to).map_err(write)?;
    let mut piece = vec![0; PIECE];
    loop {
        match from.piece(&mut piece)? {
            0 => return out.set_permissions(from.meta.permissions()).map_err(write),
            n => io::Write::write_all(&mut out, &piece[..n]).map_err(write)?,
        }
    }
}

/// The reason why a file was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot write `{path}`: {source}")]
    Write { path: PathBuf, source: io::Error },
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, ReadError> {
    String::from_utf8(bytes).map_err(|error| ReadError::new(path, Why::not_text(&error)))
}

/// An open file from outside. As a [`Read`] it fails at the limit; the error is a [`ReadError`] in
/// an [`io::Error`].
#[derive(Debug)]
pub struct Outside {
    file: File,
    meta: Metadata,
    path: PathBuf,
    kind: Kind,
    is_pipe: bool,
    /// The bytes read so far.
    done: u64,
    began: Instant,
}

impl Outside {
    /// Opens the regular file at `path`.
    pub fn open(path: &Path, kind: Kind) -> Result<Self, ReadError> {
        Self::open_as(path, kind, false)
    }

    fn open_as(path: &Path, kind: Kind, pipes: bool) -> Result<Self, ReadError> {
        let error = |why| ReadError::new(path, why);
        // This comes before the open, because opening a device may have an effect on it.
        let meta = std::fs::metadata(path).map_err(|source| error(Why::Io(source)))?;
        Self::fits(&meta, kind, pipes).map_err(error)?;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).map_err(|why| error(Why::Io(io::Error::other(why))))?;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = file.map_err(|source| error(Why::Io(source)))?;
        let meta = file.metadata().map_err(|source| error(Why::Io(source)))?;
        let is_pipe = Self::fits(&meta, kind, pipes).map_err(error)?;
        Ok(Self::opened(file, meta, path, kind, is_pipe))
    }

    fn opened(file: File, meta: Metadata, path: &Path, kind: Kind, is_pipe: bool) -> Self {
        Self { file, meta, path: path.to_owned(), kind, is_pipe, done: 0, began: Instant::now() }
    }

    /// Checks the type and the size of a node. Returns true for a pipe.
    fn fits(meta: &Metadata, kind: Kind, pipes: bool) -> Result<bool, Why> {
        match NodeType::of(meta) {
            None if meta.len() > kind.limit => Err(Why::TooLarge(kind)),
            None => Ok(false),
            Some(NodeType::Pipe) if pipes => Ok(true),
            Some(node) => Err(Why::NotAFile(node)),
        }
    }

    /// Reads the rest.
    pub fn whole(&mut self) -> Result<Vec<u8>, ReadError> {
        let expected = usize::try_from(self.meta.len()).unwrap_or_default();
        let mut bytes = Vec::new();
        bytes.try_reserve(expected).map_err(|_| self.error(Why::NoMemory))?;
        // Pipes, and files whose size is 0 for their file system such as those in /proc, get a
        // whole piece.
        let mut piece = vec![0; if expected == 0 { PIECE } else { expected.clamp(1, PIECE) }];
        loop {
            match self.piece(&mut piece)? {
                0 => return Ok(bytes),
                n => bytes.extend_from_slice(&piece[..n]),
            }
        }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn into_file(self) -> File {
        self.file
    }

    fn error(&self, why: Why) -> ReadError {
        ReadError::new(&self.path, why)
    }

    /// Reads the next bytes; 0 is the end.
    pub fn piece(&mut self, piece: &mut [u8]) -> Result<usize, ReadError> {
        loop {
            if self.is_pipe {
                self.wait()?;
            } else if self.began.elapsed() > DEADLINE {
                return Err(self.error(Why::Slow(DEADLINE)));
            }
            match self.file.read(piece) {
                Ok(n) => {
                    self.done += n as u64;
                    let fits = self.done <= self.kind.limit;
                    return if fits { Ok(n) } else { Err(self.error(Why::TooLarge(self.kind))) };
                }
                Err(again) if again.kind() == io::ErrorKind::Interrupted => {}
                Err(again) if self.is_pipe && again.kind() == io::ErrorKind::WouldBlock => {}
                Err(source) => return Err(self.error(Why::Io(source))),
            }
        }
    }

    /// Waits until the pipe has bytes or has ended.
    fn wait(&self) -> Result<(), ReadError> {
        let end = waits::now() + SILENCE;
        loop {
            let left = waits::turn(end).ok_or_else(|| self.error(Why::Silent(SILENCE)))?;
            let left = Timespec::try_from(left).map_err(|why| self.error(Why::Io(io::Error::other(why))))?;
            match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&left)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(self.error(Why::Io(errno.into()))),
            }
        }
    }
}

impl Read for Outside {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.piece(into).map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests;
