//! Repositories whose configuration names programs: none of them is started.

use super::*;
use crate::progress::Quiet;
use std::os::unix::fs::PermissionsExt;

/// The output of every program.
const SIGN: &str = "STARTED";

/// A shell's command that leaves the sign in `dir`.
fn sign(dir: &Path) -> String {
    format!("sh -c 'touch {}' #", dir.join(SIGN).display())
}

/// Names a program wherever git may start one.
fn arm(dir: &Path, place: &Path) {
    let hooks = dir.join("hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in ["post-index-change", "post-checkout", "reference-transaction", "fsmonitor-watchman"] {
        for file in [hooks.join(hook), place.join(".git/hooks").join(hook)] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, format!("#!/bin/sh\n{}\n", sign(dir))).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let (sign, hooks) = (sign(dir), hooks.display().to_string());
    for (name, value) in [
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", "ssh://x/y"),
        ("remote.origin.uploadpack", &sign),
        ("protocol.allow", "always"),
        ("protocol.ssh.allow", "always"),
        ("protocol.ext.allow", "always"),
        ("core.sshCommand", &sign),
        ("core.gitProxy", &sign),
        ("core.fsmonitor", &sign),
        ("core.hooksPath", &hooks),
        ("core.pager", &sign),
        ("core.editor", &sign),
        ("core.askPass", &sign),
        ("core.alternateRefsCommand", &sign),
        ("credential.helper", &sign),
        ("gpg.program", &sign),
        ("log.showSignature", "true"),
        ("diff.external", &sign),
        ("diff.x.textconv", &sign),
        ("diff.x.command", &sign),
        ("filter.x.clean", &sign),
        ("filter.x.smudge", &sign),
        ("filter.x.process", &sign),
        ("alias.log", &format!("!{sign}")),
        ("alias.rev-parse", &format!("!{sign}")),
    ] {
        in_place(place, &["config", name, value]);
    }
    fs::write(place.join(".git/info/attributes"), "* filter=x diff=x\n").unwrap();
}

fn armed() -> (tempfile::TempDir, PathBuf) {
    let (dir, place) = repository();
    fs::write(place.join(".gitattributes"), "* filter=x diff=x\n").unwrap();
    in_place(&place, &["add", "--all"]);
    in_place(&place, &["commit", "--quiet", "-m", "three"]);
    arm(dir.path(), &place);
    (dir, place)
}

fn nothing_was_started(dir: &Path) {
    assert!(!dir.join(SIGN).exists());
}

#[test]
fn reading_a_repository_starts_no_program_of_its_own() {
    let (dir, place) = armed();
    let tree = of_revision(&place, "HEAD", &Quiet).unwrap();
    nothing_was_started(dir.path());
    tree.check_out(&dir.path().join("one/source"), &Quiet).unwrap();
    nothing_was_started(dir.path());
    let range = s2lab_model::plan::Revisions::Range("HEAD~2..HEAD".into());
    assert_eq!(crate::revisions::commits(&place, &range).unwrap().len(), 2);
    nothing_was_started(dir.path());
    let private = dir.path().join("private");
    for at in ["two", "three"] {
        fs::write(place.join("b"), at).unwrap();
        let folder = of_folder(&place, &private, &Quiet).unwrap();
        folder.check_out(&dir.path().join(at).join("source"), &Quiet).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(at).join("source/b")).unwrap(), at);
        nothing_was_started(dir.path());
    }
}

#[test]
fn objects_that_are_missing_are_not_fetched() {
    let (dir, place) = armed();
    let blob = of_revision(&place, "HEAD", &Quiet).unwrap();
    let objects = place.join(".git/objects");
    for object in files(&objects).into_keys().filter(|path| path.is_file()) {
        fs::remove_file(object).unwrap();
    }
    blob.check_out(&dir.path().join("one/source"), &Quiet).unwrap_err();
    of_revision(&place, "HEAD", &Quiet).unwrap_err();
    let one = s2lab_model::plan::Revisions::One("HEAD".into());
    crate::revisions::commits(&place, &one).unwrap_err();
    let _ = of_folder(&place, &dir.path().join("private"), &Quiet);
    nothing_was_started(dir.path());
}

/// git looks into a repository inside of a tree, with that repository's configuration, once it has
/// it in its index.
#[test]
fn a_repository_inside_of_the_tree_starts_nothing() {
    let (dir, place) = repository();
    let (inner_dir, inner) = armed();
    fs::rename(&inner, place.join("inner")).unwrap();
    let inner = place.join("inner");
    arm(dir.path(), &inner);
    for content in ["x", "yy", "zzz"] {
        fs::write(inner.join("a"), content).unwrap();
        of_folder(&place, &dir.path().join("private"), &Quiet).unwrap();
        nothing_was_started(dir.path());
        nothing_was_started(inner_dir.path());
    }
}

#[test]
fn what_the_repository_itself_ignores_is_left_out() {
    let (dir, place) = repository();
    let private = dir.path().join("private");
    let before = of_folder(&place, &private, &Quiet).unwrap();
    fs::create_dir_all(place.join(".git/info")).unwrap();
    fs::write(place.join(".git/info/exclude"), "new\n").unwrap();
    fs::write(place.join("new"), "x").unwrap();
    assert_eq!(of_folder(&place, &private, &Quiet).unwrap().id, before.id);
    fs::write(place.join(".git/info/exclude"), "").unwrap();
    assert_ne!(of_folder(&place, &private, &Quiet).unwrap().id, before.id);
}

#[test]
fn a_repository_of_sha_256_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("linux");
    fs::create_dir(&place).unwrap();
    let private = dir.path().join("private");
    fs::write(place.join("a"), "a\n").unwrap();
    assert_eq!(of_folder(&place, &private, &Quiet).unwrap().id.len(), 40);
    in_place(&place, &["init", "--quiet", "--object-format=sha256"]);
    in_place(&place, &["add", "--all"]);
    in_place(&place, &["commit", "--quiet", "-m", "one"]);
    let folder = of_folder(&place, &private, &Quiet).unwrap();
    assert_eq!((folder.id.len(), &folder.id), (64, &of_revision(&place, "HEAD", &Quiet).unwrap().id));
    folder.check_out(&dir.path().join("build/source"), &Quiet).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("build/source/a")).unwrap(), "a\n");
}
