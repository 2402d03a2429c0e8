//! Run folders: `STATE/runs/WHEN-PID/` with `events.jsonl`, `raw/`, `cells/KEY/` and `reports/`.

use jiff::{Timestamp, tz::TimeZone};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
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
    /// The event log of a run that was made here, locked: as long as any clone lives nobody forgets the run.
    log: Option<Arc<File>>,
}

impl RunFolder {
    /// A new folder under `state`, named by the time; old runs beyond the newest twenty go, unless they are still at work. `out`
    /// is taken instead if given, and must not hold a run yet.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a run already, though it began in the same moment.
    pub fn create(state: &Path, out: Option<&Path>, now: Timestamp) -> io::Result<Self> {
        let path = match out {
            Some(out) => out.to_owned(),
            None => runs(state).join(format!("{}-{}", stamp(now), std::process::id())),
        };
        for part in ["raw", "cells", "reports"] {
            std::fs::create_dir_all(path.join(part))?;
        }
        // Of two at once, one makes this file.
        let log = File::create_new(path.join(EVENTS)).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(error.kind(), "a run lies there already"),
            _ => error,
        })?;
        flock(&log, FlockOperation::NonBlockingLockExclusive)?;
        if let (None, Some(name)) = (out, path.file_name()) {
            forget(&runs(state), name, &stamp(now), |path| std::fs::remove_dir_all(path))?;
            point(&runs(state), name)?;
        }
        Ok(Self { path, log: Some(Arc::new(log)) })
    }

    /// The file of the event log of a run that was made here.
    pub fn log(&self) -> io::Result<File> {
        let none = || io::Error::other("this run was made by another s2lab");
        self.log.as_ref().ok_or_else(none)?.try_clone()
    }

    /// Whether another s2lab is still carrying the run out.
    pub fn is_at_work(&self) -> io::Result<bool> {
        Ok(self.log.is_none() && matches!(lock(&self.path)?, Locked::ByAnother))
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
        Ok(Self { path: std::fs::canonicalize(path)?, log: None })
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

    /// The folder of the consoles and logs of an attempt, which counts from 1; created. Those after the first lie in folders of
    /// their own within it.
    pub fn attempt(&self, key: &str, attempt: usize) -> io::Result<PathBuf> {
        let cell = self.cell_path(key);
        let path = if attempt > 1 { cell.join(attempt.to_string()) } else { cell };
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Where the folder of a cell is, or would be.
    pub fn cell_path(&self, key: &str) -> PathBuf {
        self.path.join("cells").join(key)
    }

    pub fn report(&self, key: &str) -> PathBuf {
        self.path.join("reports").join(format!("{key}.txt"))
    }
}

/// Who holds the lock on a run's event log.
enum Locked {
    /// Whoever asked, as long as this lives. No file: the folder has no event log.
    ByUs(Option<File>),
    ByAnother,
}

fn lock(run: &Path) -> io::Result<Locked> {
    let file = match OpenOptions::new().read(true).write(true).open(run.join(EVENTS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Locked::ByUs(None)),
        file => file?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Locked::ByUs(Some(file))),
        Err(Errno::WOULDBLOCK) => Ok(Locked::ByAnother),
        Err(error) => Err(error.into()),
    }
}

/// What the wall clock says now: for a run's name and its plan. Nothing waits by it.
#[expect(clippy::disallowed_methods, reason = "the one place where the time of day is wanted")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The time in a run's name. Such names sort by time.
fn stamp(now: Timestamp) -> String {
    now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S%.3fZ").to_string()
}

