//! Which lab folder is taken, and where s2lab's own files go.

use crate::harness::Home;
use std::fs;

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

/// The tests may run as root, whom permissions do not stop; a file where the folder should be stops anyone.
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

/// What a store remembers can be asked for again; half of it is not taken for whole.
#[test]
fn a_store_whose_memory_is_torn() {
    let home = Home::new();
    home.write("cache/s2lab/store/resolved.json", "{\"QEMU for amd64");
    let mut session = home.session();
    assert_eq!(session.s2lab(&["run", "--offline", "idle"]).status.code(), Some(3));
    session.check_runs("torn-memory");
}
