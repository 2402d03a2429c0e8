//! Objects: folders that appear by one rename, whole or not at all.
//!
//! A process that uses an object holds a shared lock on its manifest for as long as it is alive,
//! and has verified every file. `checked.rs` decides when an earlier verification still counts. The
//! manifest's time of modification is the time of the last use, the folder's is the time at which
//! it was made.

use crate::{
    Package,
    error::{CacheError, Result},
    objects::{
        checked::{Checked, State},
        damage::{Damage, MANIFEST},
        digest,
        files::{children, publish},
        lock::{self, Lock},
        manifest::{Content, FORMAT, Manifest},
    },
    progress::Progress,
};
use s2lab_os::{
    clock,
    outside::{self, Outside, kinds},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub(crate) use crate::objects::files::{remove_tree, replace_file, unwritable};

/// The prefix of temporary folders. Objects never have it, because digests are hexadecimal.
pub(crate) const TEMPORARY: &str = ".tmp-";
/// The suffix of a folder that was a damaged object.
const ASIDE: &str = ".damaged";
/// The digits of the digest in a folder's name. The manifest has all of them.
const NAME_DIGITS: usize = 20;
/// The longest wait for a lock. A toolchain's object takes a minute or two on a slow line.
const LOCK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// A complete object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
}

impl Object {
    /// Returns the fact that was noted under `key` while the object was built.
    pub(crate) fn fact(&self, key: &str) -> Result<&str> {
        self.manifest.facts.get(key).map(String::as_str).ok_or_else(|| {
            CacheError::malformed(self.path.join(MANIFEST).display(), format_args!("has no fact `{key}`"))
        })
    }

    /// Returns the digest of one of its files.
    pub(crate) fn sha256(&self, file: &str) -> Result<&str> {
        self.manifest.files.get(file).map(|f| f.sha256.as_str()).ok_or_else(|| {
            CacheError::malformed(self.path.join(MANIFEST).display(), format_args!("has no file `{file}`"))
        })
    }
}

/// An object under construction.
pub(crate) struct Building {
    /// The folder, empty at first. Its content at the end is the object.
    pub(crate) dir: PathBuf,
    pub(crate) packages: Vec<Package>,
    pub(crate) facts: BTreeMap<String, String>,
}

/// All objects below one folder.
#[derive(Clone)]
pub(crate) struct Objects {
    root: PathBuf,
    checked: Checked,
    progress: Arc<dyn Progress>,
    /// The locked manifests of the objects in use. This process has read them to the last byte, and
    /// nobody removes them.
    used: Arc<Mutex<BTreeMap<PathBuf, File>>>,
}

/// The place of an object, which may not exist.
pub(crate) struct Place {
    pub(crate) kind: String,
    pub(crate) name: String,
    /// The digest of format, kind, name and inputs.
    pub(crate) digest: String,
    folder: String,
    pub(crate) path: PathBuf,
}

