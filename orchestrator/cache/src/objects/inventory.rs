//! The content of the cache, its verification, and the removal of unused objects.

use crate::{
    Cache,
    error::{CacheError, Result},
    objects::{
        damage::{Damage, MANIFEST},
        digest,
        files::{children, remove_at_once},
        hosts::{HOSTS, on_disk},
        lock::{self, Lock},
        manifest::Manifest,
        object::TEMPORARY,
    },
};
use s2lab_os::{
    clock,
    outside::{self, kinds},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// The folder of downloaded Debian packages, which are files and not objects.
pub(crate) const PACKAGES: &str = "deb";

/// The kind of folders that builds keep, which are not objects either.
pub(crate) const BUILDS: &str = "build";

/// A time longer than the unpacking of packages takes. The use of each is noted before.
const UNPACKED: Duration = Duration::from_secs(2 * 60 * 60);

/// An object, a downloaded package, or a folder that builds keep.
#[derive(Debug, Clone)]
pub struct Item {
    /// `kernel`, `qemu`, ...; `deb` for a package, `build` for a folder that builds keep.
    pub kind: String,
    pub name: String,
    /// The digest of an object's inputs, or of a package's content, in hexadecimal. Folders of
    /// builds have none.
    pub digest: String,
    /// The folder, or a package's file.
    pub path: PathBuf,
    /// The size in bytes.
    pub size: u64,
    pub made: SystemTime,
    pub used: SystemTime,
    /// The live processes that use it, as far as this one may see.
    pub users: Vec<u32>,
    /// The manifest. None: it cannot be read, or the item is not an object.
    pub(crate) manifest: Option<Manifest>,
}

impl Item {
    /// Returns true if it has a manifest. Otherwise it is damaged, and its size is unknown.
    pub fn is_readable(&self) -> bool {
        !self.is_object() || self.manifest.is_some()
    }

    pub fn is_object(&self) -> bool {
        ![PACKAGES, BUILDS].contains(&self.kind.as_str())
    }

    pub fn is_package(&self) -> bool {
        self.kind == PACKAGES
    }

    /// Returns the folder's name. Items have UTF-8 names.
    pub(super) fn folder_name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Reads it to its end, and returns all damages.
    pub fn damages(&self, cancelled: &(dyn Fn() -> bool + Sync)) -> Result<Vec<Damage>> {
        if let Some(manifest) = &self.manifest {
            return manifest.damages(&self.path, cancelled);
        }
        if self.kind != PACKAGES {
            return Ok(vec![match read_manifest(&self.path) {
                Ok(_) => Damage::Manifest("it has changed just now".to_owned()),
                Err(damage) => damage,
            }]);
        }
        Ok(match digest::file(&self.path)? {
            sha256 if sha256 == self.digest => vec![],
            _ => vec![Damage::Content(self.name.clone())],
        })
    }
}

/// Items that were removed, or would be.
#[derive(Debug, Default)]
pub struct Removed {
    pub items: Vec<Item>,
    /// Items old enough to go that a live process uses.
    pub kept: Vec<Item>,
}

impl Cache {
    /// Returns all objects and packages, by kind and name; of one name the latest used first.
    pub fn items(&self) -> Result<Vec<Item>> {
        let root = self.objects.root();
        let users = users();
        let mut items = Vec::new();
        for kind in children(root)? {
            for child in children(&root.join(&kind))? {
                let path = root.join(&kind).join(&child);
                items.extend(match kind.as_str() {
                    lock::FOLDER => None,
                    _ if child.starts_with(TEMPORARY) => None,
                    PACKAGES => package(&path, &child)?,
                    _ => object(&kind, &path, &child, &users)?,
                });
            }
        }
        items.sort_by(|a, b| (&a.kind, &a.name, b.used).cmp(&(&b.kind, &b.name, a.used)));
        Ok(items)
    }

    /// Removes the items that were not used for `unused`, and only those packages that are no input
    /// of an object any more. With `dry` it only lists them. Items that a live process uses or
    /// makes stay.
    pub fn collect(&self, unused: Duration, dry: bool) -> Result<Removed> {
        let now = clock::now();
        // A time from a clock that was ahead lies in the future.
        let old = |item: &Item| now.duration_since(item.used).is_ok_and(|age| age >= unused);
        let (packages, objects): (Vec<_>, Vec<_>) =
            self.items()?.into_iter().partition(|item| item.kind == PACKAGES);
        let mut removed = Removed::default();
        let mut needed = BTreeSet::new();
        for item in objects {
            if old(&item)
                && let Some(claim) = self.claim(&item)?
            {
                if !dry {
                    claim.remove(&item)?;
                    self.objects.forget_check(&item.kind, item.folder_name());
                }
                removed.items.push(item);
                continue;
            }
            let made_of = item.manifest.iter().flat_map(|manifest| &manifest.packages);
            needed.extend(made_of.map(|package| package.sha256.clone()));
            if old(&item) {
                removed.kept.push(item);
            }
        }
        // Another process may be unpacking a package that arrived just now.
        let settled = |item: &Item| now.duration_since(item.used).is_ok_and(|age| age >= UNPACKED);
        let unneeded = |item: &Item| !needed.contains(&item.digest) && old(item) && settled(item);
        for item in packages.into_iter().filter(unneeded) {
            if !dry {
                fs::remove_file(&item.path).map_err(CacheError::io("cannot remove", &item.path))?;
            }
            removed.items.push(item);
        }
        self.collect_builds(unused, dry, &mut removed)?;
        Ok(removed)
    }

    /// Returns the right to remove the item. Returns None if a process uses it or makes it again.
    pub(super) fn claim(&self, item: &Item) -> Result<Option<Claim>> {
        let folder = item.folder_name();
        let Some(lock) = Lock::try_acquire(&self.objects.lock_path(&item.kind, folder))? else {
            return Ok(None);
        };
        let temporary = item.path.with_file_name(format!("{TEMPORARY}{folder}"));
        let path = item.path.join(MANIFEST);
        // Some network file systems require the right to write for such a lock.
        let manifest = match OpenOptions::new().read(true).write(true).open(&path) {
            // Without a manifest nobody can use it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            file => Some(file.map_err(CacheError::io("cannot open", &path))?),
        };
        match manifest.as_ref().map(File::try_lock) {
            None | Some(Ok(())) => {}
            Some(Err(TryLockError::WouldBlock)) => return Ok(None),
            Some(Err(TryLockError::Error(e))) => return Err(CacheError::io("cannot lock", path)(e)),
        }
        // Since the listing another process may have removed it, or used it and ended.
        let used = match modified(&path)? {
            Some(used) => Some(used),
            None => modified(&item.path)?,
        };
        Ok((used == Some(item.used)).then_some(Claim { temporary, _lock: lock, _manifest: manifest }))
    }
}

/// The right to remove an object: nobody uses it, and nobody can begin to.
pub(super) struct Claim {
    temporary: PathBuf,
    _lock: Lock,
    _manifest: Option<File>,
}

impl Claim {
    /// Renames it first: nobody finds half of it, and the rest is removed when the cache is opened
    /// again.
    pub(super) fn remove(self, item: &Item) -> Result<()> {
        remove_at_once(&item.path, &self.temporary)
    }
}

/// Living processes that hold a file for use, by the file's inode, as far as this one may see.
pub(crate) fn users() -> BTreeMap<u64, Vec<u32>> {
    users_in(&outside::read_text(Path::new("/proc/locks"), kinds::SYSTEM).unwrap_or_default())
}

/// Returns the processes that hold a file for use, by the file's inode (Linux,
/// Documentation/filesystems/proc.rst, "locks"), from lines like
/// `7: FLOCK  ADVISORY  READ 1234 fe:00:5678 0 EOF`. The device is ignored, because on btrfs it
/// differs from that of `stat`.
fn users_in(locks: &str) -> BTreeMap<u64, Vec<u32>> {
    let mut users = BTreeMap::<u64, Vec<u32>>::new();
    for line in locks.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "READ", pid, place, ..] = words[..] else { continue };
        let inode = place.rsplit(':').next().and_then(|inode| inode.parse().ok());
        if let (Ok(pid), Some(inode)) = (pid.parse(), inode) {
            users.entry(inode).or_default().push(pid);
        }
    }
    users
}

