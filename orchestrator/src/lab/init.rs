//! A lab folder of one's own, a copy of the built-in one.

use super::KERNELS;
use crate::carried;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("{path} exists already; nothing was written")]
    Exists { path: PathBuf },
    #[error("cannot write a lab folder to {path}: {source}; nothing is left of it")]
    Io { path: PathBuf, source: io::Error },
}

/// Writes the built-in lab folder to `folder`, which may exist and hold other things. Nothing is overwritten. It is a lab folder
/// in one step, or not at all; what a failure has left of it is removed.
pub fn init(folder: &Path) -> Result<(), InitError> {
    let parts = parts();
    for path in parts.iter().map(|part| folder.join(part)) {
        // A link that leads nowhere is somebody's too.
        if path.symlink_metadata().is_ok() {
            return Err(InitError::Exists { path });
        }
    }
    let existed = folder.is_dir();
    let stage = folder.join(format!(".s2lab-init.{}", std::process::id()));
    let mut done = vec![];
    let mut make = || {
        carried::write(carried::LAB, &stage)?;
        for part in &parts {
            // Nothing is overwritten even if it has come into being since: only an empty folder gives way to one.
            fs::rename(stage.join(part), folder.join(part))?;
            done.push(folder.join(part));
        }
        fs::remove_dir(&stage)
    };
    make().map_err(|source| {
        // The first error is the one to tell.
        for path in done.iter().rev().chain([&stage]) {
            let _ = fs::remove_dir_all(path);
        }
        if !existed {
            let _ = fs::remove_dir(folder);
        }
        InitError::Io { path: folder.to_owned(), source }
    })
}

/// What a lab folder has at its top. The one by which it is known as such comes last.
fn parts() -> Vec<&'static str> {
    let mut parts: Vec<_> = carried::LAB.iter().filter_map(|file| file.path.split('/').next()).collect();
    parts.dedup();
    parts.sort_by_key(|part| KERNELS.starts_with(part));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_it_a_lab_comes_last() {
        assert_eq!(parts(), ["reports", "scenarios", "images"]);
    }

    #[test]
    fn nothing_is_left_of_one_that_could_not_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(init(&file), Err(InitError::Io { .. })));
        // In the way of the stage: it fails half-way.
        let folder = dir.path().join("lab");
        let stage = folder.join(format!(".s2lab-init.{}", std::process::id()));
        fs::create_dir_all(&stage).unwrap();
        fs::write(stage.join("images"), "a file").unwrap();
        assert!(matches!(init(&folder), Err(InitError::Io { .. })));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        init(&folder).unwrap();
        assert!(matches!(init(&folder), Err(InitError::Exists { path }) if path == folder.join("reports")));
    }
}
