//! The lab folder: `scenarios/`, `images/`, `reports/`; and the places of s2lab's own files.

pub mod init;
pub mod mutants;
mod named;
pub mod programs;

use s2lab_cache::{Cache, CacheError, revisions};
use s2lab_model::{
    diagnostic::{Diagnostic, Diagnostics},
    event::BUILT_IN,
    kernel::{self, Kernels},
    night::{self, KnownFailures},
    plan::Key,
    scenario::{LoadError, Scenario, SetError, SetValue, load_at, load_with},
};
use s2lab_os::{
    outside::{self, ReadError, Why, kinds},
    private,
};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The file that marks a lab folder.
const KERNELS: &str = "images/kernels.yaml";
/// The name of that file.
pub const KERNELS_FILE: &str = "kernels.yaml";
const IMAGES: &str = "images";
const SCENARIOS: &str = "scenarios";
/// The folder in that of scenarios with those that run only if they are named.
const FULL: &str = "full";
const REPORTS: &str = "reports";
/// The folder of scenarios in [`SCENARIOS`] that are there to be compared.
const COMPARE: &str = "compare";
/// The name of the file of known failures, which need not exist.
pub const KNOWN_FILE: &str = "known.yaml";
/// The extension of a scenario's file.
const EXTENSION: &str = "yaml";

#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("{path} is not a lab folder: it has no {KERNELS}")]
    NotALab { path: PathBuf },
    #[error("the lab folder {lab} was found, not named, and {part} belongs to another user (uid {owner})")]
    Foreign { lab: PathBuf, part: PathBuf, owner: u32 },
    #[error("{0}; a file of this name marks a lab folder")]
    NoFile(ReadError),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} has changed while s2lab was reading it")]
    ProgramChanged { path: PathBuf },
    #[error("{path}: {why}")]
    Mutant { path: PathBuf, why: String },
    #[error("{0}")]
    Mistakes(Mistakes),
    #[error("--set: {0}")]
    Set(SetError),
    #[error("neither {variable} nor HOME is set to an absolute path, so there is no place for s2lab's files")]
    NoHome { variable: &'static str },
}

impl LabError {
    /// A hint what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            LabError::NotALab { .. } => Some("`s2lab init DIR` creates one".into()),
            LabError::Foreign { lab, .. } => Some(format!(
                "a lab folder names what is built and run; to trust this one: --lab {}",
                lab.display()
            )),
            LabError::NoFile(_) => Some("repair or remove it, or name a lab folder with --lab".into()),
            LabError::NoHome { .. } => Some("set HOME".into()),
            LabError::Set(error) => error.help.clone(),
            _ => None,
        }
    }
}

/// The mistakes in one file.
#[derive(Debug, thiserror::Error)]
pub enum Mistake {
    #[error(transparent)]
    Written(Diagnostics),
    /// The content cannot be read. `place` is the file, with line and column if the reader came to
    /// it.
    #[error("{place}: error: {why}\n")]
    Unreadable { place: String, why: String },
}

