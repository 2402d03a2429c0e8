//! Run folders: `STATE/runs/WHEN-PID/` with `events.jsonl`, `raw/`, `cells/KEY/` and `reports/`.

use super::{
    bundle::{Bundle, BundleError, is_of_run},
    judging::RawPages,
};
use jiff::{Timestamp, tz::TimeZone};
use s2lab_model::plan::Key;
use s2lab_model::{
    event::{Event, Line},
    hash::digest,
};
use s2lab_os::{
    outside::{self, Ends, Kind, Outside, ReadError, kinds},
    private, whole,
};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The name of the link to the newest run.
const LATEST: &str = "latest";
/// The folder of links to the latest run of each lab folder, named by the SHA-256 of the lab's
/// name.
const LABS: &str = "labs";
/// The event log, which makes a folder a run.
pub(super) const EVENTS: &str = "events.jsonl";
/// The log of s2lab itself.
pub(super) const TRACE: &str = "s2lab.log";
/// The summary of the morning and the page that a night writes into its folder.
pub const MORNING: &str = "morning.md";
pub const PAGE: &str = "page.html";
/// The folders of a run.
pub(super) const PARTS: [&str; 3] = ["raw", "cells", "reports"];

pub(super) fn runs(state: &Path) -> PathBuf {
    state.join("runs")
}

/// The folder of one run, or a bundle in its place.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    /// The bundle at `path`. None: there is a folder.
    bundle: Option<Arc<Bundle>>,
    /// The event log of a run that was made here, locked: as long as any clone is alive nobody
    /// removes the run.
    log: Option<Arc<File>>,
}

