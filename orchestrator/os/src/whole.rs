//! Files that appear whole or not at all, so that two s2labs at once, a crash or a full disk leave
//! no half file.
//!
//! Temporary files have random names and are created new. Below a folder that the user has named,
//! no link is followed: its content may come from elsewhere.

use crate::private;
use rustix::{
    fs::{
        AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, mkdirat, openat, renameat, renameat_with, symlinkat,
        syncfs, unlinkat,
    },
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

/// The prefix of temporary files and folders. They are hidden, and no reader looks for such names.
const TEMPORARY: &str = ".s2lab-";

/// The time at which a file is written to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    Now,
    /// When the kernel writes it, for files that can be made again.
    Later,
}

/// A folder that is held by a descriptor, so that later changes of its path do not matter.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    /// The path for messages.
    path: PathBuf,
    /// The mode of the folders that are made below it, before the umask.
    mode: u32,
}

/// A part of a path that is not followed.
#[derive(Debug, thiserror::Error)]
#[error("{} is a link; s2lab writes only below {}", .link.display(), .root.display())]
pub struct LeadsElsewhere {
    link: PathBuf,
    root: PathBuf,
}

impl Folder {
    /// Opens `root`, which the user has named or s2lab has made. Links on the way to it are
    /// followed.
    pub fn open(root: &Path) -> io::Result<Self> {
        let fd = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd, path: root.to_owned(), mode: 0o777 })
    }

    /// Opens `root` like [`Folder::open`]. Everything that is made below it is for the user alone.
    pub fn private(root: &Path) -> io::Result<Self> {
        Ok(Self { mode: private::MODE, ..Self::open(root)? })
    }

    /// Opens the folder `below` this one and makes its missing parts.
    ///
    /// # Errors
    /// [`LeadsElsewhere`] if a part of `below` is a link.
    pub fn below(&self, below: &Path) -> io::Result<Self> {
        let mut folder = Self { fd: self.fd.try_clone()?, path: self.path.clone(), mode: self.mode };
        for part in below.components() {
            let Component::Normal(part) = part else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path leads upwards"));
            };
            folder = folder.child(part, &self.path)?;
        }
        Ok(folder)
    }

    fn child(&self, name: &OsStr, root: &Path) -> io::Result<Self> {
        let path = self.path.join(name);
        match mkdirat(&self.fd, name, Mode::from_raw_mode(self.mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path, mode: self.mode }),
            Err(Errno::NOTDIR | Errno::LOOP) => match path.symlink_metadata() {
                Ok(meta) if meta.is_symlink() => {
                    Err(io::Error::other(LeadsElsewhere { link: path, root: root.to_owned() }))
                }
                _ => Err(Errno::NOTDIR.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the file `name`. An earlier file stays until then; a link is replaced, not followed.
    pub fn write(&self, name: &OsStr, bytes: &[u8], sync: Sync) -> io::Result<()> {
        self.put(bytes, sync, |half| renameat(&self.fd, half, &self.fd, name))
    }

    /// Writes the file `name`, which must not exist.
    ///
    /// # Errors
    /// `AlreadyExists` if anything has this name, even a link that leads nowhere.
    pub fn write_new(&self, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes, Sync::Now, |half| {
            match renameat_with(&self.fd, half, &self.fd, name, RenameFlags::NOREPLACE) {
                // The file system has no such rename. It also refuses a second name for an existing
                // file.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    linkat(&self.fd, half, &self.fd, name, AtFlags::empty())?;
                    unlinkat(&self.fd, half, AtFlags::empty())
                }
                renamed => renamed,
            }
        })
    }

    /// Writes a temporary file and calls `publish` with its name.
    fn put(
        &self,
        bytes: &[u8],
        sync: Sync,
        publish: impl FnOnce(&str) -> rustix::io::Result<()>,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (half, fd) = fresh(|name| openat(&self.fd, name, flags, Mode::from_raw_mode(0o666)))?;
        let mut file = File::from(fd);
        let written = file.write_all(bytes).and_then(|()| match sync {
            Sync::Now => file.sync_all(),
            Sync::Later => Ok(()),
        });
        let published = written.and_then(|()| Ok(publish(&half)?));
        if published.is_err() {
            // The first error is the one to report.
            let _ = unlinkat(&self.fd, &half, AtFlags::empty());
        }
        published
    }
}

