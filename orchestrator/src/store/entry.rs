//! Entries: folders that appear by one rename, whole or not at all.

use super::{
    Package, digest,
    error::{Result, StoreError},
    lock::{self, Lock},
    progress::Progress,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Part of every digest: a new number makes every entry new.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// Temporary folders begin with it; no entry does, for digests are hexadecimal.
const TEMPORARY: &str = ".tmp-";
/// Digits of the digest in a folder's name; the manifest has all of them.
const NAME_DIGITS: usize = 20;
/// Building a toolchain's entry takes a minute or two on a slow line.
const LOCK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// What an entry says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub kind: String,
    pub name: String,
    /// Of format, kind, name and inputs.
    pub digest: String,
    pub inputs: serde_json::Value,
    #[serde(default)]
    pub packages: Vec<Package>,
    /// What was found out while building, such as a version.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    pub files: BTreeMap<String, FileFact>,
    /// Symbolic links, and what they say.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
}

/// A file of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFact {
    pub size: u64,
    pub sha256: String,
}

/// A complete entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
}

impl Entry {
    /// What was noted under `key` while the entry was built.
    pub(crate) fn fact(&self, key: &str) -> Result<&str> {
        self.manifest.facts.get(key).map(String::as_str).ok_or_else(|| {
            StoreError::malformed(self.path.join(MANIFEST).display(), format_args!("has no fact `{key}`"))
        })
    }

    /// The digest of one of its files.
    pub(crate) fn sha256(&self, file: &str) -> Result<&str> {
        self.manifest.files.get(file).map(|f| f.sha256.as_str()).ok_or_else(|| {
            StoreError::malformed(self.path.join(MANIFEST).display(), format_args!("has no file `{file}`"))
        })
    }
}

/// An entry under construction.
pub(crate) struct Building {
    /// Empty at first; what is in it at the end is the entry.
    pub(crate) dir: PathBuf,
    pub(crate) packages: Vec<Package>,
    pub(crate) facts: BTreeMap<String, String>,
}

/// All entries below one folder.
#[derive(Clone)]
pub(crate) struct Entries {
    root: PathBuf,
    progress: Arc<dyn Progress>,
}

impl Entries {
    /// Removes what dead processes left half-made.
    pub(crate) fn open(root: PathBuf, progress: Arc<dyn Progress>) -> Result<Self> {
        fs::create_dir_all(&root).map_err(StoreError::io("cannot create", &root))?;
        let entries = Self { root, progress };
        entries.sweep()?;
        Ok(entries)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The entry for `inputs`, if it is there.
    pub(crate) fn find(&self, kind: &str, name: &str, inputs: &impl Serialize) -> Result<Option<Entry>> {
        let digest = digest::inputs(&(FORMAT, kind, name, inputs))?;
        self.load(&self.root.join(kind).join(format!("{}-{name}", &digest[..NAME_DIGITS])), &digest)
    }

    /// The entry for `inputs`, built by `build` where it is missing or damaged.
    pub(crate) fn get(
        &self,
        kind: &str,
        name: &str,
        inputs: &impl Serialize,
        build: impl FnOnce(&mut Building) -> Result<()>,
    ) -> Result<Entry> {
        let digest = digest::inputs(&(FORMAT, kind, name, inputs))?;
        let folder = format!("{}-{name}", &digest[..NAME_DIGITS]);
        let path = self.root.join(kind).join(&folder);
        if let Some(entry) = self.load(&path, &digest)? {
            return Ok(entry);
        }
        let what = format!("{kind} {name}");
        let lock_path = self.lock_path(kind, &folder);
        let lock = Lock::acquire(&lock_path, &what, LOCK_LIMIT, &*self.progress);
        let _lock = lock.map_err(|error| match error {
            StoreError::Io { path, source, .. } if unwritable(&source) => {
                StoreError::ReadOnly { missing: what.clone(), path, source }
            }
            error => error,
        })?;
        if let Some(entry) = self.load(&path, &digest)? {
            return Ok(entry);
        }

        let temporary = self.root.join(kind).join(format!("{TEMPORARY}{folder}"));
        remove_tree(&temporary)?;
        if path.exists() {
            self.progress.step(&format!("{what} is damaged and is made anew"));
            // Out of the way by a rename: a reader never meets half of a folder that is being removed.
            fs::rename(&path, &temporary).map_err(StoreError::io("cannot move away", &path))?;
            remove_tree(&temporary)?;
        }
        fs::create_dir_all(&temporary).map_err(StoreError::io("cannot create", &temporary))?;
        let made = self.make(&temporary, &path, kind, name, digest, inputs, build);
        if made.is_err() {
            // The first error is the one to tell; what is left goes when the store is opened again.
            let _ = remove_tree(&temporary);
        }
        made
    }

    #[expect(clippy::too_many_arguments, reason = "the second half of `get`, apart only for its clean-up")]
    fn make(
        &self,
        temporary: &Path,
        path: &Path,
        kind: &str,
        name: &str,
        digest: String,
        inputs: &impl Serialize,
        build: impl FnOnce(&mut Building) -> Result<()>,
    ) -> Result<Entry> {
        let mut building =
            Building { dir: temporary.to_owned(), packages: Vec::new(), facts: BTreeMap::new() };
        build(&mut building)?;
        if self.progress.cancelled() {
            return Err(StoreError::Cancelled);
        }
        let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
        survey(temporary, "", &mut files, &mut links)?;
        let inputs =
            serde_json::to_value(inputs).map_err(|e| StoreError::malformed("inputs of an entry", e))?;
        let manifest = Manifest {
            format: FORMAT,
            kind: kind.to_owned(),
            name: name.to_owned(),
            digest,
            inputs,
            packages: building.packages,
            facts: building.facts,
            files,
            links,
        };
        let manifest_path = temporary.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| StoreError::malformed(manifest_path.display(), e))?;
        fs::write(&manifest_path, text).map_err(StoreError::io("cannot write", &manifest_path))?;
        publish(temporary, path)?;
        Ok(Entry { path: path.to_owned(), manifest })
    }

