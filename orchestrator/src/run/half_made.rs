//! A run that is made of other runs. Its folder appears whole or not at all.

use super::{
    folder::{RunFolder, runs, stamp},
    judging::RawPages,
};
use jiff::Timestamp;
use s2lab_os::{
    private,
    whole::{self, Folder, Sync},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The folder of a run that has not got its name yet. Unless it is published, it is removed.
#[derive(Debug)]
pub struct HalfMade {
    half: PathBuf,
    path: PathBuf,
    is_marked: bool,
}

impl HalfMade {
    /// Begins the folder `out`, or one under `state` like that of a run that begins now.
    ///
    /// # Errors
    /// `AlreadyExists` if anything has this name.
    pub fn new(state: &Path, out: Option<&Path>, now: Timestamp) -> io::Result<Self> {
        let path = match out {
            Some(out) => std::path::absolute(out)?,
            None => runs(state).join(format!("{}-{}", stamp(now), std::process::id())),
        };
        if path.symlink_metadata().is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it already exists"));
        }
        let parent = path.parent().ok_or_else(|| io::Error::other("it has no folder above it"))?;
        private::make(parent)?;
        let half = whole::new_folder(parent)?;
        Ok(Self { half, path, is_marked: out.is_none() })
    }

    /// Returns the unfinished run.
    pub fn run(&self) -> RunFolder {
        RunFolder::found(&self.half)
    }

    /// Returns the table pages that were written.
    pub fn pages(&self) -> RawPages {
        RawPages::new(self.half.join("raw"))
    }

    /// Writes the file `name` of the run.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let below = Path::new(name);
        let (folder, name) = (below.parent().unwrap_or(Path::new("")), below.file_name());
        let name = name.ok_or_else(|| io::Error::other("not the name of a file"))?;
        Folder::private(&self.half)?.below(folder)?.write(name, bytes, Sync::Later)
    }

    /// Gives the run its name.
    pub fn publish(self) -> io::Result<RunFolder> {
        whole::publish(&self.half, &self.path)?;
        let run = RunFolder::found(&std::fs::canonicalize(&self.path)?);
        if self.is_marked {
            run.mark()?;
        }
        Ok(run)
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        // After its publication nothing has this name.
        let _ = std::fs::remove_dir_all(&self.half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (state, out) = (dir.path().join("state"), dir.path().join("new/run"));
        let names = |folder: &Path| -> Vec<_> {
            let entries = std::fs::read_dir(folder).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let half = HalfMade::new(&state, Some(&out), Timestamp::UNIX_EPOCH).unwrap();
        half.write("cells/a@k/2/console.host.log", b"text").unwrap();
        assert!(!out.exists() && half.write("../x", b"").is_err());
        drop(half);
        assert_eq!(names(&dir.path().join("new")), Vec::<String>::new());
        let half = HalfMade::new(&state, Some(&out), Timestamp::UNIX_EPOCH).unwrap();
        half.write("raw/x", b"text").unwrap();
        half.publish().unwrap();
        assert_eq!((names(&dir.path().join("new")), names(&out)), (vec!["run".into()], vec!["raw".into()]));
        let taken = HalfMade::new(&state, Some(&out), Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        // Another process may be faster.
        let late = HalfMade::new(&state, Some(&dir.path().join("late")), Timestamp::UNIX_EPOCH).unwrap();
        std::fs::create_dir(dir.path().join("late")).unwrap();
        assert!(late.publish().is_err());
        assert_eq!(names(&dir.path().join("late")), Vec::<String>::new());
        let marked = HalfMade::new(&state, None, Timestamp::UNIX_EPOCH).unwrap().publish().unwrap();
        assert_eq!(names(marked.path()), ["run.json"]);
    }
}