fn read_manifest(object: &Path) -> Result<Manifest, Damage> {
    let path = object.join(MANIFEST);
    let text = outside::read(&path, kinds::MANIFEST).map_err(|error| match error.is_absent() {
        true => Damage::Missing(MANIFEST.to_owned()),
        false => Damage::Manifest(error.why.to_string()),
    })?;
    serde_json::from_slice(&text).map_err(|error| Damage::Manifest(error.to_string()))
}

/// Returns the item, or None if it has gone in the meantime, or is not an object.
fn object(kind: &str, path: &Path, folder: &str, users: &BTreeMap<u64, Vec<u32>>) -> Result<Option<Item>> {
    let Some((digits, name)) = folder.split_once('-') else { return Ok(None) };
    let Some(made) = modified(path)? else { return Ok(None) };
    let used = modified(&path.join(MANIFEST))?.unwrap_or(made);
    let inode = fs::metadata(path.join(MANIFEST)).ok().map(|meta| meta.ino());
    let users = inode.and_then(|inode| users.get(&inode)).cloned().unwrap_or_default();
    let manifest = read_manifest(path).ok();
    Ok(Some(Item {
        kind: kind.to_owned(),
        name: name.to_owned(),
        digest: manifest.as_ref().map_or(digits, |manifest| &manifest.digest).to_owned(),
        path: path.to_owned(),
        size: match &manifest {
            Some(manifest) if kind == HOSTS => on_disk(path, manifest),
            Some(manifest) => manifest.size(),
            None => 0,
        },
        made,
        used,
        users,
        manifest,
    }))
}

