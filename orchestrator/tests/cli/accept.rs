//! `s2lab accept`.

use crate::{
    harness::Home,
    story::{Behaves, Story},
};
use s2lab_model::event::StopCause;
use std::fs;

const BAR_BEFORE: &str = "bar@debian-6.1";
const BAR_AFTER: &str = "bar@debian-6.12";
const RAM_BEFORE: &str = "idle@debian-6.1";
const RAM_AFTER: &str = "idle@debian-6.12";

#[test]
fn all_and_one_by_one() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[])));
    let mut session = home.session();
    session.s2lab(&["accept", BAR_AFTER]);
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(5));
    session.s2lab(&["accept"]);
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(0));
    session.s2lab(&["accept", BAR_AFTER, RAM_BEFORE]);
    session.check("accept");
    let shown = home.command(&["report", "--cell", BAR_AFTER]).output().unwrap();
    assert_eq!(home.read("lab/reports/bar/debian-6.12.txt"), String::from_utf8(shown.stdout).unwrap());
    assert_eq!(
        home.tree("lab/reports"),
        [
            "bar/",
            "bar/debian-6.1.txt",
            "bar/debian-6.12.txt",
            "idle/",
            "idle/debian-6.1.txt",
            "idle/debian-6.12.txt"
        ]
    );
}

#[test]
fn a_key_that_is_not_there_accepts_nothing() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[])));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["accept", BAR_AFTER, "idle@debian-6.2"]).status.code(), Some(2));
    session.check("accept-unknown");
    assert_eq!(home.tree("lab/reports"), Vec::<String>::new());
}

/// A result of the kernel can be accepted, even a failure. A result of the lab cannot: otherwise
/// the lab's next failure would count as "same".
#[test]
fn what_a_person_may_accept() {
    let home = Home::new();
    let cells = home.plan(&["*", "idle@upstream", "bar@upstream"]);
    home.add_run(
        &Story::of(&cells, |_| Behaves::Before)
            .stopped(RAM_BEFORE, StopCause::Timeout, "no answer for 90 s", None)
            .stopped(RAM_AFTER, StopCause::Lab, "QEMU ended (signal 9)", None)
            .stopped("bar@upstream", StopCause::Scenario, "no such device", None)
            .stopped("idle@upstream", StopCause::Lacking, "no /dev/kvm in the host", None),
    );
    let mut session = home.session();
    session.s2lab(&["report"]);
    assert_eq!(session.s2lab(&["accept"]).status.code(), Some(3));
    assert_eq!(session.s2lab(&["accept", BAR_AFTER]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["accept", RAM_AFTER]).status.code(), Some(3));
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(5));
    session.check("accept-what");
}

#[test]
fn a_run_without_an_end() {
    let home = Home::new();
    let mut session = home.session();
    let cells = home.plan(&[]);
    home.add_run(&Story::well(&cells).interrupted(BAR_AFTER, "SIGTERM"));
    session.note("interrupted");
    assert_eq!(session.s2lab(&["accept"]).status.code(), Some(3));
    session.s2lab(&["accept", RAM_BEFORE]);
    session.s2lab(&["accept", BAR_BEFORE]);
    session.note("lost");
    home.add_run(&Story::well(&cells).torn_after(BAR_AFTER, 3));
    assert_eq!(session.s2lab(&["accept"]).status.code(), Some(3));
    session.check("accept-no-end");
}

#[test]
fn where_nothing_can_be_written() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle"])));
    home.command(&["accept", RAM_BEFORE]).status().unwrap();
    home.write(
        "lab/reports/idle/debian-6.1.txt",
        home.read("lab/reports/idle/debian-6.1.txt").replace("PASS", "FAIL"),
    );
    let before = (home.tree("lab/reports"), home.read("lab/reports/idle/debian-6.1.txt"));
    let mut session = home.session();
    let full = "trap '' XFSZ; ulimit -f 0; s2lab accept 2>&1 | /bin/cat; exit ${PIPESTATUS[0]}";
    assert_eq!(session.shell(full).status.code(), Some(3));
    session.check("accept-unwritable");
    assert_eq!((home.tree("lab/reports"), home.read("lab/reports/idle/debian-6.1.txt")), before);
}

#[test]
fn globs_and_cells_that_the_lab_does_not_have() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[])));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["accept", "bar@*6.1"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["accept", "bar*", "far*"]).status.code(), Some(2));
    session.note("the scenario was a file that lies elsewhere");
    fs::rename(home.path("lab/scenarios/idle.yaml"), home.path("idle.yaml")).unwrap();
    assert_eq!(session.s2lab(&["accept"]).status.code(), Some(2));
    session.note("so was the kernel");
    let kernels = home.read("lab/images/kernels.yaml").replace("debian-6.12", "debian-6.13");
    home.write("lab/images/kernels.yaml", kernels);
    fs::remove_dir_all(home.path("lab/reports")).unwrap();
    assert_eq!(session.s2lab(&["accept", "bar*"]).status.code(), Some(2));
    session.check("accept-globs");
}
