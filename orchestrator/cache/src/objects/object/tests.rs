//! Objects: whole or not at all, built once.

use super::*;
use crate::progress::Quiet;
use std::{
    os::unix::fs::symlink,
    sync::atomic::{AtomicU32, Ordering},
    thread::{self, sleep},
    time::Instant,
};

fn open(dir: &Path) -> Objects {
    Objects::open(dir.join("objects"), Arc::new(Quiet)).unwrap()
}

fn write(building: &mut Building) -> Result<()> {
    fs::create_dir(building.dir.join("sub")).unwrap();
    fs::write(building.dir.join("sub/file"), "content").unwrap();
    symlink("sub/file", building.dir.join("link")).unwrap();
    building.facts.insert("colour".to_owned(), "red".to_owned());
    Ok(())
}

fn refuse(_: &mut Building) -> Result<()> {
    panic!("built again")
}

fn temporaries(dir: &Path) -> usize {
    children(&dir.join("objects/kind")).unwrap().iter().filter(|n| n.starts_with(TEMPORARY)).count()
}

#[test]
fn an_object_is_built_once_and_knows_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).get("kind", "name", &1, write).unwrap();
    let again = open(dir.path()).get("kind", "name", &1, refuse).unwrap();
    assert_eq!((&again.path, &again.manifest), (&first.path, &first.manifest));
    assert_eq!(again.fact("colour").unwrap(), "red");
    assert!(again.fact("size").is_err() && again.sha256("other").is_err());
    // `printf content | sha256sum`
    let sum = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    assert_eq!(again.sha256("sub/file").unwrap(), sum);
    assert_eq!(again.manifest.links["link"], "sub/file");
}

#[test]
fn a_file_that_this_process_has_verified_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open(dir.path());
    let object = objects.get("kind", "name", &1, write).unwrap();
    let (file, other) = (object.path.join("sub/file"), dir.path().join("other"));
    for path in [&file, &other] {
        fs::write(path, "changed").unwrap();
    }
    let (noted, changed) = (digest::bytes(b"content"), digest::bytes(b"changed"));
    assert_eq!(objects.digest(&file).unwrap(), noted);
    assert_eq!(objects.digest(&other).unwrap(), changed, "it is not an object's");
    assert_eq!(
        objects.digest(&object.path.join("link")).unwrap(),
        changed,
        "the manifest has no digest of it"
    );
    assert_eq!(open(dir.path()).digest(&file).unwrap(), changed, "another process has not verified it");
}

#[test]
fn other_inputs_are_other_entries_and_keys_are_stable() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open(dir.path());
    let path = |kind: &str, name: &str, inputs: &str| objects.get(kind, name, &inputs, write).unwrap().path;
    let all =
        [path("kind", "a", "x"), path("kind", "a", "y"), path("kind", "b", "x"), path("other", "a", "x")];
    for (n, one) in all.iter().enumerate() {
        assert!(!all[..n].contains(one), "{one:?}");
    }
    // `printf '[1,"kind","a","x"]' | sha256sum`: a change here invalidates every cache.
    assert!(all[0].ends_with("kind/22ae756f726d7e5b49e3-a"), "{:?}", all[0]);
}

#[test]
fn a_failed_build_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open(dir.path());
    let fail = |building: &mut Building| {
        fs::write(building.dir.join("half"), "x").unwrap();
        Err(CacheError::Cancelled)
    };
    assert!(matches!(objects.get("kind", "name", &1, fail), Err(CacheError::Cancelled)));
    assert_eq!(children(&dir.path().join("objects/kind")).unwrap(), Vec::<String>::new());
    assert!(objects.get("kind", "name", &1, write).is_ok());
}

