//! `s2lab cache`, on a cache with two objects that these tests make.

use crate::harness::Home;
use s2lab_cache::{Cache, Quiet};
use std::{
    fs::{self, File},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Makes an object of an Image with this `fill`, and returns its folder.
fn object(home: &Home, cache: &Cache, name: &str, fill: u8) -> PathBuf {
    let mut bytes = vec![fill; 4096];
    // The size in memory is unknown.
    bytes[16..24].fill(0);
    bytes[56..60].copy_from_slice(b"ARM\x64");
    home.write(name, &bytes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let made = runtime.block_on(cache.image(&home.path(name), None, &[])).unwrap();
    made.image.parent().unwrap().to_owned()
}

fn open(home: &Home) -> Cache {
    Cache::open(&home.path("cache/s2lab"), true, Arc::new(Quiet)).unwrap()
}

fn package(home: &Home, name: &str, content: &str, digest: &str) {
    home.write(&format!("cache/s2lab/objects/deb/{digest}-{name}.deb"), content);
}

/// `printf package | sha256sum`.
const DIGEST: &str = "bc4a71180870f7945155fbb02f4b0a2e3faa2a62d6d31b7039013055ed19869a";

#[test]
fn what_there_is() {
    let home = Home::new();
    let mut session = home.session();
    session.s2lab(&["cache", "list"]);
    let cache = open(&home);
    object(&home, &cache, "Image-6.1", 1);
    object(&home, &cache, "Image-6.12", 2);
    drop(cache);
    package(&home, "qemu-system-arm", "package", DIGEST);
    session.note("two objects and a package");
    session.s2lab(&["cache", "list"]);
    session.s2lab(&["cache", "path", "image"]);
    session.s2lab(&["cache", "path", "Image-6.1"]);
    for none in ["qemu", "debian-6.1", "deb"] {
        assert_eq!(session.s2lab(&["cache", "path", none]).status.code(), Some(3));
    }
    session.s2lab(&["cache", "verify"]);
    session.check("cache");
}

/// A tree that is not built, and a missing one, do not hide the other kernels.
#[test]
fn a_kernel_that_cannot_be_had_does_not_hide_the_others() {
    let home = Home::new();
    let path = home.lab().join("images/kernels.yaml");
    let list = fs::read_to_string(&path).unwrap();
    let trees = "kernels:\n  gone:\n    about: x.\n    provider: tree\n    path: ../gone\n    traits: []\n  \
                 built:\n    about: x.\n    provider: tree\n    path: ../gone\n    build: true\n    traits: []\n";
    fs::write(&path, list.replace("kernels:\n", trees)).unwrap();
    object(&home, &open(&home), "debian-6.1", 1);
    let mut session = home.session();
    session.s2lab(&["cache", "path", "debian-6.1"]);
    session.s2lab(&["cache", "path", "gone"]);
    session.s2lab(&["cache", "path", "built"]);
    session.s2lab(&["cache", "list"]);
    session.check("cache-trees");
}

#[test]
fn for_programs() {
    let home = Home::new();
    let folder = object(&home, &open(&home), "Image-6.1", 1);
    let output = home.command(&["cache", "list", "--format", "json"]).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let list: serde_json::Value = serde_json::from_str(&lines).unwrap();
    let line = &list["items"][0];
    assert_eq!(line["path"].as_str().map(PathBuf::from), Some(folder.clone()));
    assert_eq!((line["kind"].as_str(), line["name"].as_str()), (Some("image"), Some("Image-6.1")));
    assert!(line["bytes"].as_u64() > Some(4096) && line["digest"].as_str().unwrap().len() == 64, "{line}");
    for at in ["made", "used"] {
        let at: jiff::Timestamp = line[at].as_str().unwrap().parse().unwrap();
        assert!((jiff::Timestamp::try_from(now()).unwrap().as_second() - at.as_second()).abs() < 600, "{at}");
    }
    fs::write(folder.join("Image"), vec![0; 4096]).unwrap();
    let output = home.command(&["cache", "verify", "--format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["items"][0]["damages"], serde_json::json!(["`Image` has another content"]));
}

#[test]
fn what_is_damaged() {
    let home = Home::new();
    let cache = open(&home);
    let first = object(&home, &cache, "Image-6.1", 1);
    let second = object(&home, &cache, "Image-6.12", 2);
    drop(cache);
    package(&home, "qemu-system-arm", "pakcage", DIGEST);
    // The new content has the same size.
    fs::write(first.join("Image"), vec![0; 4096]).unwrap();
    fs::write(second.join("manifest.json"), "{").unwrap();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["cache", "verify"]).status.code(), Some(3));
    session.s2lab(&["cache", "list"]);
    session.check("cache-damaged");
}

#[expect(clippy::disallowed_methods, reason = "the times of files are the wall clock's")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[test]
fn what_nobody_uses_is_removed() {
    let home = Home::new();
    let cache = open(&home);
    let [old, held, new] = ["old", "held", "new"].map(|name| object(&home, &cache, name, 3));
    drop(cache);
    package(&home, "qemu-system-arm", "package", DIGEST);
    let ago = |days: u64| now() - Duration::from_secs(days * 24 * 60 * 60 + 60);
    for folder in [&old, &held] {
        File::open(folder.join("manifest.json")).unwrap().set_modified(ago(31)).unwrap();
    }
    let deb = home.path(&format!("cache/s2lab/objects/deb/{DIGEST}-qemu-system-arm.deb"));
    File::open(&deb).unwrap().set_modified(ago(29)).unwrap();
    // A run uses it like this. The use is noted, so the time is set back again.
    let run = open(&home);
    object(&home, &run, "held", 3);
    File::open(held.join("manifest.json")).unwrap().set_modified(ago(31)).unwrap();

    let mut session = home.session();
    session.s2lab(&["cache", "gc", "--dry-run"]);
    assert!(old.exists() && held.exists() && new.exists());
    session.s2lab(&["cache", "gc"]);
    assert!(!old.exists() && held.exists() && new.exists() && deb.exists());
    drop(run);
    session.note("the run that used it has ended");
    session.s2lab(&["cache", "gc"]);
    assert!(!held.exists() && new.exists() && deb.exists());
    session.s2lab(&["cache", "gc", "--unused", "0"]);
    assert!(!new.exists() && !deb.exists());
    session.s2lab(&["cache", "list"]);
    session.s2lab(&["cache", "gc", "--unused", "-1"]);
    session.check("cache-gc");
}

/// `gc` removes results of an old configuration. It removes the folder of the builds only if
/// nothing was built in it for as long.
#[test]
fn what_builds_keep_goes_too() {
    let home = Home::new();
    let build = |path: &str| home.path(&format!("cache/s2lab/build/{path}"));
    let write = |path: &str, days: u64| {
        home.write(&format!("cache/s2lab/build/{path}"), "built");
        let at = now() - Duration::from_secs(days * 24 * 60 * 60 + 60);
        File::open(build(path)).unwrap().set_modified(at).unwrap();
    };
    write("kernel/aa-linux/state.json", 90);
    write("kernel/aa-linux/source/Makefile", 90);
    write("kernel/aa-linux/out/old/s2lab-build.log", 31);
    write("kernel/aa-linux/out/new/s2lab-build.log", 2);
    // This removal was killed: the folder has no age.
    write("kernel/aa-linux/out/half.going/s2lab-build.log", 0);
    write("kernel/bb-linux/state.json", 60);
    write("kernel/bb-linux/out/old/s2lab-build.log", 50);
    write("kernel/cc.git/s2lab-used", 40);
    write("agent/x.o", 40);
    fs::create_dir(build("agent-source")).unwrap();

    let mut session = home.session();
    session.s2lab(&["cache", "list"]);
    session.s2lab(&["cache", "gc", "--dry-run"]);
    assert!(build("kernel/bb-linux").exists());
    session.s2lab(&["cache", "gc"]);
    let left = |path: &str| {
        let mut names: Vec<_> = fs::read_dir(build(path)).unwrap().map(|f| f.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(left("kernel"), ["aa-linux"]);
    assert_eq!(left("kernel/aa-linux/out"), ["new"]);
    let lock = home.path("cache/s2lab/objects/locks/kernel-build.lock");
    let building = File::create(&lock).unwrap();
    building.lock().unwrap();
    session.note("a kernel is being built");
    session.s2lab(&["cache", "gc", "--unused", "0"]);
    assert_eq!(left("kernel/aa-linux/out"), ["new"]);
    drop(building);
    session.note("and is built");
    session.s2lab(&["cache", "gc", "--unused", "0"]);
    assert!(left("kernel").is_empty());
    session.check("cache-gc-builds");
}

#[test]
fn versions_are_forgotten() {
    let home = Home::new();
    home.write("cache/s2lab/objects/resolved.json", "{}");
    assert_eq!(home.command(&["cache", "refresh"]).output().unwrap().status.code(), Some(0));
    assert!(!home.path("cache/s2lab/objects/resolved.json").exists());
    // An empty cache is no error.
    assert_eq!(home.command(&["cache", "refresh"]).output().unwrap().status.code(), Some(0));
    assert_eq!(home.tree("state"), Vec::<String>::new());
}
