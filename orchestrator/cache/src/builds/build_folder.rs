//! A folder in which kernels of one source are built, again and again. Unchanged files are not
//! written, so that `make` does not build them again.
//!
//! Its files are those of a base, some of them patched. `state.json` names them, and exists only
//! while it is true: it is removed before the first file is changed and comes back after the last.
//! A folder without it is removed as a whole.
//!
//! A tree may have links that lead out of it. A patch may add, change and remove a link, but
//! nothing is read, written or removed beyond one: patches are tried on copies that have the same
//! links, so git refuses ("beyond a symbolic link").

mod names;
mod nodes;

use self::{
    names::named,
    nodes::{Node, above, copy, find, node, remove, same},
};
use crate::{
    builds::patches,
    error::{CacheError, Result},
    objects::object::{remove_tree, replace_file},
    progress::Progress,
    series::Patch,
};
use s2lab_os::outside::{self, kinds};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

pub(crate) const STATE: &str = "state.json";
/// The folder of the files. `make` keeps their path in its results.
const SOURCE: &str = "source";
/// The folder of the base's own versions of patched files.
const ORIGINALS: &str = "originals";
/// The folder in which patches are tried.
const TRIAL: &str = "trial";
/// The results of `make`, by configuration and tools.
pub(crate) const OUT: &str = "out";

/// The content of the folder.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The digest of the base.
    base: String,
    /// The files that differ from the base. True if the base has the file: then its version is
    /// among the originals.
    patched: BTreeMap<String, bool>,
}

/// The folder of one room; see [`crate::builds::source::Base::room`].
pub(crate) struct BuildFolder {
    dir: PathBuf,
}