/// Removes all but the newest runs, never `own` nor one that is at work. Names after `now` come from a clock that was wrong
/// then or is now; whichever it is, they are older than the run that begins. What cannot be removed is told, and left.
fn forget(runs: &Path, own: &OsStr, now: &str, remove: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut others = vec![];
    for entry in std::fs::read_dir(runs)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name() != own {
            others.push(entry.file_name());
        }
    }
    others.sort_by_cached_key(|name| (name.as_encoded_bytes() <= now.as_bytes(), name.clone()));
    let old = (others.len() + 1).saturating_sub(KEEP);
    for path in others.into_iter().take(old).map(|name| runs.join(name)) {
        let removed = match lock(&path) {
            Ok(Locked::ByAnother) => continue,
            Ok(Locked::ByUs(_held)) => remove(&path),
            Err(error) => Err(error),
        };
        match removed {
            // Another run forgets too.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove the old run {}: {error}", path.display());
            }
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

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn names(state: &Path) -> Vec<String> {
        let folders = std::fs::read_dir(runs(state)).unwrap().map(|entry| entry.unwrap());
        let folders = folders.filter(|entry| entry.file_type().unwrap().is_dir());
        let mut names: Vec<_> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_twenty_are_kept_and_the_latest_is_found() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..25 {
            let run = RunFolder::create(dir.path(), None, at(n)).unwrap();
            std::fs::write(run.events(), n.to_string()).unwrap();
        }
        assert_eq!(names(dir.path()).len(), KEEP);
        let latest = RunFolder::open(dir.path(), None).unwrap();
        assert_eq!(std::fs::read_to_string(latest.events()).unwrap(), "24");
        assert!(RunFolder::open(dir.path(), Some("nonsense")).is_err());
    }

    #[test]
    fn a_run_at_work_is_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let first = RunFolder::create(dir.path(), None, at(0)).unwrap();
        let clone = first.clone();
        drop(first);
        for n in 1..30 {
            RunFolder::create(dir.path(), None, at(n)).unwrap();
        }
        assert!(clone.events().exists());
        let seen = RunFolder::open(dir.path(), clone.path().to_str()).unwrap();
        assert!(seen.is_at_work().unwrap());
        drop(clone);
        assert!(!seen.is_at_work().unwrap());
        RunFolder::create(dir.path(), None, at(30)).unwrap();
        assert!(!seen.events().exists());
    }

    /// The clock goes to 1970 and comes back: each run is there when it begins, and is the latest.
    #[test]
    fn a_clock_that_jumps_takes_no_run_away_that_begins() {
        let dir = tempfile::tempdir().unwrap();
        for second in (1000..1025).chain(0..3).chain(1025..1050) {
            let run = RunFolder::create(dir.path(), None, at(second)).unwrap();
            assert!(run.events().exists(), "{second}");
            let latest = RunFolder::open(dir.path(), None).unwrap();
            assert_eq!(latest.path(), std::fs::canonicalize(run.path()).unwrap());
            assert!(names(dir.path()).len() <= KEEP);
        }
        assert!(names(dir.path()).iter().all(|name| name.as_str() >= stamp(at(1030)).as_str()));
        // From a clock that was far ahead: the first to go once it is right again.
        for second in (9000..9003).chain(1050..1069) {
            RunFolder::create(dir.path(), None, at(second)).unwrap();
        }
        assert!(names(dir.path()).last().unwrap().as_str() < stamp(at(9000)).as_str());
    }

    #[test]
    fn one_that_cannot_be_removed_does_not_stand_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..KEEP + 5 {
            std::fs::create_dir(dir.path().join(format!("{n:02}"))).unwrap();
        }
        let own = OsStr::new("99");
        let stubborn = |path: &Path| match path.ends_with("00") {
            true => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            false => std::fs::remove_dir(path),
        };
        forget(dir.path(), own, "98", stubborn).unwrap();
        assert!(dir.path().join("00").exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), KEEP);
    }

    #[test]
    fn of_two_in_one_folder_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let made: Vec<_> = std::thread::scope(|scope| {
            let one = || {
                let thread = std::thread::Builder::new();
                thread.spawn_scoped(scope, || RunFolder::create(dir.path(), Some(&out), at(0))).unwrap()
            };
            [one(), one(), one()].map(|thread| thread.join().unwrap()).into()
        });
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
        let refused = made.into_iter().filter_map(Result::err);
        assert!(refused.into_iter().all(|error| error.kind() == io::ErrorKind::AlreadyExists));
    }
}
