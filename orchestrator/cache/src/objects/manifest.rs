//! The manifest of an object, and the check of the object against it.

use crate::{
    Package,
    error::{CacheError, Result},
    objects::{damage::Damage, digest},
};
use s2lab_os::outside::{ReadError, Why};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// The version of the format, which is part of every digest: a new number makes every object new.
pub(crate) const FORMAT: u32 = 1;

/// The description of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub kind: String,
    pub name: String,
    /// The digest of format, kind, name and inputs.
    pub digest: String,
    pub inputs: serde_json::Value,
    #[serde(default)]
    pub packages: Vec<Package>,
    /// Facts found during the build, such as a version.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    pub files: BTreeMap<String, FileFact>,
    /// Symbolic links, and their targets.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
}

/// A file of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFact {
    pub size: u64,
    pub sha256: String,
}

impl Manifest {
    /// Returns wrong sizes of files, and wrong links. Digests would take too long if nothing is
    /// booted from the object.
    pub(crate) fn misfits(&self, object: &Path) -> Vec<Damage> {
        let files =
            self.files.iter().filter_map(|(name, fact)| match fs::symlink_metadata(object.join(name)) {
                Ok(meta) if !meta.is_file() => Some(Damage::Missing(name.clone())),
                Ok(meta) if meta.len() == fact.size => None,
                Ok(meta) => Some(Damage::Size { file: name.clone(), found: meta.len(), expected: fact.size }),
                Err(error) => Some(unreadable(name, &error)),
            });
        let links = self.links.iter().filter_map(|(name, says)| match fs::read_link(object.join(name)) {
            Ok(target) if target == Path::new(says) => None,
            Ok(_) => Some(Damage::Content(name.clone())),
            // It is something other than a link.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Some(Damage::Missing(name.clone())),
            Err(error) => Some(unreadable(name, &error)),
        });
        files.chain(links).collect()
    }

    /// Returns all damages, also of files that have kept their size. Reads every file, on all
    /// processors.
    ///
    /// # Errors
    /// [`CacheError::Cancelled`]. Defects of the object are in the result.
    pub(crate) fn damages(
        &self,
        object: &Path,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Damage>> {
        let misfits = self.misfits(object);
        if !misfits.is_empty() {
            return Ok(misfits);
        }
        let mut files: Vec<_> = self.files.iter().collect();
        // The largest comes first, so that no processor is left with it at the end.
        files.sort_by_key(|(_, fact)| std::cmp::Reverse(fact.size));
        let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let Some((name, fact)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                if cancelled() {
                    return;
                }
                let damage = match digest::file(&object.join(name)) {
                    Ok(sha256) if sha256 == fact.sha256 => continue,
                    Ok(_) => Damage::Content((*name).clone()),
                    Err(CacheError::Read(ReadError { why: Why::Io(source), .. })) => {
                        unreadable(name, &source)
                    }
                    Err(other) => Damage::Unreadable { file: (*name).clone(), why: other.to_string() },
                };
                found.lock().unwrap_or_else(PoisonError::into_inner).push(((*name).clone(), damage));
            }
        };
        let processors = thread::available_parallelism().map_or(1, usize::from).min(files.len());
        thread::scope(|scope| {
            for _ in 1..processors {
                // Without a thread there is less help.
                if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        if cancelled() {
            return Err(CacheError::Cancelled);
        }
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found.into_iter().map(|(_, damage)| damage).collect())
    }

    /// Returns the bytes of its files.
    pub(crate) fn size(&self) -> u64 {
        self.files.values().map(|fact| fact.size).fold(0, u64::saturating_add)
    }
}

fn unreadable(name: &str, error: &io::Error) -> Damage {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Damage::Missing(name.to_owned()),
        _ => Damage::Unreadable { file: name.to_owned(), why: error.to_string() },
    }
}

/// Files and links below `dir`, with `/` between names.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) files: BTreeMap<String, FileFact>,
    pub(crate) links: BTreeMap<String, String>,
}

impl Content {
    pub(crate) fn of(dir: &Path) -> Result<Self> {
        let mut content = Self::default();
        content.survey(dir, "")?;
        Ok(content)
    }

    fn survey(&mut self, dir: &Path, prefix: &str) -> Result<()> {
        for child in fs::read_dir(dir).map_err(CacheError::io("cannot list", dir))? {
            let child = child.map_err(CacheError::io("cannot list", dir))?;
            let path = child.path();
            let utf8 = |name: std::ffi::OsString| {
                name.into_string().map_err(|_| CacheError::malformed(path.display(), "a name is not UTF-8"))
            };
            let name = format!("{prefix}{}", utf8(child.file_name())?);
            let meta = fs::symlink_metadata(&path).map_err(CacheError::io("cannot look at", &path))?;
            if meta.is_dir() {
                self.survey(&path, &format!("{name}/"))?;
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).map_err(CacheError::io("cannot read the link", &path))?;
                self.links.insert(name, utf8(target.into_os_string())?);
            } else {
                self.files.insert(name, FileFact { size: meta.len(), sha256: digest::file(&path)? });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(dir: &Path) -> Manifest {
        let Content { files, links } = Content::of(dir).unwrap();
        Manifest {
            format: FORMAT,
            kind: "kind".to_owned(),
            name: "name".to_owned(),
            digest: String::new(),
            inputs: serde_json::Value::Null,
            packages: vec![],
            facts: BTreeMap::new(),
            files,
            links,
        }
    }

    #[test]
    fn every_damaged_file_is_named_whichever_processor_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..40 {
            fs::write(dir.path().join(format!("{n:02}")), vec![n; usize::from(n) * 100 + 1]).unwrap();
        }
        let manifest = manifest(dir.path());
        assert_eq!(manifest.size(), (0..40).map(|n| n * 100 + 1).sum::<u64>());
        let damages = || manifest.damages(dir.path(), &|| false).unwrap();
        assert_eq!(damages(), []);
        for n in [0u8, 17, 39] {
            let mut bytes = fs::read(dir.path().join(format!("{n:02}"))).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(dir.path().join(format!("{n:02}")), bytes).unwrap();
        }
        assert_eq!(manifest.misfits(dir.path()), []);
        assert_eq!(damages(), ["00", "17", "39"].map(|name| Damage::Content(name.to_owned())));
        assert!(matches!(manifest.damages(dir.path(), &|| true), Err(CacheError::Cancelled)));
        fs::remove_file(dir.path().join("05")).unwrap();
        fs::write(dir.path().join("06"), "").unwrap();
        let texts: Vec<_> = damages().iter().map(Damage::to_string).collect();
        assert_eq!(texts, ["`05` is missing", "`06` has 0 bytes instead of 601"]);
    }
}
