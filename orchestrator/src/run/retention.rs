//! The removal of old runs under STATE/runs: only of those that s2lab has made itself.
//!
//! A run has a name of the form of [`super::folder`], an event log, and a mark: a file that
//! contains the folder's own name, so that a copy or a renamed folder is not removed. A folder with
//! any other content stays as a whole.

use super::folder::{EVENTS, Locked, MORNING, PAGE, RunFolder, TRACE, lock, stamp};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use s2lab_os::{
    outside::{self, kinds},
    whole,
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsStr,
    fs::{self, DirEntry},
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

/// The default number of runs that are kept.
pub const KEPT: usize = 50;
/// The mark, in a run's folder.
const MARK: &str = "run.json";

/// The note about a run that s2lab may remove.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// The name of the folder in which it was made.
    run: String,
    /// True if a cell has failed. None: the run has not ended.
    failed: Option<bool>,
    /// The run is a night. Nights are counted apart from other runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    night: bool,
}

impl RunFolder {
    /// Marks the run as one that s2lab has made under its own state folder.
    pub(super) fn mark(&self) -> io::Result<()> {
        write(self.path(), None, false)
    }

    /// Marks the run as a night. A run elsewhere has no mark, and gets none.
    pub fn mark_night(&self) -> io::Result<()> {
        match read(self.path()) {
            Some(mark) => write(self.path(), mark.failed, true),
            None => Ok(()),
        }
    }

    /// Notes at the run's end if a cell has failed. A run elsewhere has no mark, and gets none.
    pub fn note_end(&self, failed: bool) -> io::Result<()> {
        match read(self.path()) {
            Some(mark) => write(self.path(), Some(failed), mark.night),
            None => Ok(()),
        }
    }
}

fn write(run: &Path, failed: Option<bool>, night: bool) -> io::Result<()> {
    let name = run.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let text = serde_json::to_string(&Mark { run: name.into(), failed, night })? + "\n";
    whole::write_below(run, Path::new(MARK), text.as_bytes())
}

/// Returns the mark of a run's folder, if it is that folder's own.
fn read(run: &Path) -> Option<Mark> {
    let text = outside::read(&run.join(MARK), kinds::NOTE).ok()?;
    let mark: Mark = serde_json::from_slice(&text).ok()?;
    (Some(OsStr::new(&mark.run)) == run.file_name()).then_some(mark)
}

/// Returns true for a name of the form of s2lab's runs: `20261122T163221.903Z-9121`.
fn is_name(name: &str) -> bool {
    let Some((time, pid)) = name.split_once('-') else { return false };
    let parsed = DateTime::strptime("%Y%m%dT%H%M%S%.fZ", time).and_then(|at| at.to_zoned(TimeZone::UTC));
    let same = parsed.is_ok_and(|at| stamp(at.timestamp()) == time);
    same && pid.parse::<u32>().is_ok_and(|number| number.to_string() == pid)
}

/// Removes all but the newest `keep` runs of the kind of `own`, nights or others, and returns the
/// removed ones: runs by hand do not push out a night. These runs stay: the run
/// `own`, one that is at work, one with a FAIL (`failed` judges those that have not ended; None: it
/// cannot), and one that s2lab did not make. Names after `now` come from a clock that was wrong
/// then or is wrong now; in both cases they count as older than the run that begins. A run that
/// cannot be removed stays.
pub fn forget(
    own: &RunFolder,
    now: Timestamp,
    keep: NonZeroUsize,
    failed: impl Fn(&RunFolder) -> Option<bool>,
) -> io::Result<Vec<PathBuf>> {
    let Some(runs) = own.path().parent() else { return Ok(vec![]) };
    let night = read(own.path()).is_some_and(|mark| mark.night);
    let mut others = vec![];
    for entry in fs::read_dir(runs)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if entry.file_type()?.is_dir() && is_name(&name) && entry.path() != own.path() {
            let mark = read(&entry.path()).filter(|mark| mark.night == night);
            others.extend(mark.map(|mark| (name, mark)));
        }
    }
    let now = stamp(now);
    others.sort_by_cached_key(|(name, _)| (name.as_str() <= now.as_str(), name.clone()));
    let old = (others.len() + 1).saturating_sub(keep.get());
    let mut removed = vec![];
    for (name, mark) in others.into_iter().take(old) {
        let path = runs.join(name);
        match remove(&path, &mark, &failed) {
            Ok(true) => removed.push(path),
            Ok(false) => {}
            // Another run removes old runs too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("cannot remove the old run {}: {error}", path.display()),
        }
    }
    Ok(removed)
}

