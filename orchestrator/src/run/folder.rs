//! Run folders: `STATE/runs/WHEN-PID/` with `events.jsonl`, `raw/`, `cells/KEY/` and `reports/`.

use jiff::{Timestamp, tz::TimeZone};
use std::{
    io,
    path::{Path, PathBuf},
};

/// How many runs are kept.
const KEEP: usize = 20;
/// Name of the link to the newest run.
const LATEST: &str = "latest";

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// A new folder under `state`, named by the time; old runs beyond the newest twenty go. `out` is taken instead if given,
    /// and must not hold a run yet.
    pub fn create(state: &Path, out: Option<&Path>, now: Timestamp) -> io::Result<Self> {
        let path = match out {
            Some(out) => out.to_owned(),
            None => {
                let runs = state.join("runs");
                std::fs::create_dir_all(&runs)?;
                forget(&runs)?;
                let when = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S%.3fZ");
                let name = format!("{when}-{}", std::process::id());
                let path = runs.join(&name);
                point(&runs, &name)?;
                path
            }
        };
        std::fs::create_dir_all(path.join("raw"))?;
        std::fs::create_dir_all(path.join("cells"))?;
        std::fs::create_dir_all(path.join("reports"))?;
        Ok(Self { path })
    }

    /// An existing run: a path to its folder, the folder's name under `state`, or the newest without either.
    pub fn open(state: &Path, run: Option<&str>) -> io::Result<Self> {
        let runs = state.join("runs");
        let run = run.unwrap_or(LATEST);
        let path =
            [PathBuf::from(run), runs.join(run)].into_iter().find(|path| path.join("events.jsonl").is_file());
        let none = || {
            io::Error::new(io::ErrorKind::NotFound, format!("no run `{run}` here or in {}", runs.display()))
        };
        Ok(Self { path: std::fs::canonicalize(path.ok_or_else(none)?)? })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    pub fn raw(&self) -> PathBuf {
        self.path.join("raw")
    }

    /// The folder of a cell's consoles and logs; created.
    pub fn cell(&self, key: &str) -> io::Result<PathBuf> {
        let path = self.path.join("cells").join(key);
        std::fs::create_dir_all(&path)?;
        Ok(path)
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
    let old = names.len().saturating_sub(KEEP - 1);
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
fn point(runs: &Path, name: &str) -> io::Result<()> {
    let half = runs.join(format!(".{LATEST}-{}", std::process::id()));
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
