//! The run that a verb takes where none is named.

use crate::{
    harness::{Home, RUN},
    story::Story,
};
use s2lab_model::event::StopCause;
use std::fs;

const RAM_AFTER: &str = "idle@debian-6.12";
const LATER: &str = "20261122T160000.000Z-2";

#[test]
fn the_latest_run_is_that_of_the_lab_folder() {
    let home = Home::new();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(2));
    home.add_run(&Story::well(&home.plan(&["idle"])));
    assert!(home.command(&["init", "../other"]).status().unwrap().success());
    session.note("another lab folder has none, nor has the built-in one");
    for verb in [&["report"][..], &["check"], &["accept"], &["run", "--failed"]] {
        let arguments = [&["--lab", "../other"], verb].concat();
        assert_eq!(session.s2lab(&arguments).status.code(), Some(2), "{verb:?}");
    }
    session.keep("cd ..; s2lab report", home.command(&["report"]).current_dir(home.path("")));
    session.note("another lab folder has one that is newer");
    let failed = Story::well(&home.plan(&["idle"])).stopped(RAM_AFTER, StopCause::Lab, "QEMU ended", None);
    home.add_run_of(&home.path("other"), LATER, &failed);
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["--lab", "../other", "report"]).status.code(), Some(3));
    session.note("the folder is the same by whatever name");
    std::os::unix::fs::symlink(home.lab(), home.path("link")).unwrap();
    session.s2lab(&["--lab", "../link", "--quiet", "report"]);
    session.note("any run can be named");
    session.s2lab(&["report", LATER]);
    session.note("it is removed");
    fs::remove_dir_all(home.of_run("")).unwrap();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(2));
    session.check("latest");
}

#[test]
fn a_run_elsewhere_is_the_latest_too() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle"])));
    let mut session = home.session();
    session.s2lab(&["run", "--offline", "--out", "../out", "idle@debian-6.1"]);
    session.s2lab(&["report"]);
    session.s2lab(&["run", "--failed", "--dry-run"]);
    session.note("another lab folder's run is in its place");
    home.add_run_of(&home.path("elsewhere"), RUN, &Story::well(&home.plan(&["idle"])));
    fs::copy(home.of_run("events.jsonl"), home.path("out/events.jsonl")).unwrap();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(2));
    session.check("latest-out");
}