/// A run under STATE/runs.
#[derive(Debug)]
pub struct KeptRun {
    pub folder: RunFolder,
    pub name: String,
    /// The size of its files.
    pub bytes: u64,
    pub why: Kept,
}

/// The reason why a run is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// s2lab works on it.
    AtWork,
    /// It has a FAIL, and stays until a person removes it.
    Failed,
    /// s2lab did not make the folder as it is.
    Foreign,
    /// It was killed; it is judged before it is removed.
    NotEnded,
    /// It goes when enough newer ones are there.
    Newest,
}

impl Kept {
    /// The reason in one word.
    pub fn word(self) -> &'static str {
        match self {
            Kept::AtWork => "at-work",
            Kept::Failed => "failed",
            Kept::Foreign => "foreign",
            Kept::NotEnded => "not-ended",
            Kept::Newest => "newest",
        }
    }
}

/// Returns the runs under `state`, the newest first by their names.
pub fn kept(state: &Path) -> io::Result<Vec<KeptRun>> {
    let runs = super::folder::runs(state);
    let listed = match entries(&runs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
        listed => listed?,
    };
    let mut found = vec![];
    for entry in listed {
        let path = entry.path();
        if entry.file_type()?.is_dir() && path.join(EVENTS).is_file() {
            let (name, bytes, why) = (name_of(&entry), size(&path)?, why(&path)?);
            found.push(KeptRun { folder: RunFolder::found(&path), name, bytes, why });
        }
    }
    found.sort_by(|one, other| other.name.cmp(&one.name));
    Ok(found)
}

fn why(run: &Path) -> io::Result<Kept> {
    let Locked::ByUs(_held) = lock(run)? else { return Ok(Kept::AtWork) };
    let is_ours = run.file_name().and_then(OsStr::to_str).is_some_and(is_name) && is_whole_ours(run)?;
    Ok(match read(run).filter(|_| is_ours) {
        None => Kept::Foreign,
        Some(Mark { failed: Some(true), .. }) => Kept::Failed,
        Some(Mark { failed: None, .. }) => Kept::NotEnded,
        Some(Mark { failed: Some(false), .. }) => Kept::Newest,
    })
}

/// Returns the size of the files in a folder. Links are not followed.
fn size(folder: &Path) -> io::Result<u64> {
    let mut sum = 0_u64;
    for entry in entries(folder)? {
        let meta = entry.metadata()?;
        sum = sum.saturating_add(if meta.is_dir() { size(&entry.path())? } else { meta.len() });
    }
    Ok(sum)
}

/// The reason why a run is not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("s2lab works on the run {0}")]
    AtWork(String),
    #[error("the run {0} has files that s2lab did not make")]
    Foreign(String),
    #[error("cannot remove the run {0}: {1}")]
    Io(String, #[source] io::Error),
}

impl KeptRun {
    /// Returns the reason why the run cannot be removed. A person may remove one with a FAIL, and a
    /// renamed one.
    ///
    /// # Errors
    /// It is at work, or contains something else than a run.
    pub fn check(&self) -> Result<(), RemoveError> {
        self.locked().map(drop)
    }

    /// Removes the run.
    ///
    /// # Errors
    /// See [`KeptRun::check`]. A run that is half removed is still a run.
    pub fn remove(&self) -> Result<(), RemoveError> {
        let _held = self.locked()?;
        erase(self.folder.path()).map_err(|error| RemoveError::Io(self.name.clone(), error))
    }

