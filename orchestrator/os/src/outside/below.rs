//! Files below a folder whose content may come from elsewhere: no link in it is followed.

use super::{Kind, Outside, ReadError, Why};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::{Component, Path},
};

/// The beginning and the end of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Ends {
    pub beginning: Vec<u8>,
    /// The bytes between them that were not read.
    pub left_out: u64,
    /// Empty if nothing was left out.
    pub end: Vec<u8>,
}

impl Ends {
    /// Returns the ends of these bytes like [`Outside::ends`].
    pub fn of(bytes: &[u8], first: usize, last: usize) -> Self {
        let most = first.saturating_add(last);
        let Some(left_out) = bytes.len().checked_sub(most).filter(|left| *left > 0) else {
            return Self { beginning: bytes.to_vec(), left_out: 0, end: vec![] };
        };
        let (beginning, rest) = bytes.split_at(first);
        let (_, end) = rest.split_at(left_out);
        Self { beginning: beginning.to_vec(), left_out: left_out as u64, end: end.to_vec() }
    }
}

impl Outside {
    /// Opens the regular file `below` the folder `root`, which the user has named. Links on the way
    /// to `root` are followed; below it a link is an error.
    pub fn open_below(root: &Path, below: &Path, kind: Kind) -> Result<Self, ReadError> {
        let path = root.join(below);
        let error = |why| ReadError::new(&path, why);
        let file = open(root, below).map_err(|source| error(Why::Io(source)))?;
        let meta = file.metadata().map_err(|source| error(Why::Io(source)))?;
        Self::fits(&meta, kind, false).map_err(error)?;
        Ok(Self::opened(file, meta, &path, kind, false))
    }

    /// Reads the file if it has at most `first + last` bytes, else so many of its beginning and of
    /// its end.
    pub fn ends(&self, first: usize, last: usize) -> Result<Ends, ReadError> {
        let read = |from: u64, length: usize| {
            let mut bytes = vec![0; length];
            let mut done = 0;
            while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
                match self.file.read_at(rest, from + done as u64) {
                    Ok(0) => break,
                    Ok(n) => done += n,
                    Err(again) if again.kind() == io::ErrorKind::Interrupted => {}
                    Err(source) => return Err(ReadError::new(&self.path, Why::Io(source))),
                }
            }
            bytes.truncate(done);
            Ok(bytes)
        };
        let size = self.meta.len();
        match size.checked_sub((first + last) as u64).filter(|left| *left > 0) {
            Some(left_out) => {
                let end = read(size - last as u64, last)?;
                Ok(Ends { beginning: read(0, first)?, left_out, end })
            }
            None => Ok(Ends { beginning: read(0, first + last)?, left_out: 0, end: vec![] }),
        }
    }
}

fn open(root: &Path, below: &Path) -> io::Result<File> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, root, folder, Mode::empty())?;
    let mut parts: Vec<_> = below.components().collect();
    let last = parts.pop();
    for part in parts {
        at = openat(&at, name(part)?, folder | OFlags::NOFOLLOW, Mode::empty())?;
    }
    let name = last.map_or_else(|| Err(upwards()), name)?;
    // Opening a device may have an effect on it.
    let look = openat(&at, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let look = File::from(look);
    if !look.metadata()?.is_file() {
        return Ok(look);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file: OwnedFd = openat(&at, name, flags, Mode::empty())?;
    Ok(File::from(file))
}

fn name(part: Component<'_>) -> io::Result<&std::ffi::OsStr> {
    match part {
        Component::Normal(name) => Ok(name),
        _ => Err(upwards()),
    }
}

fn upwards() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the path leads upwards")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{FileType, mknodat};
    use std::fs;
    use std::os::unix::fs::symlink;

    const FEW: Kind = Kind { name: "a test", limit: 8 << 10 };

    #[test]
    fn no_link_below_the_folder_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, secret) = (dir.path().join("run"), dir.path().join("secret"));
        fs::create_dir_all(root.join("cells/a")).unwrap();
        fs::write(&secret, "secret").unwrap();
        fs::write(root.join("cells/a/log"), "text").unwrap();
        symlink(&secret, root.join("cells/a/link")).unwrap();
        symlink(dir.path(), root.join("cells/b")).unwrap();
        mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        fs::write(root.join("large"), vec![0; (8 << 10) + 1]).unwrap();
        let read = |below: &str| {
            let file = Outside::open_below(&root, Path::new(below), FEW);
            file.and_then(|mut file| file.whole()).map_err(|error| error.why.to_string())
        };
        assert_eq!(read("cells/a/log"), Ok(b"text".to_vec()));
        for (below, why) in [
            ("cells/a/link", "a link"),
            ("cells/b/secret", "Not a directory"),
            ("../secret", "upwards"),
            ("cells/../../secret", "upwards"),
            ("", "upwards"),
            ("cells", "a folder"),
            ("pipe", "a named pipe"),
            ("large", "larger than 8 KiB"),
            ("none", "No such file"),
        ] {
            let error = read(below).unwrap_err();
            assert!(error.contains(why), "{below}: {error}");
        }
        // The user's own way to the folder may have links.
        symlink(&root, dir.path().join("latest")).unwrap();
        let by_link = Outside::open_below(&dir.path().join("latest"), Path::new("cells/a/log"), FEW);
        assert_eq!(by_link.unwrap().whole().unwrap(), b"text");
    }

    #[test]
    fn a_long_file_has_two_ends() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "0123456789").unwrap();
        let file = Outside::open_below(dir.path(), Path::new("file"), FEW).unwrap();
        let ends = |first, last| {
            let of_file = file.ends(first, last).unwrap();
            assert_eq!(Ends::of(b"0123456789", first, last), of_file);
            let Ends { beginning, left_out, end } = of_file;
            (String::from_utf8(beginning).unwrap(), left_out, String::from_utf8(end).unwrap())
        };
        assert_eq!(ends(2, 3), ("01".into(), 5, "789".into()));
        assert_eq!(ends(4, 6), ("0123456789".into(), 0, String::new()));
        assert_eq!(ends(90, 90), ("0123456789".into(), 0, String::new()));
    }
}
