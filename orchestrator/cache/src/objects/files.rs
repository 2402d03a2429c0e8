//! Folders and files of the cache, made, replaced and removed so that nobody finds half of one.

use crate::error::{CacheError, Result};
pub(crate) use s2lab_os::whole::unwritable;
use s2lab_os::whole::{self, Sync};
use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Gives `temporary` its final name once its content is on disk.
pub(crate) fn publish(temporary: &Path, path: &Path) -> Result<()> {
    let sync =
        |dir: &Path| File::open(dir).and_then(|d| d.sync_all()).map_err(CacheError::io("cannot sync", dir));
    // One call syncs hundreds of files; objects are made rarely.
    let handle = File::open(temporary).map_err(CacheError::io("cannot open", temporary))?;
    rustix::fs::syncfs(&handle).map_err(|e| CacheError::io("cannot sync", temporary)(e.into()))?;
    fs::rename(temporary, path).map_err(CacheError::io("cannot move into place", path))?;
    path.parent().map_or(Ok(()), sync)
}

/// Replaces `path` by `content` in one step.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> Result<()> {
    whole::write(path, content, Sync::Now).map_err(CacheError::io("cannot write", path))
}

/// Returns the names in `dir`, sorted, or none if it is missing or not a folder.
pub(crate) fn children(dir: &Path) -> Result<Vec<String>> {
    let read = match fs::read_dir(dir) {
        Ok(read) => read,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(CacheError::io("cannot list", dir)(e)),
    };
    let mut names = Vec::new();
    for child in read {
        let child = child.map_err(CacheError::io("cannot list", dir))?;
        if let Ok(name) = child.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes `dir` by a rename to `away` first: nobody finds half of it, and later writes to it do
/// not count as new.
pub(crate) fn remove_at_once(dir: &Path, away: &Path) -> Result<()> {
    remove_tree(away)?;
    fs::rename(dir, away).map_err(CacheError::io("cannot move away", dir))?;
    remove_tree(away)
}

/// Removes `dir` and everything below it. A missing one is fine.
pub(crate) fn remove_tree(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(CacheError::io("cannot remove", dir)(e)),
        _ => Ok(()),
    }
}