/// The ways in which a whole object can be damaged.
fn damages(path: &Path) -> [Box<dyn Fn() + '_>; 9] {
    let relink = |to: &'static str| {
        move || {
            fs::remove_file(path.join("link")).unwrap();
            symlink(to, path.join("link")).unwrap();
        }
    };
    [
        Box::new(|| fs::write(path.join("sub/file"), "conten").unwrap()),
        // The new content has the same size.
        Box::new(|| fs::write(path.join("sub/file"), "Content").unwrap()),
        Box::new(|| fs::remove_file(path.join("sub/file")).unwrap()),
        Box::new(|| fs::remove_dir_all(path.join("sub")).unwrap()),
        Box::new(|| fs::remove_file(path.join("link")).unwrap()),
        Box::new(relink("sub/elif")),
        Box::new(|| fs::write(path.join(MANIFEST), "{").unwrap()),
        Box::new(|| fs::write(path.join(MANIFEST), r#"{"format":1}"#).unwrap()),
        Box::new(|| fs::remove_file(path.join(MANIFEST)).unwrap()),
    ]
}

#[test]
fn a_damaged_object_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = open(dir.path()).get("kind", "name", &1, write).unwrap().path;
    for (n, damage) in damages(&path).iter().enumerate() {
        damage();
        let mut built = false;
        let object = open(dir.path()).get("kind", "name", &1, |b| {
            built = true;
            write(b)
        });
        assert!(object.is_ok() && built, "damage {n}");
        assert_eq!(fs::read(path.join("sub/file")).unwrap(), b"content");
        open(dir.path()).get("kind", "name", &1, refuse).unwrap();
        assert_eq!(temporaries(dir.path()), 0);
    }
}

#[test]
fn what_cannot_be_made_anew_is_told_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = open(dir.path()).get("kind", "name", &1, write).unwrap().path;
    for (n, damage) in damages(&path).iter().enumerate() {
        damage();
        let offline = |_: &mut Building| Err(CacheError::Offline { missing: "a package".to_owned() });
        let error = open(dir.path()).get("kind", "name", &1, offline).unwrap_err();
        let CacheError::Damaged { what, source, .. } = &error else { panic!("damage {n}: {error}") };
        assert_eq!((what.as_str(), source.hint()), ("kind name", error.hint()), "damage {n}");
        assert!(path.exists() && temporaries(dir.path()) == 0, "damage {n}");
        open(dir.path()).get("kind", "name", &1, write).unwrap();
    }
    let error = open(dir.path()).get("kind", "name", &1, refuse).unwrap();
    fs::write(error.path.join("sub/file"), "Content").unwrap();
    let cancelled = open(dir.path()).get("kind", "name", &1, |_| Err(CacheError::Cancelled));
    assert!(matches!(cancelled, Err(CacheError::Cancelled)));
}

/// A note that it was whole in this state saves the reading. s2lab trusts the note instead of the
/// digest.
#[test]
fn what_was_read_lately_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let object = open(dir.path()).get("kind", "name", &1, write).unwrap();
    let file = object.path.join("sub/file");
    let note =
        dir.path().join("checked/kind-".to_owned() + object.path.file_name().unwrap().to_str().unwrap());
    let is_rebuilt = || {
        let mut built = false;
        let build = |b: &mut Building| {
            built = true;
            write(b)
        };
        open(dir.path()).get("kind", "name", &1, build).unwrap();
        built
    };
    fs::write(&file, "Content").unwrap();
    let state = State::of(&object.path, &object.manifest).unwrap();
    Checked::beside(&dir.path().join("objects")).remember(
        "kind",
        object.path.file_name().unwrap().to_str().unwrap(),
        &state,
    );
    assert!(!is_rebuilt());
    // An old note, and one from a clock that was ahead.
    for at in [clock::now() - Duration::from_secs(48 * 3600), clock::now() + Duration::from_secs(3600)] {
        let noted = fs::read(&note).unwrap();
        File::open(&note).unwrap().set_modified(at).unwrap();
        assert!(is_rebuilt(), "{at:?}");
        fs::write(&file, "Content").unwrap();
        fs::write(&note, noted).unwrap();
    }
    // The state differs from the noted one: the file has its own time again, but not its time of
    // change.
    assert!(is_rebuilt());
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    assert!(!is_rebuilt());
    fs::write(&file, "Content").unwrap();
    File::open(&file).unwrap().set_modified(modified).unwrap();
    assert!(is_rebuilt());
}