/// The mistakes of all files, file by file.
#[derive(Debug, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl std::fmt::Display for Mistakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, file) in self.0.iter().enumerate() {
            write!(f, "{}{file}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

/// The folders of s2lab's own files, by the XDG base directory specification.
#[derive(Debug, Clone)]
pub struct Places {
    /// The cache, which can be made again.
    pub cache: PathBuf,
    /// Runs.
    pub state: PathBuf,
}

impl Places {
    /// Returns the places. `env` returns a variable's value.
    pub fn find(env: impl Fn(&str) -> Option<OsString>) -> Result<Self, LabError> {
        let state = "XDG_STATE_HOME";
        let no_home = |variable| LabError::NoHome { variable };
        Ok(Self {
            cache: private::cache(&env).ok_or_else(|| no_home(private::CACHE_VARIABLE))?,
            state: private::place(&env, state, ".local/state").ok_or_else(|| no_home(state))?,
        })
    }
}

/// A lab folder that was found but not read.
#[derive(Clone)]
pub struct Lab {
    pub root: PathBuf,
    /// The cache that the built-in lab folder is in, which keeps what is in use.
    cache: Option<Cache>,
}

impl Lab {
    /// Returns the given folder, or the nearest one at or above `start`, if there is one. The given
    /// one is trusted.
    pub fn find(given: Option<&Path>, start: &Path) -> Result<Option<Self>, LabError> {
        let lab = |root: &Path| Self { root: root.to_owned(), cache: None };
        if let Some(path) = given {
            return if is_lab(path)? {
                Ok(Some(lab(path)))
            } else {
                Err(LabError::NotALab { path: path.to_owned() })
            };
        }
        for path in start.ancestors() {
            if is_lab(path)? {
                return Ok(Some(lab(trusted(path)?)));
            }
        }
        Ok(None)
    }

    /// Returns the built-in lab folder, from the cache.
    pub fn built_in(cache: Cache) -> Result<Self, CacheError> {
        Ok(Self { root: cache.built_in_lab()?, cache: Some(cache) })
    }

    /// Returns whether it came with s2lab, and is not to be changed.
    pub fn is_built_in(&self) -> bool {
        self.cache.is_some()
    }

    /// Its name in the plan of a run: the canonical path, or `built-in`.
    pub fn name(&self) -> Result<String, LabError> {
        if self.is_built_in() {
            return Ok(BUILT_IN.to_owned());
        }
        let path = std::fs::canonicalize(&self.root);
        path.map(|path| path.to_string_lossy().into_owned())
            .map_err(|source| LabError::Read { path: self.root.clone(), source })
    }

    /// Returns the commit that the lab folder is at; None: it is in no repository that git trusts,
    /// or is the built-in one.
    pub fn commit(&self) -> Option<String> {
        if self.is_built_in() {
            return None;
        }
        revisions::head(&self.root)
    }

    /// The path of the scenario `name`, which need not exist.
    pub fn scenario(&self, name: &str) -> PathBuf {
        self.root.join(SCENARIOS).join(format!("{name}.{EXTENSION}"))
    }

    pub fn reports(&self) -> PathBuf {
        self.root.join(REPORTS)
    }

    /// Returns the folder of `kernels.yaml`, to which its paths are relative.
    pub fn images(&self) -> PathBuf {
        self.root.join(IMAGES)
    }

    pub fn kernels_file(&self) -> PathBuf {
        self.root.join(KERNELS)
    }

    /// Returns the file of known failures, which need not exist.
    pub fn known_file(&self) -> PathBuf {
        self.root.join(KNOWN_FILE)
    }

    /// Returns the known failures; none without their file.
    pub fn known(&self) -> Result<KnownFailures, LabError> {
        match self.known_file().symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(KnownFailures::default()),
            _ => known(&self.known_file()),
        }
    }

    pub fn kernels(&self) -> Result<Kernels, LabError> {
        kernels(&self.kernels_file())
    }

    /// Returns the lab's scenario files, sorted: those of [`Lab::default_scenario_files`], then those
    /// that run only if they are named.
    pub fn scenario_files(&self) -> Result<Vec<PathBuf>, LabError> {
        let full = self.root.join(SCENARIOS).join(FULL);
        let mut files = self.default_scenario_files()?;
        if full.is_dir() {
            files.extend(scenario_files(&full)?);
        }
        Ok(files)
    }

    /// Returns the files of the scenarios that `compare` knows by name, and that are no cells of any
    /// other run; none if there is no folder for them.
    pub fn compare_files(&self) -> Result<Vec<PathBuf>, LabError> {
        let folder = self.root.join(SCENARIOS).join(COMPARE);
        match folder.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            _ => scenario_files(&folder),
        }
    }

    /// Returns the scenario files that run if none is named, sorted.
    pub fn default_scenario_files(&self) -> Result<Vec<PathBuf>, LabError> {
        scenario_files(&self.root.join(SCENARIOS))
    }
}

