//! The choice of the lab folder, and the places of s2lab's own files.

use crate::harness::Home;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

#[test]
fn the_lab_folder() {
    let home = Home::new();
    let other = home.path("other");
    home.write("other/images/kernels.yaml", home.read("lab/images/kernels.yaml"));
    home.write("other/scenarios/idle.yaml", home.read("lab/scenarios/idle.yaml"));
    fs::create_dir_all(home.path("lab/scenarios/deep/er")).unwrap();
    let mut session = home.session();
    session.keep(
        "cd scenarios/deep/er; s2lab list idle",
        home.command(&["list", "idle"]).current_dir(home.path("lab/scenarios/deep/er")),
    );
    session.s2lab(&["list", "--lab", "../other"]);
    session.s2lab(&["--lab", "../other", "lint"]);
    session.s2lab(&["list", "--lab", "scenarios"]);
    session.s2lab(&["list", "--lab", "../none"]);
    session.keep("S2LAB_DIR=../other s2lab list", home.command(&["list"]).env("S2LAB_DIR", &other));
    session.keep(
        "S2LAB_DIR=../other s2lab list --lab . idle",
        home.command(&["list", "--lab", ".", "idle"]).env("S2LAB_DIR", &other),
    );
    session.keep(
        "S2LAB_DIR=../none s2lab list idle",
        home.command(&["list", "idle"]).env("S2LAB_DIR", "../none"),
    );
    session.keep(
        "cd images; S2LAB_DIR= s2lab list idle",
        home.command(&["list", "idle"]).env("S2LAB_DIR", "").current_dir(home.path("lab/images")),
    );
    session.note("a file needs no lab to be checked");
    session.keep(
        "cd ..; s2lab lint lab/scenarios/idle.yaml",
        home.command(&["lint", "lab/scenarios/idle.yaml"]).current_dir(home.path("")),
    );
    session.check("lab-folder");
}

#[test]
fn without_a_home() {
    let home = Home::new();
    let mut session = home.session();
    let bare = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("XDG_STATE_HOME");
        command
    };
    session.keep("s2lab list idle", &mut bare(&["list", "idle"]));
    session.keep("s2lab run --offline", &mut bare(&["run", "--offline"]));
    session.keep("s2lab report", &mut bare(&["report"]));
    session.keep("HOME=not/absolute s2lab report", bare(&["report"]).env("HOME", "not/absolute"));
    session.keep("HOME=../home s2lab report", bare(&["report"]).env("HOME", home.path("home")));
    session.check("no-home");
}

/// The tests may run as root, whom permissions do not stop; a file in the folder's place stops
/// every user.
#[test]
fn a_state_folder_that_cannot_be_made() {
    let home = Home::new();
    fs::remove_dir(home.path("state")).unwrap();
    home.write("state", "");
    let mut session = home.session();
    assert_eq!(session.s2lab(&["run", "--offline"]).status.code(), Some(3));
    session.s2lab(&["report"]);
    session.check("no-state");
    assert_eq!(home.tree("cache"), Vec::<String>::new());
}

#[test]
fn a_cache_folder_that_cannot_be_made() {
    let home = Home::new();
    fs::remove_dir(home.path("cache")).unwrap();
    home.write("cache", "");
    let mut session = home.session();
    let out = home.path("out");
    let arguments = ["run", "--offline", "idle@debian-6.1", "--out", out.to_str().unwrap()];
    assert_eq!(
        session
            .keep("s2lab run --offline idle@debian-6.1 --out ../out", &mut home.command(&arguments))
            .status
            .code(),
        Some(3)
    );
    session.s2lab(&["report", "../out"]);
    session.check("no-cache");
}

/// The cache's notes can be made again; half a note is not taken for a whole one.
#[test]
fn a_store_whose_memory_is_torn() {
    let home = Home::new();
    home.write("cache/s2lab/objects/resolved.json", "{\"QEMU for amd64");
    let mut session = home.session();
    assert_eq!(session.s2lab(&["run", "--offline", "idle"]).status.code(), Some(3));
    session.check_runs("torn-memory");
}

fn open_to(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Folders that s2lab makes for itself are closed to others, whatever the umask.
#[test]
fn folders_of_s2labs_own_are_closed() {
    let home = Home::new();
    for folder in ["cache", "state"] {
        fs::remove_dir(home.path(folder)).unwrap();
    }
    let run = home.command(&["run", "--offline", "idle"]);
    let mut open = std::process::Command::new("/bin/sh");
    open.args(["-c", "umask 0; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    open.current_dir(run.get_current_dir().unwrap());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => open.env(name, value),
            None => open.env_remove(name),
        };
    }
    open.output().unwrap();
    let folders: Vec<PathBuf> =
        home.tree("cache").iter().map(|below| home.path("cache").join(below)).collect();
    let made = folders.into_iter().filter(|path| path.is_dir()).chain([home.path("cache")]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let modes: Vec<_> = made.map(|path| format!("{:o} {}", mode(&path), path.display())).collect();
    assert!(modes.len() >= 3 && modes.iter().all(|line| line.starts_with("700 ")), "{modes:#?}");
}

/// Folders that others may write to may contain anything. The mode of an existing folder is not
/// changed.
#[test]
fn folders_that_others_may_write_to() {
    let home = Home::new();
    let mut session = home.session();
    for (folder, mode, arguments) in [
        ("cache/s2lab", 0o777, vec!["cache", "list"]),
        ("cache/s2lab", 0o755, vec!["cache", "list"]),
        ("state/s2lab", 0o775, vec!["report"]),
        ("state/s2lab", 0o1777, vec!["run", "--offline", "idle"]),
        ("lab/out", 0o707, vec!["run", "--offline", "idle", "--out", "out"]),
    ] {
        fs::create_dir_all(home.path(folder)).unwrap();
        open_to(&home.path(folder), mode);
        session.note(&format!("chmod {mode:o} {folder}"));
        session.s2lab(&arguments);
        assert_eq!(fs::metadata(home.path(folder)).unwrap().permissions().mode() & 0o7777, mode);
        open_to(&home.path(folder), 0o700);
    }
    session.check("open-to-others");
}

/// Only root can give a file away.
#[test]
fn a_lab_folder_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new();
    fs::create_dir(home.path("lab/work")).unwrap();
    std::os::unix::fs::chown(home.lab(), Some(65534), None).unwrap();
    let mut session = home.session();
    for arguments in
        [&["list", "idle"][..], &["run", "--offline"], &["lint"], &["list", "--lab", "..", "idle"]]
    {
        session.keep(
            &format!("cd work; s2lab {}", arguments.join(" ")),
            home.command(arguments).current_dir(home.path("lab/work")),
        );
    }
    session.keep(
        "cd work; SUDO_UID=65534 s2lab list idle",
        home.command(&["list", "idle"]).env("SUDO_UID", "65534").current_dir(home.path("lab/work")),
    );
    session.check("foreign-lab");
}