/// Returns true if a write was refused because a folder on the way is a link.
pub fn leads_elsewhere(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<LeadsElsewhere>())
}

/// Returns true if a temporary file has such a name.
pub fn is_temporary(name: &str) -> bool {
    name.strip_prefix(TEMPORARY).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Calls `make` with random names until it makes something new. Returns the result and the name.
fn fresh<T>(make: impl Fn(&str) -> rustix::io::Result<T>) -> io::Result<(String, T)> {
    loop {
        let mut bytes = [0; 8];
        getrandom(&mut bytes, GetRandomFlags::empty())?;
        let name = format!("{TEMPORARY}{:016x}", u64::from_ne_bytes(bytes));
        match make(&name) {
            Err(Errno::EXIST) => {}
            made => return Ok((name, made?)),
        }
    }
}

/// Makes a new folder in `parent`, with a random name, for the user alone.
pub fn new_folder(parent: &Path) -> io::Result<PathBuf> {
    let parent = Folder::open(parent)?;
    let (name, ()) = fresh(|name| mkdirat(&parent.fd, name, Mode::from_raw_mode(private::MODE)))?;
    Ok(parent.path.join(name))
}

/// Gives the folder `half` the name `path`, which must not exist, once its content is on the disk.
pub fn publish(half: &Path, path: &Path) -> io::Result<()> {
    syncfs(openat(CWD, half, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)?;
    match renameat_with(CWD, half, CWD, path, RenameFlags::NOREPLACE) {
        // The file system has no such rename. This one replaces at most an empty folder.
        Err(Errno::INVAL | Errno::NOSYS) => Ok(renameat(CWD, half, CWD, path)?),
        renamed => Ok(renamed?),
    }
}

/// Makes `path` a link to `to` in one step. Only a link is replaced.
///
/// # Errors
/// If anything but a link has this name.
pub fn point(path: &Path, to: &OsStr) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(no_file()) };
    if path.symlink_metadata().is_ok_and(|meta| !meta.is_symlink()) {
        return Err(io::Error::other(format!("{} is not a link; move it away", path.display())));
    }
    let folder = Folder::open(folder)?;
    let (half, ()) = fresh(|half| symlinkat(to, &folder.fd, half))?;
    renameat(&folder.fd, &half, &folder.fd, name).map_err(|error| {
        // The first error is the one to report.
        let _ = unlinkat(&folder.fd, &half, AtFlags::empty());
        error.into()
    })
}

/// Writes `bytes` to `path`, which is s2lab's own, in one step. Folders above are made; links among
/// them are followed.
pub fn write(path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(no_file()) };
    private::make(folder)?;
    Folder::open(folder)?.write(name, bytes, sync)
}

/// Writes `bytes` to the file `below` the folder `root` in one step. Folders between them are made;
/// a link among them is refused.
pub fn write_below(root: &Path, below: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(folder), Some(name)) = (below.parent(), below.file_name()) else { return Err(no_file()) };
    Folder::open(root)?.below(folder)?.write(name, bytes, Sync::Now)
}

/// Writes `bytes` to the new file `below` the folder `root` like [`Folder::write_new`], and
/// otherwise like [`write_below`].
pub fn write_new_below(root: &Path, below: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(folder), Some(name)) = (below.parent(), below.file_name()) else { return Err(no_file()) };
    Folder::open(root)?.below(folder)?.write_new(name, bytes)
}

/// Writes `bytes` to `path`, which the user has named, in one step. Its folder must exist.
///
/// # Errors
/// If there is anything but a file: a device, a pipe and a link are neither replaced nor written
/// to.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(no_file()) };
    if path.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
        return Err(io::Error::other("it is not a regular file"));
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    Folder::open(folder)?.write(name, bytes, Sync::Now)
}