/// Returns the scenario files of a folder, sorted. `.yml` is among them, so that it is refused: a
/// file that is not read is a test that never runs. Hidden files belong to an editor and are left
/// out.
fn scenario_files(folder: &Path) -> Result<Vec<PathBuf>, LabError> {
    let error = |source| LabError::Read { path: folder.to_owned(), source };
    let mut files = vec![];
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let entry = entry.map_err(error)?;
        let path = entry.path();
        let is_scenario = path.extension().is_some_and(|end| end == EXTENSION || end == "yml");
        if is_scenario && !entry.file_name().as_encoded_bytes().starts_with(b".") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns whether the folder at `path` is a lab folder.
///
/// # Errors
/// If what marks one is there and is no file: another lab must not be taken in its place.
fn is_lab(path: &Path) -> Result<bool, LabError> {
    let kernels = path.join(KERNELS);
    // A link that leads nowhere exists too.
    if let Err(error) = kernels.symlink_metadata()
        && matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    {
        return Ok(false);
    }
    match outside::check(&kernels, kinds::YAML) {
        // The reader of the file reports it.
        Ok(()) | Err(ReadError { why: Why::TooLarge(_), .. }) => Ok(true),
        Err(error) => Err(LabError::NoFile(error)),
    }
}

/// Returns the lab folder at `root`, if it and its parts belong to the user or to root.
fn trusted(root: &Path) -> Result<&Path, LabError> {
    let own = owners(rustix::process::geteuid().as_raw(), std::env::var("SUDO_UID").ok().as_deref());
    let parts = [IMAGES, KERNELS, SCENARIOS, REPORTS, KNOWN_FILE].map(|part| root.join(part));
    for part in std::iter::once(root.to_owned()).chain(parts) {
        let owner = match std::fs::metadata(&part) {
            Ok(meta) => meta.uid(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(LabError::Read { path: part, source }),
        };
        if !own.contains(&owner) {
            return Err(LabError::Foreign { lab: root.to_owned(), part, owner });
        }
    }
    Ok(root)
}

/// Returns the trusted owners: the user, root, and the user who became root by sudo(8).
fn owners(user: u32, sudo: Option<&str>) -> Vec<u32> {
    let sudo = sudo.filter(|_| user == 0).and_then(|uid| uid.parse().ok());
    [user, 0].into_iter().chain(sudo).collect()
}

/// Reads a list of kernels.
pub fn kernels(path: &Path) -> Result<Kernels, LabError> {
    let kernels = read(path).and_then(|text| kernel::load(&shown(path), &text).map_err(Mistake::Written));
    kernels.map_err(|mistake| LabError::Mistakes(Mistakes(vec![mistake])))
}

/// Reads a file of known failures.
pub fn known(path: &Path) -> Result<KnownFailures, LabError> {
    let known = read(path).and_then(|text| night::load(&shown(path), &text).map_err(Mistake::Written));
    known.map_err(|mistake| LabError::Mistakes(Mistakes(vec![mistake])))
}

/// Returns a warning for each entry of a file of known failures that is for none of these cells.
pub fn unmatched(path: &Path, cells: &BTreeSet<Key>) -> Result<Vec<Diagnostic>, LabError> {
    let text = read(path).map_err(|mistake| LabError::Mistakes(Mistakes(vec![mistake])))?;
    Ok(night::unmatched(&shown(path), &text, cells))
}

/// Reads scenario files. Returns all mistakes of all files at once.
pub fn scenarios(files: &[PathBuf]) -> Result<Vec<Scenario>, LabError> {
    let mut good = vec![];
    let mut bad = vec![];
    for path in files {
        match scenario(path) {
            Ok(scenario) => good.push(scenario),
            Err(mistake) => bad.push(mistake),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(LabError::Mistakes(Mistakes(bad))) }
}

/// Reads a scenario file that is right, at the points with these values.
pub fn scenario_at(path: &Path, sets: &[SetValue]) -> Result<Scenario, LabError> {
    let read = read(path).map_err(|mistake| LabError::Mistakes(Mistakes(vec![mistake])))?;
    let read_program = &mut |file: &str| programs::digest_of(path, file);
    load_at(&shown(path), &read, sets, read_program).map_err(|error| match error {
        LoadError::Written(mistakes) => LabError::Mistakes(Mistakes(vec![Mistake::Written(mistakes)])),
        LoadError::Set(error) => LabError::Set(error),
    })
}

fn scenario(path: &Path) -> Result<Scenario, Mistake> {
    if path.is_file() && path.extension().is_none_or(|extension| extension != EXTENSION) {
        let why = format!("the name of a scenario's file ends with .{EXTENSION}");
        return Err(Mistake::Unreadable { place: shown(path), why });
    }
    let text = read(path)?;
    load_with(&shown(path), &text, &mut |file| programs::digest_of(path, file)).map_err(Mistake::Written)
}

/// Returns a path in the usual form: relative to the working folder if it is below that.
pub fn shown(path: &Path) -> String {
    let below =
        std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    below.unwrap_or_else(|| path.to_owned()).display().to_string()
}

fn read(path: &Path) -> Result<String, Mistake> {
    outside::read_text(path, kinds::YAML).map_err(|error| match error.why {
        Why::NotText { line, column } => {
            let place = format!("{}:{line}:{column}", shown(path));
            Mistake::Unreadable { place, why: "not valid UTF-8".into() }
        }
        why => Mistake::Unreadable { place: shown(path), why: format!("cannot be read: {why}") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_xdg() {
        let places = |pairs: &'static [(&str, &str)]| {
            Places::find(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
        };
        let found =
            places(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s"), ("XDG_CACHE_HOME", "relative")]).unwrap();
        assert_eq!((found.cache, found.state), ("/h/.cache/s2lab".into(), "/s/s2lab".into()));
        assert!(matches!(places(&[("HOME", "")]), Err(LabError::NoHome { .. })));
    }

    #[test]
    fn who_is_root_by_sudo_has_folders_as_a_user() {
        assert_eq!(owners(1000, Some("33")), [1000, 0]);
        assert_eq!(owners(0, Some("1000")), [0, 0, 1000]);
        assert_eq!(owners(0, Some("x")), [0, 0]);
        assert_eq!(owners(0, None), [0, 0]);
    }

    /// Only root can give a file away.
    #[test]
    fn a_lab_of_somebody_else_must_be_named() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        const SOMEBODY: u32 = 65534;
        for part in ["", IMAGES, KERNELS, SCENARIOS] {
            let dir = tempfile::tempdir().unwrap();
            let deep = dir.path().join("a/b");
            for folder in [&deep, &dir.path().join(IMAGES), &dir.path().join(SCENARIOS)] {
                std::fs::create_dir_all(folder).unwrap();
            }
            std::fs::write(dir.path().join(KERNELS), "").unwrap();
            assert!(Lab::find(None, &deep).unwrap().is_some());
            std::os::unix::fs::chown(dir.path().join(part), Some(SOMEBODY), None).unwrap();
            match Lab::find(None, &deep) {
                Err(LabError::Foreign { owner: SOMEBODY, .. }) => {}
                other => panic!("{part}: {:?}", other.map(|lab| lab.map(|lab| lab.root))),
            }
            assert!(Lab::find(Some(dir.path()), &deep).unwrap().is_some());
        }
    }

    #[test]
    fn the_nearest_lab_above_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::create_dir_all(dir.path().join("images")).unwrap();
        assert!(Lab::find(None, &deep).unwrap().is_none());
        std::fs::write(dir.path().join(KERNELS), "").unwrap();
        assert_eq!(Lab::find(None, &deep).unwrap().unwrap().root, dir.path());
        assert!(matches!(Lab::find(Some(&deep), &deep), Err(LabError::NotALab { .. })));
    }
}
