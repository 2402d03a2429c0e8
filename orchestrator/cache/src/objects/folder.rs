//! The folder of the objects, which had another name once.

use crate::{
    error::{CacheError, Result},
    objects::{
        damage::MANIFEST,
        files::{children, unwritable},
        inventory::users,
        lock::{self, Lock},
    },
    progress::Progress,
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The name of the folder in the cache.
const NAME: &str = "objects";
/// The name that the folder had before.
const FORMER: &str = "store";
/// The lock of the rename. It lies beside the folder, because all in the folder moves.
const LOCK: &str = "objects.lock";
/// Far longer than a rename takes.
const LOCK_LIMIT: Duration = Duration::from_secs(60);

/// Returns the folder of the objects in `cache`.
///
/// A folder with the former name is renamed once. It keeps that name as long as a living process
/// uses it, which looks for it there, and in a cache that cannot be written.
pub(crate) fn of(cache: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    let (folder, former) = (cache.join(NAME), cache.join(FORMER));
    let is_former = || former.is_dir() && !folder.exists();
    if !is_former() {
        return Ok(folder);
    }
    let renamed =
        lock::acquire(&cache.join(LOCK), "the folder of objects", LOCK_LIMIT, progress).and_then(|_lock| {
            match is_former() {
                true => rename(&former, &folder),
                false => Ok(()),
            }
        });
    match renamed {
        Err(CacheError::Io { source, .. }) if unwritable(&source) => {}
        renamed => renamed?,
    }
    Ok(if is_former() { former } else { folder })
}

/// Renames the folder, unless it is in use.
fn rename(former: &Path, folder: &Path) -> Result<()> {
    // Held until the new name is there: nobody makes an object meanwhile.
    let mut locks = vec![];
    for name in children(&former.join(lock::FOLDER))? {
        match Lock::try_acquire(&former.join(lock::FOLDER).join(name))? {
            Some(lock) => locks.push(lock),
            None => return Ok(()),
        }
    }
    if is_used(former)? {
        return Ok(());
    }
    fs::rename(former, folder).map_err(CacheError::io("cannot rename", former))
}

/// True if a living process uses an object in `folder`.
fn is_used(folder: &Path) -> Result<bool> {
    let users = users();
    for kind in children(folder)? {
        for object in children(&folder.join(&kind))? {
            let manifest = fs::metadata(folder.join(&kind).join(object).join(MANIFEST));
            if manifest.is_ok_and(|meta| users.contains_key(&meta.ino())) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cache, Quiet, objects::object::Building};
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        thread,
        time::Instant,
    };

    fn open(cache: &Path) -> Cache {
        Cache::open(cache, true, Arc::new(Quiet)).unwrap()
    }

    fn write(building: &mut Building) -> Result<()> {
        fs::write(building.dir.join("file"), "content").unwrap();
        Ok(())
    }

    fn refuse(_: &mut Building) -> Result<()> {
        panic!("made again")
    }

    fn get(cache: &Cache, build: impl FnOnce(&mut Building) -> Result<()>) -> PathBuf {
        cache.objects.get("kind", "name", &1, build).unwrap().path
    }

    /// Returns a cache of an older version, with an object and a note.
    fn former() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = get(&open(dir.path()), write);
        fs::write(dir.path().join("objects/resolved.json"), "{}").unwrap();
        fs::rename(dir.path().join("objects"), dir.path().join("store")).unwrap();
        (dir, path)
    }

    /// Opens the cache until nobody else has its locks: a program that another test starts has them
    /// too until it has begun to run.
    fn open_alone(cache: &Path) -> Cache {
        let begin = Instant::now();
        loop {
            let opened = open(cache);
            if !cache.join("store").exists() {
                return opened;
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "somebody has it");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_folder_with_the_former_name_is_renamed_and_nothing_is_made_again() {
        let (dir, path) = former();
        let digest = |path: &Path| fs::read(path.join(MANIFEST)).unwrap();
        let before =
            digest(&dir.path().join("store").join(path.strip_prefix(dir.path().join("objects")).unwrap()));
        let cache = open_alone(dir.path());
        assert_eq!(get(&cache, refuse), path);
        assert_eq!(digest(&path), before);
        assert!(dir.path().join("objects/resolved.json").exists());
    }

    #[test]
    fn many_at_once_rename_it_once() {
        let (dir, path) = former();
        let made = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                let work = || {
                    let made_again = |building: &mut Building| {
                        made.fetch_add(1, Ordering::Relaxed);
                        write(building)
                    };
                    assert_eq!(get(&open_alone(dir.path()), made_again), path);
                };
                thread::Builder::new().spawn_scoped(scope, work).unwrap();
            }
        });
        assert_eq!(made.into_inner(), 0);
        assert!(!dir.path().join("store").exists());
    }

    /// The older s2lab looks for its objects, and for its locks, under the former name.
    #[test]
    fn what_an_older_s2lab_uses_keeps_its_name_until_it_ends() {
        let (dir, _) = former();
        let store = dir.path().join("store");
        let maker = Lock::try_acquire(&lock::path(&store, "kernel-build")).unwrap().unwrap();
        assert_eq!(of(dir.path(), &Quiet).unwrap(), store);
        drop(maker);
        let path = children(&store.join("kind")).unwrap().pop().unwrap();
        let manifest = fs::File::open(store.join("kind").join(path).join(MANIFEST)).unwrap();
        manifest.lock_shared().unwrap();
        let cache = open(dir.path());
        assert!(get(&cache, refuse).starts_with(&store), "both use it under this name");
        drop((manifest, cache));
        get(&open_alone(dir.path()), refuse);
    }

    #[test]
    fn a_folder_that_an_older_s2lab_makes_later_replaces_nothing() {
        let (dir, path) = former();
        drop(open_alone(dir.path()));
        fs::create_dir_all(dir.path().join("store/locks")).unwrap();
        assert_eq!(get(&open(dir.path()), refuse), path);
    }
}