impl RunFolder {
    /// Makes a new folder under `state`, named by the time. If `out` is given it is used instead,
    /// and must not contain anything that a run puts there.
    ///
    /// # Errors `AlreadyExists` if there is already a run, even one that began in the same moment,
    /// or something in the place of its files.
    pub fn create(state: &Path, out: Option<&Path>, now: Timestamp) -> io::Result<Self> {
        let path = match out {
            Some(out) => out.to_owned(),
            None => runs(state).join(format!("{}-{}", stamp(now), std::process::id())),
        };
        private::make(&path)?;
        let folder = whole::Folder::private(&path)?;
        let taken = || io::Error::new(io::ErrorKind::AlreadyExists, "it already contains a run");
        if path.join(EVENTS).symlink_metadata().is_ok() {
            return Err(taken());
        }
        // Another process has put it there, and may have made links of it.
        let there = |part: PathBuf| {
            let why = format!("{} already exists", part.display());
            io::Error::new(io::ErrorKind::AlreadyExists, why)
        };
        for part in PARTS {
            folder.below(Path::new(part))?;
            if let Some(entry) = std::fs::read_dir(path.join(part))?.next() {
                return Err(there(entry?.path()));
            }
        }
        if path.join(TRACE).symlink_metadata().is_ok() {
            return Err(there(path.join(TRACE)));
        }
        // Only one of two runs can make this file.
        let log = File::create_new(path.join(EVENTS)).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(),
            _ => error,
        })?;
        log.try_lock()?;
        let run = Self { path, bundle: None, log: Some(Arc::new(log)) };
        if let (None, Some(name)) = (out, run.path.file_name()) {
            run.mark()?;
            whole::point(&runs(state).join(LATEST), name)?;
        }
        Ok(run)
    }

    /// Makes a new file for the log of s2lab itself.
    pub fn trace(&self) -> io::Result<File> {
        File::create_new(self.path.join(TRACE))
    }

    /// Returns the file of the event log of a run that was made here.
    pub fn log(&self) -> io::Result<File> {
        let none = || io::Error::other("this run was made by another s2lab");
        self.log.as_ref().ok_or_else(none)?.try_clone()
    }

    /// Returns true if another s2lab is still running it.
    pub fn is_at_work(&self) -> io::Result<bool> {
        let may_be = self.log.is_none() && self.bundle.is_none();
        Ok(may_be && matches!(lock(&self.path)?, Locked::ByAnother))
    }

    /// An existing run: a path to its folder, or the folder's name under `state`.
    pub fn open(state: &Path, run: &str) -> io::Result<Self> {
        let runs = runs(state);
        let none = format!("no run `{run}` here or in {}", runs.display());
        // An empty name would be the working folder.
        let places = [PathBuf::from(run), runs.join(run)].into_iter().filter(|_| !run.is_empty());
        let path = places.into_iter().find(|path| path.join(EVENTS).is_file());
        let path = path.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, none))?;
        Ok(Self::found(&std::fs::canonicalize(path)?))
    }

    /// Notes the run as the latest of the lab folder `lab`, wherever the run lies.
    pub fn note_latest(&self, state: &Path, lab: &str) -> io::Result<()> {
        let labs = state.join(LABS);
        private::make(&labs)?;
        whole::point(&labs.join(digest(lab.as_bytes())), std::fs::canonicalize(&self.path)?.as_os_str())
    }

    /// The latest run of the lab folder `lab`. None: there was none, it is removed, or a run of
    /// another lab folder is in its place.
    pub fn latest(state: &Path, lab: &str) -> io::Result<Option<Self>> {
        let path = match std::fs::canonicalize(state.join(LABS).join(digest(lab.as_bytes()))) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            path => path?,
        };
        let run = Self::found(&path);
        let there = run.events().is_file() && run.lab().is_none_or(|of| of == lab);
        Ok(there.then_some(run))
    }

    /// The lab folder that the plan names; None if the log has no plan, or the plan no lab folder.
    fn lab(&self) -> Option<String> {
        let log = outside::read(&self.events(), kinds::EVENT_LOG).ok()?;
        let line: Line = serde_json::from_slice(log.split(|byte| *byte == b'\n').next()?).ok()?;
        match line.event {
            Event::Plan(plan) => plan.lab,
            _ => None,
        }
    }

    pub(super) fn found(path: &Path) -> Self {
        Self { path: path.to_owned(), bundle: None, log: None }
    }

    /// Returns the run at `path`: a bundle if it is a file, else a folder.
    pub fn at(path: &Path) -> Result<Self, BundleError> {
        if path.is_file() { Self::of_bundle(path) } else { Ok(Self::found(path)) }
    }

    /// Reads the bundle at `path`, which is then a run like others, but is never written to.
    pub fn of_bundle(path: &Path) -> Result<Self, BundleError> {
        let bundle = Some(Arc::new(Bundle::open(path)?));
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { path, bundle, log: None })
    }

    pub fn is_bundle(&self) -> bool {
        self.bundle.is_some()
    }

    /// Returns the bytes of the event log.
    pub fn read_log(&self) -> Result<Vec<u8>, ReadError> {
        match &self.bundle {
            Some(bundle) => Ok(bundle.get(EVENTS).unwrap_or_default().to_vec()),
            None => outside::read(&self.events(), kinds::EVENT_LOG),
        }
    }

    /// Returns the table pages.
    pub fn pages(&self) -> RawPages {
        match &self.bundle {
            Some(bundle) => RawPages::Bundle(Arc::clone(bundle)),
            None => RawPages::new(self.raw()),
        }
    }

    /// Reads the file `name` of the run, such as `raw/DIGEST`. Returns None if there is no such
    /// file.
    ///
    /// # Errors
    /// A file that is or lies behind a link: a folder of elsewhere must not choose what is read.
    pub fn read(&self, name: &str, kind: Kind) -> io::Result<Option<Vec<u8>>> {
        if let Some(bundle) = &self.bundle {
            return Ok(bundle.get(name).map(<[u8]>::to_vec));
        }
        let path = self.path.join(name);
        for part in path.ancestors().take_while(|part| *part != self.path) {
            match part.symlink_metadata() {
                Ok(meta) if meta.is_symlink() => {
                    return Err(io::Error::other(format!(
                        "{} is a link, not a file of the run",
                        part.display()
                    )));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(Some(outside::read(&path, kind)?))
    }

    /// Reads the file `below` the run if it has at most `first + last` bytes, else so many of its
    /// beginning and of its end. Returns None if there is no such file.
    pub fn ends(
        &self,
        below: &Path,
        kind: Kind,
        (first, last): (usize, usize),
    ) -> Result<Option<Ends>, ReadError> {
        if let Some(bundle) = &self.bundle {
            let file = below.to_str().and_then(|name| bundle.get(name));
            return Ok(file.map(|bytes| Ends::of(bytes, first, last)));
        }
        match Outside::open_below(&self.path, below, kind).and_then(|file| file.ends(first, last)) {
            Err(error) if error.is_absent() => Ok(None),
            ends => ends.map(Some),
        }
    }

    /// Returns the names of the files of a cell that a bundle has, of all its attempts.
    pub fn files_of(&self, key: &Key) -> io::Result<Vec<String>> {
        let below = format!("cells/{key}/");
        if let Some(bundle) = &self.bundle {
            return Ok(bundle.names().filter(|name| name.starts_with(&below)).map(str::to_owned).collect());
        }
        let mut found = vec![];
        for (name, is_folder) in entries(&self.cell_path(key))? {
            if is_folder {
                let of_attempt = entries(&self.cell_path(key).join(&name))?.into_iter();
                found.extend(of_attempt.map(|(file, _)| format!("{below}{name}/{file}")));
            } else {
                found.push(format!("{below}{name}"));
            }
        }
        found.retain(|name| is_of_run(name));
        Ok(found)
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

    /// Returns the folder of the consoles and logs of an attempt, which counts from 1, and makes
    /// it. Later attempts have folders of their own in the first one.
    pub fn attempt(&self, key: &Key, attempt: usize) -> io::Result<PathBuf> {
        let cell = self.cell_path(key);
        let path = if attempt > 1 { cell.join(attempt.to_string()) } else { cell };
        private::make(&path)?;
        Ok(path)
    }

    /// Returns the folder of a cell, which may not exist.
    pub fn cell_path(&self, key: &Key) -> PathBuf {
        self.path.join("cells").join(key.as_str())
    }

    pub fn report(&self, key: &Key) -> PathBuf {
        self.path.join("reports").join(format!("{key}.txt"))
    }
}

/// Returns the names in a folder, and which of them are folders. A folder that does not exist has
/// none.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<(String, bool)>> {
    let listing = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        listing => listing?,
    };
    let of = |entry: std::fs::DirEntry| {
        let is_folder = entry.file_type()?.is_dir();
        // Another name is none of a run's files.
        Ok(entry.file_name().into_string().ok().map(|name| (name, is_folder)))
    };
    listing.filter_map(|entry| entry.and_then(of).transpose()).collect()
}

/// The holder of the lock on a run's event log.
pub(super) enum Locked {
    /// This process, as long as the value is alive. No file: the folder has no event log.
    ByUs(Option<File>),
    ByAnother,
}

pub(super) fn lock(run: &Path) -> io::Result<Locked> {
    let file = match OpenOptions::new().read(true).write(true).open(run.join(EVENTS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Locked::ByUs(None)),
        file => file?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Locked::ByUs(Some(file))),
        Err(TryLockError::WouldBlock) => Ok(Locked::ByAnother),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns the wall clock's time, for a run's name, its plan and its slots. No wait depends on it.
#[expect(clippy::disallowed_methods, reason = "the one place where the time of day is wanted")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Returns the time in a run's name. Such names sort by time.
pub(super) fn stamp(now: Timestamp) -> String {
    now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_model::event::{Attempts, LOG_VERSION, Plan};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn only_the_user_gets_in() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let run = RunFolder::create(&state, None, at(1)).unwrap();
        let attempt = run.attempt(&"a@k".parse().unwrap(), 2).unwrap();
        let made = [&state, &runs(&state), run.path(), &run.raw(), &attempt];
        for path in made {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, private::MODE, "{}", path.display());
        }
    }

    #[test]
    fn the_latest_is_found() {
        let dir = tempfile::tempdir().unwrap();
        // The clock goes back: each run is the latest when it begins.
        for n in [5, 6, 1, 7] {
            let run = RunFolder::create(dir.path(), None, at(n)).unwrap();
            std::fs::write(run.events(), n.to_string()).unwrap();
            let latest = RunFolder::open(dir.path(), LATEST).unwrap();
            assert_eq!(std::fs::read_to_string(latest.events()).unwrap(), n.to_string());
        }
        assert!(RunFolder::open(dir.path(), "nonsense").is_err());
        let latest = runs(dir.path()).join(LATEST);
        std::fs::remove_file(&latest).unwrap();
        std::fs::write(&latest, "a note").unwrap();
        assert!(RunFolder::create(dir.path(), None, at(8)).is_err());
        assert_eq!(std::fs::read_to_string(&latest).unwrap(), "a note");
    }

    #[test]
    fn each_lab_folder_has_its_latest_run() {
        let dir = tempfile::tempdir().unwrap();
        let latest = |lab: &str| RunFolder::latest(dir.path(), lab).unwrap().map(|run| run.path);
        let made = |n, out: Option<&Path>, lab: &str| {
            let run = RunFolder::create(dir.path(), out, at(n)).unwrap();
            run.note_latest(dir.path(), lab).unwrap();
            std::fs::canonicalize(run.path()).unwrap()
        };
        assert_eq!(latest("/a"), None);
        let (a, b) = (made(1, None, "/a"), made(2, None, "/b"));
        assert_eq!([latest("/a"), latest("/b"), latest("/c")], [Some(a), Some(b.clone()), None]);
        let out = dir.path().join("out");
        let elsewhere = made(3, Some(&out), "/a");
        assert_eq!(latest("/a"), Some(elsewhere));
        // Another lab folder's run is in its place now.
        let plan = Plan {
            s2lab: String::new(),
            started: String::new(),
            lab: Some("/b".into()),
            lab_commit: None,
            attempts: Attempts::Once,
            kernels: Default::default(),
            shuffle: None,
            night: None,
            mutants: None,
            shard: None,
            compare: None,
            cells: vec![],
        };
        let line =
            Line { v: LOG_VERSION, seq: 0, ms: 0, session: None, cell: None, event: Event::Plan(plan) };
        std::fs::write(out.join(EVENTS), serde_json::to_string(&line).unwrap() + "\n").unwrap();
        assert_eq!(latest("/a"), None);
        std::fs::remove_dir_all(b).unwrap();
        assert_eq!(latest("/b"), None);
    }

    /// A folder for `--out` may come from elsewhere.
    #[test]
    fn what_lies_in_the_place_of_a_runs_files_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (out, home) = (dir.path().join("out"), dir.path().join("home"));
        std::fs::create_dir_all(out.join("cells/a@k")).unwrap();
        std::fs::create_dir(&home).unwrap();
        let create = || RunFolder::create(dir.path(), Some(&out), at(0)).map(drop).map_err(|e| e.to_string());
        let there = |name: &str| Err(format!("{} already exists", out.join(name).display()));
        assert_eq!(create(), there("cells/a@k"));
        std::fs::remove_dir_all(out.join("cells")).unwrap();
        std::os::unix::fs::symlink(&home, out.join("cells")).unwrap();
        let (cells, shown) = (out.join("cells"), out.display());
        let link = format!("{} is a link; s2lab writes only below {shown}", cells.display());
        assert_eq!(create(), Err(link));
        std::fs::remove_file(&cells).unwrap();
        std::os::unix::fs::symlink(home.join("profile"), out.join(TRACE)).unwrap();
        assert_eq!(create(), there(TRACE));
        std::fs::remove_file(out.join(TRACE)).unwrap();
        std::fs::write(out.join("notes"), "").unwrap();
        assert_eq!(create(), Ok(()));
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