impl Place {
    fn what(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

enum Found {
    Whole(Object),
    Damaged(Damage),
    Missing,
}

impl Objects {
    /// Opens the folder and removes half-made content of dead processes.
    pub(crate) fn open(root: PathBuf, progress: Arc<dyn Progress>) -> Result<Self> {
        s2lab_os::private::make(&root).map_err(CacheError::io("cannot create", &root))?;
        let checked = Checked::beside(&root);
        let objects = Self { root, checked, progress, used: Arc::default() };
        objects.sweep()?;
        Ok(objects)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the object for `inputs`, if it exists and is whole.
    pub(crate) fn find(&self, kind: &str, name: &str, inputs: &impl Serialize) -> Result<Option<Object>> {
        Ok(match self.look(&self.place(kind, name, inputs)?)? {
            Found::Whole(object) => Some(object),
            Found::Damaged(_) | Found::Missing => None,
        })
    }

    /// Returns the place of the object for `inputs`.
    pub(crate) fn place(&self, kind: &str, name: &str, inputs: &impl Serialize) -> Result<Place> {
        let digest = digest::inputs(&(FORMAT, kind, name, inputs))?;
        let folder = format!("{}-{name}", &digest[..NAME_DIGITS]);
        let path = self.root.join(kind).join(&folder);
        Ok(Place { kind: kind.to_owned(), name: name.to_owned(), digest, folder, path })
    }

    /// Returns the object for `inputs`. If it is missing or damaged, `build` builds it.
    pub(crate) fn get(
        &self,
        kind: &str,
        name: &str,
        inputs: &impl Serialize,
        build: impl FnOnce(&mut Building) -> Result<()>,
    ) -> Result<Object> {
        self.get_within(LOCK_LIMIT, kind, name, inputs, build)
    }

    /// The same. It waits at most for `limit` for another one who builds the object.
    pub(crate) fn get_within(
        &self,
        limit: Duration,
        kind: &str,
        name: &str,
        inputs: &impl Serialize,
        build: impl FnOnce(&mut Building) -> Result<()>,
    ) -> Result<Object> {
        let place = self.place(kind, name, inputs)?;
        let damage = match self.look(&place)? {
            Found::Whole(object) => return Ok(object),
            Found::Damaged(damage) => Some(damage),
            Found::Missing => None,
        };
        self.get_locked(&place, limit, inputs, build).map_err(|source| match damage {
            Some(damage) if !matches!(source, CacheError::Cancelled) => {
                CacheError::Damaged { what: place.what(), damage, source: Box::new(source) }
            }
            _ => source,
        })
    }

    fn get_locked(
        &self,
        place: &Place,
        limit: Duration,
        inputs: &impl Serialize,
        build: impl FnOnce(&mut Building) -> Result<()>,
    ) -> Result<Object> {
        let what = place.what();
        let lock_path = self.lock_path(&place.kind, &place.folder);
        let lock = lock::acquire(&lock_path, &what, limit, &*self.progress);
        let _lock = lock.map_err(|error| match error {
            CacheError::Io { path, source, .. } if unwritable(&source) => {
                CacheError::ReadOnly { missing: what.clone(), path, source }
            }
            error => error,
        })?;
        match self.look(place)? {
            Found::Whole(object) => return Ok(object),
            Found::Damaged(damage) => {
                self.progress.step(&format!("{what} is damaged ({damage}) and is made anew"));
            }
            Found::Missing => {}
        }
        let temporary = self.root.join(&place.kind).join(format!("{TEMPORARY}{}", place.folder));
        remove_tree(&temporary)?;
        s2lab_os::private::make(&temporary).map_err(CacheError::io("cannot create", &temporary))?;
        let made = self.make(&temporary, place, inputs, build);
        if made.is_err() {
            // The first error is the one to report. The rest is removed when the cache is opened
            // again.
            let _ = remove_tree(&temporary);
        }
        made
    }

    fn make(
        &self,
        temporary: &Path,
        place: &Place,
        inputs: &impl Serialize,
        build: impl FnOnce(&mut Building) -> Result<()>,
    ) -> Result<Object> {
        let mut building =
            Building { dir: temporary.to_owned(), packages: Vec::new(), facts: BTreeMap::new() };
        build(&mut building)?;
        if self.progress.cancelled() {
            return Err(CacheError::Cancelled);
        }
        let Content { files, links } = Content::of(temporary)?;
        let inputs =
            serde_json::to_value(inputs).map_err(|e| CacheError::malformed("inputs of an object", e))?;
        let manifest = Manifest {
            format: FORMAT,
            kind: place.kind.clone(),
            name: place.name.clone(),
            digest: place.digest.clone(),
            inputs,
            packages: building.packages,
            facts: building.facts,
            files,
            links,
        };
        let manifest_path = temporary.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| CacheError::malformed(manifest_path.display(), e))?;
        fs::write(&manifest_path, text).map_err(CacheError::io("cannot write", &manifest_path))?;
        // It is locked before it has its name, so that nobody can remove it in between.
        let file = File::open(&manifest_path).map_err(CacheError::io("cannot open", &manifest_path))?;
        shared(&file, &manifest_path)?;
        let aside = temporary.with_file_name(format!("{TEMPORARY}{}{ASIDE}", place.folder));
        if place.path.exists() {
            remove_tree(&aside)?;
            // A rename comes first, so that no reader finds half of a folder that is being removed.
            fs::rename(&place.path, &aside).map_err(CacheError::io("cannot move away", &place.path))?;
        }
        publish(temporary, &place.path)?;
        // The rest is removed when the cache is opened again.
        let _ = remove_tree(&aside);
        if let Some(state) = State::of(&place.path, &manifest) {
            self.checked.remember(&place.kind, &place.folder, &state);
        }
        self.used().insert(place.path.clone(), file);
        Ok(Object { path: place.path.clone(), manifest })
    }

    /// Returns the object if it is whole: every file is as its manifest says. An object that this
    /// process has verified is not read again.
    fn look(&self, place: &Place) -> Result<Found> {
        let path = place.path.join(MANIFEST);
        let mut from = match Outside::open(&path, kinds::MANIFEST) {
            Ok(from) => from,
            Err(error) if error.is_absent() => {
                let torn = place.path.exists();
                let damage = Damage::Missing(MANIFEST.to_owned());
                return Ok(if torn { Found::Damaged(damage) } else { Found::Missing });
            }
            Err(error) => return Err(error.into()),
        };
        // Another process is removing it, or has just done so.
        if !shared(from.file(), &path)? || !is_still(from.file(), &path) {
            return Ok(Found::Missing);
        }
        let manifest: Manifest = match serde_json::from_slice(&from.whole()?) {
            Ok(manifest) => manifest,
            Err(error) => return Ok(Found::Damaged(Damage::Manifest(error.to_string()))),
        };
        if manifest.digest != place.digest {
            return Ok(Found::Damaged(Damage::Manifest("it is another object's".to_owned())));
        }
        if let Some(damage) = self.damage(place, &manifest)? {
            return Ok(Found::Damaged(damage));
        }
        // This is only a note of its use. If it fails (the cache is read-only), nothing changes.
        let file = from.into_file();
        let _ = file.set_modified(clock::now());
        self.used().entry(place.path.clone()).or_insert(file);
        Ok(Found::Whole(Object { path: place.path.clone(), manifest }))
    }

    fn damage(&self, place: &Place, manifest: &Manifest) -> Result<Option<Damage>> {
        let state = State::of(&place.path, manifest);
        let known = |state: &State| self.checked.knows(&place.kind, &place.folder, state);
        if self.used().contains_key(&place.path) || state.as_ref().is_some_and(known) {
            return Ok(manifest.misfits(&place.path).into_iter().next());
        }
        let damages = manifest.damages(&place.path, &|| self.progress.cancelled())?;
        // An object that changed during the reading is read again next time.
        if let Some(state) = state.filter(|state| State::of(&place.path, manifest).as_ref() == Some(state))
            && damages.is_empty()
        {
            self.checked.remember(&place.kind, &place.folder, &state);
        }
        Ok(damages.into_iter().next())
    }

    fn used(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, File>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the digest of a file. That of an object in use is in its manifest: this process has verified
    /// the object.
    pub(crate) fn digest(&self, path: &Path) -> Result<String> {
        let object = path.ancestors().find(|folder| self.used().contains_key(*folder));
        let noted = object.and_then(|object| {
            let manifest = outside::read(&object.join(MANIFEST), kinds::MANIFEST).ok()?;
            let manifest: Manifest = serde_json::from_slice(&manifest).ok()?;
            let name = path.strip_prefix(object).ok()?.to_str()?;
            Some(manifest.files.get(name)?.sha256.clone())
        });
        noted.map_or_else(|| digest::file(path), Ok)
    }

    /// This process does not use the object any more.
    pub(crate) fn release(&self, place: &Place) {
        self.used().remove(&place.path);
    }

    pub(crate) fn forget_check(&self, kind: &str, folder: &str) {
        self.checked.forget(kind, folder);
    }

    /// Returns the lock that a process holds while it makes or removes an object.
    pub(crate) fn lock_path(&self, kind: &str, folder: &str) -> PathBuf {
        lock::path(&self.root, &format!("{kind}-{folder}"))
    }

    /// Removes temporary folders whose lock nobody holds: their makers are dead.
    fn sweep(&self) -> Result<()> {
        for kind in children(&self.root)? {
            for child in children(&self.root.join(&kind))? {
                let Some(folder) = child.strip_prefix(TEMPORARY) else { continue };
                let removed = match Lock::try_acquire(&self.lock_path(&kind, folder)) {
                    Ok(Some(_lock)) => remove_tree(&self.root.join(&kind).join(&child)),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error.into()),
                };
                match removed {
                    // It is not an object, so it does no harm if it cannot be removed.
                    Err(CacheError::Io { source, .. }) if unwritable(&source) => {}
                    removed => removed?,
                }
            }
        }
        Ok(())
    }
}

/// Locks for use. Returns false if it is locked for removal.
fn shared(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(CacheError::io("cannot lock", path)(e)),
    }
}

/// Returns true if `path` still names the file that was opened.
fn is_still(file: &File, path: &Path) -> bool {
    let (opened, named) = (file.metadata(), fs::metadata(path));
    matches!((opened, named), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

#[cfg(test)]
mod tests;
