//! An object that was read to its last byte lately is not read again. Beside the objects lies, for
//! each object, the state of its files at that time. A program that changes a file changes its time
//! of change too; a change without a program, on a failing disk, is found when the note is a day
//! old.

use crate::objects::{digest::Hasher, manifest::Manifest};
use s2lab_os::{
    clock,
    outside::{self, kinds},
    whole::{self, Sync},
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The life of a note. It makes a nightly run read all its objects.
const COUNTS: Duration = Duration::from_secs(20 * 60 * 60);

/// The folder of notes.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    folder: PathBuf,
}

/// The state of an object's files: inodes, sizes, times.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State(String);

impl State {
    /// Returns the state, or None if a file is missing.
    pub(crate) fn of(object: &Path, manifest: &Manifest) -> Option<Self> {
        let mut hasher = Hasher::default();
        for name in manifest.files.keys() {
            let meta = fs::symlink_metadata(object.join(name)).ok()?;
            let (ino, size) = (meta.ino(), meta.size());
            let (mtime, mtime_ns) = (meta.mtime(), meta.mtime_nsec());
            let (ctime, ctime_ns) = (meta.ctime(), meta.ctime_nsec());
            let line = format!("{name}\0{ino} {size} {mtime}.{mtime_ns} {ctime}.{ctime_ns}\n");
            hasher.update(line.as_bytes());
        }
        Some(Self(hasher.finish()))
    }
}

impl Checked {
    /// For the objects in `objects`.
    pub(crate) fn beside(objects: &Path) -> Self {
        Self { folder: objects.with_file_name("checked") }
    }

    /// Returns true if the object was found whole in this state recently.
    pub(crate) fn knows(&self, kind: &str, folder: &str, state: &State) -> bool {
        let path = self.note(kind, folder);
        let noted = fs::metadata(&path).and_then(|meta| meta.modified());
        // A time from a clock that was ahead does not count.
        let counts = noted.is_ok_and(|at| clock::now().duration_since(at).is_ok_and(|age| age < COUNTS));
        counts && outside::read_text(&path, kinds::NOTE).is_ok_and(|text| text == state.0)
    }

    /// Notes the state. If that fails, everything is read each time.
    pub(crate) fn remember(&self, kind: &str, folder: &str, state: &State) {
        let _ = whole::write(&self.note(kind, folder), state.0.as_bytes(), Sync::Later);
    }

    pub(crate) fn forget(&self, kind: &str, folder: &str) {
        // A note of a removed object has no meaning.
        let _ = fs::remove_file(self.note(kind, folder));
    }

    fn note(&self, kind: &str, folder: &str) -> PathBuf {
        self.folder.join(format!("{kind}-{folder}"))
    }
}
