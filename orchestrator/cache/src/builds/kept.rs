//! The files that builds keep beside the objects to make the next build short: their size, and the
//! removal of unused ones.
//!
//! `CACHE/build/kernel/ROOM-NAME/` is a source's folder with results in `out/KEY/`
//! ([`crate::builds::build_folder`]), `CACHE/build/kernel/DIGITS.git` remembers what a tree on disk
//! was like ([`crate::builds::git_tree`]), `CACHE/build/agent/` has the agent's objects.

use crate::{
    Cache,
    builds::{
        build::{self, BUILD_LOCK},
        build_folder::{OUT, STATE},
        cargo, git_tree, make,
    },
    error::{CacheError, Result},
    objects::{
        files::{children, remove_at_once, remove_tree},
        inventory::{BUILDS, Item, Removed, modified},
        lock::{self, Lock},
    },
};
use s2lab_os::clock;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// The extension of a folder that is being removed. Nobody builds in it.
const GOING: &str = "going";

/// A folder that a build keeps.
struct Kept {
    name: String,
    path: PathBuf,
    used: SystemTime,
    /// The lock of a build in it.
    lock: PathBuf,
    /// The folder whose subfolders count for themselves.
    inner: Option<PathBuf>,
}

impl Cache {
    /// Returns the folders that builds keep, with their sizes, for which it reads them. Results of
    /// a kernel's build count for themselves.
    pub fn builds(&self) -> Result<Vec<Item>> {
        self.kept()?.iter().map(Kept::item).collect()
    }

    /// Removes the folders that were not used for `unused`, like [`Cache::collect`] does for
    /// objects.
    pub(crate) fn collect_builds(&self, unused: Duration, dry: bool, removed: &mut Removed) -> Result<()> {
        let now = clock::now();
        for kept in self.kept()? {
            if now.duration_since(kept.used).is_ok_and(|age| age >= unused) {
                let item = kept.item()?;
                match Lock::try_acquire(&kept.lock)? {
                    None => removed.kept.push(item),
                    Some(_lock) => {
                        if !dry {
                            remove(&kept.path)?;
                        }
                        removed.items.push(item);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the folders. Results come before the folder that they are in.
    fn kept(&self) -> Result<Vec<Kept>> {
        let lock = |name: &str| lock::path(self.objects.root(), name);
        let mut all = Vec::new();
        let root = self.build_root();
        for folder in children(&root)? {
            let path = root.join(&folder);
            if let Some(digits) = folder.strip_suffix(git_tree::PRIVATE) {
                let used = used(&[path.join(git_tree::USED)], &path)?;
                let lock = lock(&git_tree::lock_name(digits));
                all.push(Kept { name: folder, path, used, lock, inner: None });
                continue;
            }
            let Some((_, name)) = folder.split_once('-').filter(|_| path.is_dir()) else { continue };
            let mut signs = vec![path.join(STATE)];
            for key in children(&path.join(OUT))? {
                let out = path.join(OUT).join(key);
                let log = out.join(make::LOG);
                let used = used(std::slice::from_ref(&log), &out)?;
                signs.push(log);
                all.push(Kept {
                    name: name.to_owned(),
                    path: out,
                    used,
                    lock: lock(BUILD_LOCK),
                    inner: None,
                });
            }
            let (used, inner) = (used(&signs, &path)?, Some(path.join(OUT)));
            all.push(Kept { name: name.to_owned(), path, used, lock: lock(BUILD_LOCK), inner });
        }
        let agent = build::folder(&self.objects).join(cargo::OBJECTS);
        if let Some(used) = modified(&agent.with_file_name(cargo::SOURCE))?.filter(|_| agent.is_dir()) {
            let name = cargo::OBJECTS.to_owned();
            all.push(Kept { name, path: agent, used, lock: lock(cargo::BUILD_LOCK), inner: None });
        }
        Ok(all)
    }
}

impl Kept {
    fn item(&self) -> Result<Item> {
        Ok(Item {
            kind: BUILDS.to_owned(),
            name: self.name.clone(),
            digest: String::new(),
            path: self.path.clone(),
            size: size(&self.path, self.inner.as_deref())?,
            made: self.used,
            used: self.used,
            users: Vec::new(),
            manifest: None,
        })
    }
}

/// Returns the time at which the newest of `files` was written. Without such files it is the
/// folder's own time.
fn used(files: &[PathBuf], folder: &Path) -> Result<SystemTime> {
    if folder.extension().is_some_and(|e| e == GOING || e == make::KILLED) {
        return Ok(SystemTime::UNIX_EPOCH);
    }
    let mut newest = None;
    for file in files {
        newest = newest.max(modified(file)?);
    }
    match newest {
        Some(newest) => Ok(newest),
        None => Ok(modified(folder)?.unwrap_or(SystemTime::UNIX_EPOCH)),
    }
}

/// Renames it first, so that nobody takes the rest for the whole. It may have gone since it was
/// listed.
fn remove(path: &Path) -> Result<()> {
    let going = path.with_extension(GOING);
    match going != path && path.exists() {
        true => remove_at_once(path, &going),
        false => remove_tree(&going),
    }
}

/// Returns the bytes of the files below `path`, without those below `but`. Files that go in the
/// meantime do not count.
fn size(path: &Path, but: Option<&Path>) -> Result<u64> {
    let mut sum = 0_u64;
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let read = match fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(CacheError::io("cannot list", &folder))?,
        };
        for child in read {
            let child = child.map_err(CacheError::io("cannot list", &folder))?;
            match child.metadata() {
                Ok(meta) if meta.is_dir() => {
                    folders.extend(Some(child.path()).filter(|path| Some(path.as_path()) != but));
                }
                Ok(meta) => sum = sum.saturating_add(meta.len()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(CacheError::io("cannot look at", child.path())(e)),
            }
        }
    }
    Ok(sum)
}