/// Appends the result of `text`, which gets the size of the file, to `path`, which a CI system has
/// named. Its folder must exist.
///
/// # Errors
/// If there is anything but a file.
pub fn append(path: &Path, text: impl FnOnce(u64) -> String) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A pipe without a reader is no reason to wait.
    let fd = openat(CWD, path, flags | OFlags::NONBLOCK, Mode::from_raw_mode(0o666))?;
    let mut file = File::from(fd);
    let meta = file.metadata()?;
    match meta.is_file() {
        true => file.write_all(text(meta.len()).as_bytes()),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no path of a file")
}

/// Returns true if a write failed for where it was to go: nothing can be written there.
pub fn unwritable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// Returns true if a write failed for lack of room: the disk is full, or a quota or a limit on
/// files is reached.
pub fn no_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.txt");
        write(&path, b"text", Sync::Later).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        let folder = dir.path().join("a/c.txt");
        fs::create_dir_all(folder.join("full")).unwrap();
        assert!(write(&folder, b"text", Sync::Later).is_err());
        assert!(
            write(&path.join("below"), b"text", Sync::Later).is_err()
                && write(Path::new("/"), b"", Sync::Later).is_err()
        );
        assert!(write_below(dir.path(), Path::new("../x"), b"").is_err());
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 2);
    }

    #[test]
    fn only_a_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        replace(&path("file"), b"one").unwrap();
        replace(&path("file"), b"two").unwrap();
        symlink("file", path("link")).unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        for name in ["link", "dangling", "folder"] {
            let error = replace(&path(name), b"three").unwrap_err();
            assert_eq!(error.to_string(), "it is not a regular file", "{name}");
        }
        let missing = replace(&path("none/file"), b"three").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(replace(Path::new("/dev/null"), b"three").is_err());
        assert_eq!(fs::read_to_string(path("file")).unwrap(), "two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_text_is_appended_to_a_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for size in [0, 1, 2] {
            append(&path("file"), |found| found.to_string()).unwrap();
            assert_eq!(fs::metadata(path("file")).unwrap().len(), size + 1);
        }
        assert_eq!(fs::read_to_string(path("file")).unwrap(), "012");
        symlink("file", path("link")).unwrap();
        for other in [path("link"), path("none/file"), dir.path().to_owned(), "/dev/null".into()] {
            assert!(append(&other, |_| "text".into()).is_err(), "{}", other.display());
        }
        assert_eq!(fs::read_to_string(path("file")).unwrap(), "012");
    }

    #[test]
    fn what_is_new_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        folder.write_new(OsStr::new("file"), b"one").unwrap();
        symlink("nowhere", dir.path().join("link")).unwrap();
        for name in ["file", "link"] {
            let error = folder.write_new(OsStr::new(name), b"two").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{name}");
        }
        assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    /// The links are in the place of the file, of a folder above it, and under every name that a
    /// process's number makes.
    #[test]
    fn no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, home) = (dir.path().join("root"), dir.path().join("home"));
        fs::create_dir_all(root.join("reports")).unwrap();
        fs::create_dir(&home).unwrap();
        fs::write(home.join("profile"), "mine").unwrap();
        symlink(home.join("profile"), root.join("reports/k.txt")).unwrap();
        symlink(home.join("profile"), root.join(format!("reports/.k.txt.{}", std::process::id()))).unwrap();
        symlink(&home, root.join("cells")).unwrap();
        write_below(&root, Path::new("reports/k.txt"), b"report").unwrap();
        assert!(root.join("reports/k.txt").symlink_metadata().unwrap().is_file());
        let error = write_below(&root, Path::new("cells/k/crash.txt"), b"crash").unwrap_err();
        let (link, root) = (root.join("cells").display().to_string(), root.display().to_string());
        assert_eq!(error.to_string(), format!("{link} is a link; s2lab writes only below {root}"));
        assert_eq!(fs::read_to_string(home.join("profile")).unwrap(), "mine");
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
    }
}