impl BuildFolder {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.dir.join(SOURCE)
    }

    /// Gives the source the files of `base` with `patches`. `bring` makes a missing folder the
    /// base, or, with `in_place`, changes one that is another base.
    ///
    /// # Errors
    /// If a patch does not apply. Then the folder is as before.
    pub(crate) fn prepare(
        &self,
        base: &str,
        patches: &[Patch],
        in_place: bool,
        bring: impl FnOnce(&Path) -> Result<()>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let state = self.state()?;
        let state = match state {
            Some(state) if state.base == base => state,
            Some(state) if in_place => {
                self.change(&state, &BTreeMap::new(), Some(base), |source| bring(source))?
            }
            _ => {
                remove_tree(&self.dir)?;
                s2lab_os::private::make(&self.dir).map_err(CacheError::io("cannot create", &self.dir))?;
                if let Err(error) = bring(&self.source()) {
                    // It would only use disk space, which may be the problem.
                    if !matches!(error, CacheError::Cancelled) {
                        let _ = remove_tree(&self.dir);
                    }
                    return Err(error);
                }
                self.remember(State { base: base.to_owned(), patched: BTreeMap::new() })?
            }
        };
        let wanted = self.try_patches(&state, patches, progress)?;
        self.change(&state, &wanted, None, |_| Ok(()))?;
        remove_tree(&self.dir.join(TRIAL))
    }

    /// Returns the folder for results of one configuration and tools. It is empty if it cannot be
    /// trusted.
    pub(crate) fn out(&self, key: &str) -> PathBuf {
        self.dir.join(OUT).join(key)
    }

    fn state(&self) -> Result<Option<State>> {
        let path = self.dir.join(STATE);
        match outside::read(&path, kinds::MANIFEST) {
            // An unreadable file is no state.
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn remember(&self, state: State) -> Result<State> {
        let path = self.dir.join(STATE);
        let text = serde_json::to_vec_pretty(&state).map_err(|e| CacheError::malformed(path.display(), e))?;
        replace_file(&path, &text)?;
        Ok(state)
    }

    /// Returns the place of the base's version of `file`, or None if the base is known to have
    /// none.
    fn original(&self, state: &State, file: &str) -> Option<PathBuf> {
        match state.patched.get(file) {
            Some(true) => Some(self.dir.join(ORIGINALS).join(file)),
            Some(false) => None,
            None => Some(self.source().join(file)),
        }
    }

    /// Returns the base's version of `file` as a node, or None if the base has none, or a folder
    /// above it is a link.
    fn original_node(&self, state: &State, file: &str) -> Result<Option<PathBuf>> {
        if self.link_above(state, file)?.is_some() {
            return Ok(None);
        }
        let Some(path) = self.original(state, file) else { return Ok(None) };
        Ok(node(&path)?.map(|_| path))
    }

    /// Returns the topmost name above `file` that is a link in the base.
    fn link_above<'a>(&self, state: &State, file: &'a str) -> Result<Option<&'a str>> {
        for folder in above(file) {
            let original = self.original(state, folder);
            if original.map_or(Ok(None), |path| node(&path))? == Some(Node::Link) {
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    /// Applies `patches` to copies of the files that they name. Returns the place of each changed
    /// file's new version, or None for a removed file.
    fn try_patches(
        &self,
        state: &State,
        patches: &[Patch],
        progress: &dyn Progress,
    ) -> Result<BTreeMap<String, Option<PathBuf>>> {
        let trial = self.dir.join(TRIAL);
        remove_tree(&trial)?;
        s2lab_os::private::make(&trial).map_err(CacheError::io("cannot create", &trial))?;
        let named: BTreeSet<String> = patches.iter().flat_map(|patch| named(&patch.diff)).collect();
        for file in &named {
            // git must find the link that the file lies beyond.
            let file = self.link_above(state, file)?.unwrap_or(file);
            if let Some(original) = self.original_node(state, file)? {
                copy(&original, &trial, file)?;
            }
        }
        patches::apply(&trial, patches, progress)?;
        let mut wanted: BTreeMap<_, _> = named.into_iter().map(|file| (file, None)).collect();
        list(&trial, "", &mut |file, path| {
            wanted.insert(file, Some(path));
        })?;
        Ok(wanted)
    }

    /// Gives every wanted or earlier patched file its new content. If `base` is given, `bring`
    /// first moves the folder to that base.
    fn change(
        &self,
        state: &State,
        wanted: &BTreeMap<String, Option<PathBuf>>,
        base: Option<&str>,
        bring: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<State> {
        let mut next = State { base: base.unwrap_or(&state.base).to_owned(), patched: BTreeMap::new() };
        let mut writes: Vec<(&String, Option<PathBuf>)> = Vec::new();
        for file in state.patched.keys().chain(wanted.keys()).collect::<BTreeSet<_>>() {
            let original = self.original_node(state, file)?;
            let new = wanted.get(file).cloned().unwrap_or_else(|| original.clone());
            if !same(new.as_deref(), original.as_deref())? {
                next.patched.insert(file.clone(), original.is_some());
            }
            if !same(new.as_deref(), find(&self.source(), file)?.as_deref())? {
                writes.push((file, new));
            }
        }
        if writes.is_empty() && next == *state {
            return Ok(next);
        }
        let path = self.dir.join(STATE);
        fs::remove_file(&path).map_err(CacheError::io("cannot remove", &path))?;
        for file in next.patched.iter().filter(|(file, has)| **has && !state.patched.contains_key(*file)) {
            copy(&self.source().join(file.0), &self.dir.join(ORIGINALS), file.0)?;
        }
        // The removal of a link may make room for a folder of its name, and the other way round, so
        // the deepest come first.
        for (file, _) in writes.iter().rev() {
            if find(&self.source(), file)?.is_some() {
                remove(&self.source(), file)?;
            }
        }
        for (file, new) in writes {
            if let Some(from) = new {
                copy(&from, &self.source(), file)?;
            }
        }
        for file in state.patched.iter().filter(|(file, has)| **has && !next.patched.contains_key(*file)) {
            remove(&self.dir.join(ORIGINALS), file.0)?;
        }
        bring(&self.source())?;
        self.remember(next)
    }
}

/// Lists files and links below `dir`, with `/` between names.
fn list(dir: &Path, prefix: &str, found: &mut dyn FnMut(String, PathBuf)) -> Result<()> {
    for child in fs::read_dir(dir).map_err(CacheError::io("cannot list", dir))? {
        let child = child.map_err(CacheError::io("cannot list", dir))?;
        let own = child.file_name();
        let Some(own) = own.to_str() else {
            let name = format!("{prefix}{}", own.to_string_lossy());
            return Err(CacheError::malformed(name, "the name that a patch gives a file is not UTF-8"));
        };
        let name = format!("{prefix}{own}");
        match child.file_type().map_err(CacheError::io("cannot look at", child.path()))? {
            kind if kind.is_dir() => list(&child.path(), &format!("{name}/"), found)?,
            kind if kind.is_file() || kind.is_symlink() => found(name, child.path()),
            _ => {
                let why = "a patch makes something that is neither file nor link; a kernel's source has none to be built from";
                return Err(CacheError::malformed(name, why));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