/// Decodes `DIGEST-NAME.deb`.
fn package(path: &Path, file: &str) -> Result<Option<Item>> {
    let Some((digest, name)) = file.strip_suffix(".deb").and_then(|stem| stem.split_once('-')) else {
        return Ok(None);
    };
    let Some(made) = modified(path)? else { return Ok(None) };
    let size = fs::metadata(path).map_or(0, |meta| meta.len());
    Ok(Some(Item {
        kind: PACKAGES.to_owned(),
        name: name.to_owned(),
        digest: digest.to_owned(),
        path: path.to_owned(),
        size,
        made,
        used: made,
        users: vec![],
        manifest: None,
    }))
}

/// Returns the time, or None if there is no such file.
pub(crate) fn modified(path: &Path) -> Result<Option<SystemTime>> {
    match fs::metadata(path).and_then(|meta| meta.modified()) {
        Ok(at) => Ok(Some(at)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(CacheError::io("cannot look at", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Quiet;
    use std::sync::Arc;
    use std::time::Instant;

    /// Between the listing and the removal another process may have removed it, or used it and
    /// ended.
    #[test]
    fn what_has_changed_since_it_was_listed_stays() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Cache::open(dir.path(), true, Arc::new(Quiet)).unwrap();
        let make = || open().objects.get("kind", "name", &1, |_| Ok(())).map(drop).unwrap();
        make();
        let listed = open().items().unwrap().remove(0);
        assert!(open().claim(&listed).unwrap().is_some());
        // A program that another test starts at this moment also holds our lock, until it has begun
        // to run.
        let begin = Instant::now();
        while open().collect(Duration::ZERO, false).unwrap().items.is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(10), "nobody else has it");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(open().claim(&listed).unwrap().is_none());
        make();
        assert!(open().claim(&listed).unwrap().is_none());
    }

    #[test]
    fn users_are_read_from_the_list_of_locks() {
        let locks = "1: FLOCK  ADVISORY  READ 1234 fe:00:5678 0 EOF\n2: FLOCK  ADVISORY  READ 99 fe:00:5678 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 7 fe:00:5678 0 EOF\n3: POSIX  ADVISORY  READ 8 fe:00:5678 0 EOF\n\
            4: FLOCK  ADVISORY  WRITE 9 fe:00:5678 0 EOF\n5: FLOCK  ADVISORY  READ -1 fe:00:12 0 EOF\nFLOCK\n";
        assert_eq!(users_in(locks), BTreeMap::from([(5678, vec![1234, 99])]));
        assert!(users_in("").is_empty());
    }
}
