//! A lab folder of one's own, a copy of the built-in one.

use super::KERNELS;
use crate::{carried, whole};
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
    let failed = |source| InitError::Io { path: folder.to_owned(), source };
    // New, and so made here: what else lies in the folder, links too, is not touched.
    let stage = fs::create_dir_all(folder).and_then(|()| whole::new_folder(folder)).map_err(failed)?;
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
        failed(source)
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
        let folder = dir.path().join("lab");
        init(&folder).unwrap();
        assert!(matches!(init(&folder), Err(InitError::Exists { path }) if path == folder.join("reports")));
    }

    /// Links to a folder elsewhere under every name that a process's number makes, or near them.
    #[test]
    fn nothing_is_written_or_removed_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, home) = (dir.path().join("lab"), dir.path().join("home"));
        fs::create_dir_all(home.join("reports")).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(home.join("reports/thesis"), "mine").unwrap();
        let stage = folder.join(format!(".s2lab-init.{}", std::process::id()));
        std::os::unix::fs::symlink(&home, &stage).unwrap();
        init(&folder).unwrap();
        assert!(stage.is_symlink());
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(home.join("reports/thesis")).unwrap(), "mine");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);
    }
}
