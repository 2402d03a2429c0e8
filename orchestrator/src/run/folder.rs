//! Run folders: `STATE/runs/WHEN-PID/` with `events.jsonl`, `raw/`, `cells/KEY/` and `reports/`.

use jiff::{Timestamp, tz::TimeZone};
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

/// How many runs are kept.
const KEEP: usize = 20;
/// Name of the link to the newest run.
const LATEST: &str = "latest";
/// The event log, which makes a folder a run.
const EVENTS: &str = "events.jsonl";

fn runs(state: &Path) -> PathBuf {
    state.join("runs")
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// A new folder under `state`, named by the time; old runs beyond the newest twenty go. `out` is taken instead if given,
    /// and must not hold a run yet.
    pub fn create(state: &Path, out: Option<&Path>, now: Timestamp) -> io::Result<Self> {
        let folder = match out {
            Some(out) if out.join(EVENTS).exists() => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a run lies there already"));
            }
            Some(out) => Self { path: out.to_owned() },
            None => {
                let when = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S%.3fZ");
                Self { path: runs(state).join(format!("{when}-{}", std::process::id())) }
            }
        };
        for part in ["raw", "cells", "reports"] {
            std::fs::create_dir_all(folder.path.join(part))?;
        }
        if let (None, Some(name)) = (out, folder.path.file_name()) {
            forget(&runs(state))?;
            point(&runs(state), name)?;
        }
        Ok(folder)
    }

    /// An existing run: a path to its folder, the folder's name under `state`, or the newest without either.
    pub fn open(state: &Path, run: Option<&str>) -> io::Result<Self> {
        let runs = runs(state);
        let (places, none) = match run {
            Some(run) => {
                let none = format!("no run `{run}` here or in {}", runs.display());
                (vec![PathBuf::from(run), runs.join(run)], none)
            }
            None => (vec![runs.join(LATEST)], format!("no run in {}", runs.display())),
        };
        // An empty name would be the working folder.
        let named = run.is_none_or(|run| !run.is_empty());
        let path = places.into_iter().filter(|_| named).find(|path| path.join(EVENTS).is_file());
        let path = path.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, none))?;
        Ok(Self { path: std::fs::canonicalize(path)? })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn events(&self) -> PathBuf {
        self.path.join(EVENTS)
    }

    pub fn raw(&self) -> PathBuf {
        self.path.join("raw")
    }

    /// The folder of a cell's consoles and logs; created.
    pub fn cell(&self, key: &str) -> io::Result<PathBuf> {
        let path = self.cell_path(key);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Where that folder is, or would be.
    pub fn cell_path(&self, key: &str) -> PathBuf {
        self.path.join("cells").join(key)
    }

    pub fn report(&self, key: &str) -> PathBuf {
        self.path.join("reports").join(format!("{key}.txt"))
    }
}

/// Removes all but the newest runs. Names sort by time.
fn forget(runs: &Path) -> io::Result<()> {
    let mut names = vec![];
    for entry in std::fs::read_dir(runs)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.path());
        }
    }
    names.sort();
    let old = names.len().saturating_sub(KEEP);
    for path in names.into_iter().take(old) {
        match std::fs::remove_dir_all(&path) {
            // Another run forgets too.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Lets `latest` point at `name`, in one step for whoever looks.
fn point(runs: &Path, name: &OsStr) -> io::Result<()> {
    let half = runs.join(format!(".{LATEST}-{}", std::process::id()));
    // Left behind by a process of the same number that died here.
    match std::fs::remove_file(&half) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(name, &half)?;
    std::fs::rename(&half, runs.join(LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_twenty_are_kept_and_the_latest_is_found() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..25 {
            let now = Timestamp::from_second(n).unwrap();
            let run = RunFolder::create(dir.path(), None, now).unwrap();
            std::fs::write(run.events(), n.to_string()).unwrap();
        }
        let runs = std::fs::read_dir(dir.path().join("runs")).unwrap();
        assert_eq!(runs.filter(|e| e.as_ref().unwrap().file_type().unwrap().is_dir()).count(), KEEP);
        let latest = RunFolder::open(dir.path(), None).unwrap();
        assert_eq!(std::fs::read_to_string(latest.events()).unwrap(), "24");
        assert!(RunFolder::open(dir.path(), Some("nonsense")).is_err());
    }
}