    /// The entry if it is complete: its manifest fits and every file has its size. (Digests cost too much here.)
    fn load(&self, path: &Path, digest: &str) -> Result<Option<Entry>> {
        let text = match fs::read(path.join(MANIFEST)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(StoreError::io("cannot read the manifest in", path)(e)),
        };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else { return Ok(None) };
        let whole = manifest.digest == digest
            && manifest.files.iter().all(|(name, fact)| {
                fs::symlink_metadata(path.join(name)).is_ok_and(|m| m.is_file() && m.len() == fact.size)
            })
            && manifest
                .links
                .keys()
                .all(|name| fs::symlink_metadata(path.join(name)).is_ok_and(|m| m.is_symlink()));
        Ok(whole.then(|| Entry { path: path.to_owned(), manifest }))
    }

    fn lock_path(&self, kind: &str, folder: &str) -> PathBuf {
        lock::path(&self.root, &format!("{kind}-{folder}"))
    }

    /// A temporary folder whose lock nobody holds has lost its maker.
    fn sweep(&self) -> Result<()> {
        for kind in children(&self.root)? {
            for child in children(&self.root.join(&kind))? {
                let Some(folder) = child.strip_prefix(TEMPORARY) else { continue };
                let removed = match Lock::try_acquire(&self.lock_path(&kind, folder)) {
                    Ok(Some(_lock)) => remove_tree(&self.root.join(&kind).join(&child)),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                };
                match removed {
                    // It is no entry, so it hurts nobody where it cannot be removed.
                    Err(StoreError::Io { source, .. }) if unwritable(&source) => {}
                    removed => removed?,
                }
            }
        }
        Ok(())
    }
}

/// Gives `temporary` its final name once its content is on disk.
pub(crate) fn publish(temporary: &Path, path: &Path) -> Result<()> {
    let sync =
        |dir: &Path| File::open(dir).and_then(|d| d.sync_all()).map_err(StoreError::io("cannot sync", dir));
    // One call for hundreds of files; entries are made rarely.
    let handle = File::open(temporary).map_err(StoreError::io("cannot open", temporary))?;
    rustix::fs::syncfs(&handle).map_err(|e| StoreError::io("cannot sync", temporary)(e.into()))?;
    fs::rename(temporary, path).map_err(StoreError::io("cannot move into place", path))?;
    path.parent().map_or(Ok(()), sync)
}

/// Replaces `path` by `content` in one step.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let written = File::create(&temporary).and_then(|mut f| f.write_all(content).and_then(|()| f.sync_all()));
    let written = written.map_err(StoreError::io("cannot write", &temporary));
    let replaced =
        written.and_then(|()| fs::rename(&temporary, path).map_err(StoreError::io("cannot replace", path)));
    if replaced.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

/// Whether a write failed for where it was to go: nothing can be written there.
pub(crate) fn unwritable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// Names of the folders in `dir`; none if it is missing or no folder.
fn children(dir: &Path) -> Result<Vec<String>> {
    let read = match fs::read_dir(dir) {
        Ok(read) => read,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(StoreError::io("cannot list", dir)(e)),
    };
    let mut names = Vec::new();
    for child in read {
        let child = child.map_err(StoreError::io("cannot list", dir))?;
        if let Ok(name) = child.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes `dir` and all below it; a missing one is fine.
pub(crate) fn remove_tree(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("cannot remove", dir)(e)),
        _ => Ok(()),
    }
}

/// Lists files and links below `dir`, with `/` between names.
fn survey(
    dir: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, FileFact>,
    links: &mut BTreeMap<String, String>,
) -> Result<()> {
    for child in fs::read_dir(dir).map_err(StoreError::io("cannot list", dir))? {
        let child = child.map_err(StoreError::io("cannot list", dir))?;
        let path = child.path();
        let utf8 = |name: std::ffi::OsString| {
            name.into_string().map_err(|_| StoreError::malformed(path.display(), "a name is not UTF-8"))
        };
        let name = format!("{prefix}{}", utf8(child.file_name())?);
        let meta = fs::symlink_metadata(&path).map_err(StoreError::io("cannot look at", &path))?;
        if meta.is_dir() {
            survey(&path, &format!("{name}/"), files, links)?;
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).map_err(StoreError::io("cannot read the link", &path))?;
            links.insert(name, utf8(target.into_os_string())?);
        } else {
            files.insert(name, FileFact { size: meta.len(), sha256: digest::file(&path)? });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
