mod hostile;

use super::*;
use crate::progress::Quiet;
use std::{collections::BTreeMap, os::unix::fs::MetadataExt};

fn in_place(place: &Path, arguments: &[&str]) {
    let mut command = crate::git::git();
    command.args(["-c", "user.name=s2lab", "-c", "user.email=s2lab@localhost", "-c", "commit.gpgsign=false"]);
    let status = command.args(arguments).current_dir(place).stdout(std::process::Stdio::null()).status();
    assert!(status.unwrap().success(), "{arguments:?}");
}

/// Makes a repository with two commits that differ in `b`.
fn repository() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("linux");
    fs::create_dir(&place).unwrap();
    in_place(&place, &["init", "--quiet"]);
    for (file, text) in [("a", "a\n"), ("b", "1\n"), (".gitignore", "*.o\n")] {
        fs::write(place.join(file), text).unwrap();
    }
    in_place(&place, &["add", "--all"]);
    in_place(&place, &["commit", "--quiet", "-m", "one"]);
    fs::write(place.join("b"), "2\n").unwrap();
    in_place(&place, &["commit", "--quiet", "--all", "-m", "two"]);
    (dir, place)
}

/// Returns all files of a folder, their content, and their times of change. git's objects have no
/// time, because git renews it if it would have written the same again.
fn files(dir: &Path) -> BTreeMap<PathBuf, (i64, i64, String)> {
    let mut found = BTreeMap::new();
    for child in fs::read_dir(dir).unwrap() {
        let path = child.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => {
                let meta = fs::metadata(&path).unwrap();
                let (seconds, rest) = match path.components().any(|part| part.as_os_str() == "objects") {
                    true => (0, 0),
                    false => (meta.mtime(), meta.mtime_nsec()),
                };
                found.insert(path.clone(), (seconds, rest, digest::file(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn from_commit_to_commit_only_what_differs_is_written() {
    let (dir, place) = repository();
    let before = files(&place);
    let into = dir.path().join("build/source");
    let one = of_revision(&place, "HEAD~1", &Quiet).unwrap();
    one.check_out(&into, &Quiet).unwrap();
    let read = |file: &str| fs::read_to_string(into.join(file)).unwrap();
    assert_eq!((read("a"), read("b")), ("a\n".into(), "1\n".into()));
    let first = files(&into);

    let two = of_revision(&place, "HEAD", &Quiet).unwrap();
    assert_eq!((one.room(), one.id == two.id), (two.room(), false));
    two.check_out(&into, &Quiet).unwrap();
    let second = files(&into);
    let written: Vec<_> = second.iter().filter(|(path, fact)| first[*path] != **fact).collect();
    assert_eq!(written.len(), 1, "{written:?}");
    assert_eq!(read("b"), "2\n");

    // Changes by somebody else are undone.
    fs::write(into.join("a"), "other\n").unwrap();
    two.check_out(&into, &Quiet).unwrap();
    assert_eq!(read("a"), "a\n");
    assert!(files(&place) == before, "the repository is only read");
}

#[test]
fn a_revision_that_is_none_is_named() {
    let (_dir, place) = repository();
    for bad in ["nowhere", "--all", "HEAD:a"] {
        let error = of_revision(&place, bad, &Quiet).unwrap_err();
        assert!(matches!(&error, CacheError::Program { .. }), "{error}");
        assert!(error.to_string().contains(&format!("find {bad} in")), "{error}");
    }
}

#[test]
fn a_folder_is_what_is_in_it_now_but_not_what_git_ignores() {
    let (dir, place) = repository();
    let private = dir.path().join("private");
    let read = || of_folder(&place, &private, &Quiet).unwrap();
    let committed = read();
    assert_eq!(committed.id, of_revision(&place, "HEAD", &Quiet).unwrap().id);
    fs::write(place.join("b.o"), "product").unwrap();
    assert_eq!(read().id, committed.id);
    fs::write(place.join("b"), "mine\n").unwrap();
    fs::write(place.join("new"), "new\n").unwrap();
    // A git that was killed leaves this.
    let own = fs::read_dir(&private).unwrap().next().unwrap().unwrap().path();
    fs::write(own.join("folder.index.lock"), "").unwrap();
    let before = files(&place);
    let changed = read();
    assert_ne!(changed.id, committed.id);
    let into = dir.path().join("build/source");
    changed.check_out(&into, &Quiet).unwrap();
    assert_eq!(fs::read_to_string(into.join("b")).unwrap(), "mine\n");
    assert!(into.join("new").exists() && !into.join("b.o").exists());
    assert!(files(&place) == before, "the folder is only read");
}

/// The folder is like one unpacked from an archive.
/// The folder is like Debian's packages of the source: their own .gitignore hides all from git.
#[test]
fn a_folder_that_ignores_its_source_is_taken_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("linux");
    fs::create_dir_all(place.join("include/config")).unwrap();
    for (file, text) in [
        (".gitignore", "*.o\n/*\n!/debian/\n"),
        ("Makefile", "all:\n"),
        ("include/a.h", "a\n"),
        ("include/config/auto.conf", "a\n"),
        (".config", "CONFIG_A=y\n"),
        ("a.o", "o"),
    ] {
        fs::write(place.join(file), text).unwrap();
    }
    let taken = |into: &str| {
        let into = dir.path().join(into);
        let tree = of_folder(&place, &dir.path().join("private"), &Quiet).unwrap();
        tree.check_out(&into, &Quiet).unwrap();
        let below = |path: &PathBuf| path.strip_prefix(&into).unwrap().display().to_string();
        files(&into).keys().map(below).collect::<Vec<_>>()
    };
    assert_eq!(taken("one/source"), [".gitignore", "Makefile", "include/a.h"]);
    fs::write(place.join("b.c"), "b\n").unwrap();
    assert_eq!(taken("two/source"), [".gitignore", "Makefile", "b.c", "include/a.h"]);
}

/// git without s2lab's settings, which allow no protocol.
fn plainly(place: &Path, arguments: &[&str]) {
    let mut git = std::process::Command::new("git");
    git.args(arguments).current_dir(place).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let said = git.output().unwrap();
    assert!(said.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
}

/// A clone of a repository with the folders `mm`, `kvm` and `doc`, of which `mm` is checked out.
fn sparse_clone(dir: &Path, options: &[&str]) -> (PathBuf, String) {
    let place = dir.join("linux");
    for folder in ["mm", "kvm", "doc"] {
        fs::create_dir_all(place.join(folder)).unwrap();
        fs::write(place.join(folder).join("file"), folder).unwrap();
    }
    in_place(&place, &["init", "--quiet"]);
    in_place(&place, &["add", "--all"]);
    in_place(&place, &["commit", "--quiet", "-m", "one"]);
    in_place(&place, &["config", "uploadpack.allowFilter", "true"]);
    in_place(&place, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let from = format!("file://{}", place.display());
    plainly(dir, &[&["clone", "--quiet", "--sparse"], options, &[&from, "clone"]].concat());
    plainly(&dir.join("clone"), &["sparse-checkout", "set", "mm"]);
    (dir.join("clone"), of_revision(&place, "HEAD", &Quiet).unwrap().id)
}

#[test]
fn what_a_sparse_checkout_leaves_out_is_as_it_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (place, committed) = sparse_clone(dir.path(), &[]);
    let read = || of_folder(&place, &dir.path().join("private"), &Quiet).unwrap();
    assert!(!place.join("kvm").exists());
    assert_eq!(read().id, committed);
    // What was left out before is here now, and the other way round.
    plainly(&place, &["sparse-checkout", "set", "--sparse-index", "kvm"]);
    assert_eq!(read().id, committed);
    fs::write(place.join("kvm/file"), "mine").unwrap();
    let changed = read();
    assert_ne!(changed.id, committed);
    let into = dir.path().join("build/source");
    changed.check_out(&into, &Quiet).unwrap();
    let files =
        ["mm", "kvm", "doc"].map(|folder| fs::read_to_string(into.join(folder).join("file")).unwrap());
    assert_eq!(files, ["mm", "mine", "doc"]);
    plainly(&place, &["checkout", "--quiet", "."]);
    plainly(&place, &["sparse-checkout", "disable"]);
    fs::write(place.join("doc/file"), "mine").unwrap();
    assert_ne!(read().id, committed);
}

#[test]
fn a_partial_clone_is_told_what_it_lacks_and_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let (place, committed) = sparse_clone(dir.path(), &["--filter=blob:none"]);
    let as_it_is = || of_folder(&place, &dir.path().join("private"), &Quiet).unwrap();
    let commit = of_revision(&place, "HEAD", &Quiet).unwrap();
    assert_eq!((as_it_is().id, &commit.id), (committed.clone(), &committed));
    for tree in [as_it_is(), commit] {
        let error = tree.check_out(&dir.path().join("build/source"), &Quiet).unwrap_err();
        assert!(matches!(error, CacheError::Incomplete { missing: 2, .. }), "{error}");
        assert!(error.hint().unwrap().contains("fetch --refetch --no-filter"));
    }
    plainly(&place, &["fetch", "--quiet", "--refetch", "--no-filter"]);
    as_it_is().check_out(&dir.path().join("build/source"), &Quiet).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("build/source/doc/file")).unwrap(), "doc");
}

#[test]
fn a_folder_without_a_repository() {
    let (dir, place) = repository();
    let private = dir.path().join("private");
    let id = of_revision(&place, "HEAD", &Quiet).unwrap().id;
    fs::remove_dir_all(place.join(".git")).unwrap();
    let tree = of_folder(&place, &private, &Quiet).unwrap();
    assert_eq!(tree.id, id);
    tree.check_out(&dir.path().join("source"), &Quiet).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("source/b")).unwrap(), "2\n");
}