#[test]
fn what_is_in_use_is_not_collected() {
    let dir = tempfile::tempdir().unwrap();
    let cache = |dir: &Path| crate::Cache::open(dir, true, Arc::new(Quiet)).unwrap();
    let ours = cache(dir.path());
    let path = ours.objects.get("kind", "name", &1, write).unwrap().path;
    let collector = cache(dir.path());
    for dry in [true, false] {
        let removed = collector.collect(Duration::ZERO, dry).unwrap();
        assert!(removed.items.is_empty() && removed.kept.len() == 1 && path.exists());
    }
    let [item] = &collector.items().unwrap()[..] else { panic!("one object") };
    assert_eq!((item.name.as_str(), item.size), ("name", 7));
    drop(ours);
    let building = Lock::try_acquire(&collector.objects.lock_path("kind", folder_name(&path))).unwrap();
    assert!(collector.collect(Duration::ZERO, false).unwrap().items.is_empty());
    drop(building);
    // A process that another test forks has our descriptors until it becomes another program.
    let begin = Instant::now();
    while collector.collect(Duration::ZERO, true).unwrap().items.is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(10), "somebody holds it");
        sleep(Duration::from_millis(5));
    }
    assert!(collector.collect(Duration::from_secs(3600), false).unwrap().items.is_empty());
    assert_eq!(collector.collect(Duration::ZERO, true).unwrap().items.len(), 1);
    assert!(path.exists());
    assert_eq!(collector.collect(Duration::ZERO, false).unwrap().items.len(), 1);
    assert_eq!(children(&dir.path().join("objects/kind")).unwrap(), Vec::<String>::new());
    assert_eq!(children(&dir.path().join("checked")).unwrap(), Vec::<String>::new());
    cache(dir.path()).objects.get("kind", "name", &1, write).unwrap();
}

fn folder_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// A process that requests an object while others collect it gets a whole one, whatever the order.
#[test]
fn collecting_and_using_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = || crate::Cache::open(dir.path(), true, Arc::new(Quiet)).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            let thread = thread::Builder::new().spawn_scoped(scope, || {
                for _ in 0..100 {
                    cache().collect(Duration::ZERO, false).unwrap();
                }
            });
            thread.unwrap();
            let thread = thread::Builder::new().spawn_scoped(scope, || {
                for _ in 0..100 {
                    let ours = cache();
                    let object = ours.objects.get("kind", "name", &1, write).unwrap();
                    assert_eq!(fs::read(object.path.join("sub/file")).unwrap(), b"content");
                }
            });
            thread.unwrap();
        }
    });
}

#[test]
fn what_the_dead_left_is_removed_and_what_the_living_make_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open(dir.path());
    for name in ["dead", "alive"] {
        fs::create_dir_all(dir.path().join(format!("objects/kind/{TEMPORARY}{name}/sub"))).unwrap();
    }
    let _lock = Lock::try_acquire(&objects.lock_path("kind", "alive")).unwrap().unwrap();
    open(dir.path());
    let left = children(&dir.path().join("objects/kind")).unwrap();
    assert_eq!(left, [format!("{TEMPORARY}alive")]);
}

#[test]
fn a_torn_temporary_folder_does_not_reach_the_entry() {
    let dir = tempfile::tempdir().unwrap();
    let objects = open(dir.path());
    let path = objects.get("kind", "name", &1, write).unwrap().path;
    let folder = path.file_name().unwrap().to_str().unwrap().to_owned();
    fs::remove_dir_all(&path).unwrap();
    let torn = dir.path().join(format!("objects/kind/{TEMPORARY}{folder}"));
    fs::create_dir(&torn).unwrap();
    fs::write(torn.join("half"), "x").unwrap();
    let object = objects.get("kind", "name", &1, write).unwrap();
    assert!(!object.path.join("half").exists() && !object.manifest.files.contains_key("half"));
    assert_eq!(temporaries(dir.path()), 0);
}

#[test]
fn many_at_once_build_once() {
    let dir = tempfile::tempdir().unwrap();
    let built = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            let thread = thread::Builder::new().spawn_scoped(scope, || {
                let object = open(dir.path()).get("kind", "name", &1, |b| {
                    built.fetch_add(1, Ordering::SeqCst);
                    write(b)
                });
                assert!(object.unwrap().path.join("sub/file").exists());
            });
            thread.unwrap();
        }
    });
    assert_eq!(built.load(Ordering::SeqCst), 1);
}