    fn locked(&self) -> Result<Locked, RemoveError> {
        let (path, name) = (self.folder.path(), || self.name.clone());
        let failed = |error| RemoveError::Io(name(), error);
        match lock(path).map_err(failed)? {
            Locked::ByAnother => Err(RemoveError::AtWork(name())),
            held if is_whole_ours(path).map_err(failed)? => Ok(held),
            _ => Err(RemoveError::Foreign(name())),
        }
    }
}

/// Removes the run. Returns false if it stays.
fn remove(run: &Path, mark: &Mark, failed: impl Fn(&RunFolder) -> Option<bool>) -> io::Result<bool> {
    let Locked::ByUs(_held) = lock(run)? else { return Ok(false) };
    if !is_whole_ours(run)? {
        return Ok(false);
    }
    let failed = match mark.failed {
        Some(failed) => failed,
        None => match failed(&RunFolder::found(run)) {
            // It is noted, so that it is judged once.
            Some(true) => return write(run, Some(true), mark.night).map(|()| false),
            Some(false) => false,
            None => return Ok(false),
        },
    };
    if failed {
        return Ok(false);
    }
    erase(run).map(|()| true)
}

/// Removes the files of a run, which are all its folder has. A half-removed run still has its event
/// log and its mark. Links are removed, not followed.
fn erase(run: &Path) -> io::Result<()> {
    for part in super::folder::PARTS {
        match fs::remove_dir_all(run.join(part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for entry in entries(run)? {
        let name = entry.file_name();
        if name != EVENTS && name != MARK {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_file(run.join(EVENTS))?;
    match fs::remove_file(run.join(MARK)) {
        // A run of another place has none.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::remove_dir(run)
}

/// Returns true if the run's folder contains only s2lab's own files, by names and types.
fn is_whole_ours(run: &Path) -> io::Result<bool> {
    for entry in entries(run)? {
        let name = entry.file_name().into_string().unwrap_or_default();
        let ours = match name.as_str() {
            "raw" => all(&entry, &|file| is_file(file, |name| name.bytes().all(|b| b.is_ascii_hexdigit())))?,
            "reports" => {
                all(&entry, &|file| is_file(file, |name| name.contains('@') && name.ends_with(".txt")))?
            }
            "cells" => {
                all(&entry, &|cell| Ok(name_of(cell).contains('@') && all(cell, &|file| is_of_cell(file))?))?
            }
            _ => is_file(&entry, |name| [EVENTS, MARK, TRACE, MORNING, PAGE].contains(&name))?,
        };
        if !ours {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns true for a file of an attempt, or the folder of a later attempt.
fn is_of_cell(entry: &DirEntry) -> io::Result<bool> {
    let name = name_of(entry);
    if name.parse::<usize>().is_ok() {
        return all(entry, &|file| is_of_cell(file));
    }
    let console = name.starts_with("console.") && name.ends_with(".log");
    let known = ["qemu.log", "qemu.args", "diagnosis.txt", "crash.txt", "gdb"].contains(&name.as_str());
    Ok((console || known || whole::is_temporary(&name)) && !entry.file_type()?.is_dir())
}

fn is_file(entry: &DirEntry, fine: impl Fn(&str) -> bool) -> io::Result<bool> {
    let name = name_of(entry);
    Ok((fine(&name) || whole::is_temporary(&name)) && entry.file_type()?.is_file())
}

/// Returns true if `folder` is a folder, and `fine` holds for all of its content.
fn all(folder: &DirEntry, fine: &dyn Fn(&DirEntry) -> io::Result<bool>) -> io::Result<bool> {
    if !folder.file_type()?.is_dir() {
        return Ok(false);
    }
    for entry in entries(&folder.path())? {
        if !fine(&entry)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the name. A name that is not UTF-8 is never one of s2lab's.
fn name_of(entry: &DirEntry) -> String {
    entry.file_name().into_string().unwrap_or_default()
}

fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    fs::read_dir(folder)?.collect()
}

#[cfg(test)]
mod tests;
