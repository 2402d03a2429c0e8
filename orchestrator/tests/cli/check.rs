//! `s2lab check`.

use crate::{
    harness::Home,
    story::{Behaves, Story},
};
use s2lab_model::event::{Event, StopCause};
use s2lab_model::steps::{Observation, Reset};
use std::fs;

const BAR_AFTER: &str = "bar@debian-6.12";
const RAM_BEFORE: &str = "idle@debian-6.1";
const RAM_AFTER: &str = "idle@debian-6.12";

/// Returns a home in which the reports of a good run are accepted.
fn accepted() -> Home {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[])));
    assert!(home.command(&["accept"]).status().unwrap().success());
    home
}

fn variable(name: &'static str, value: &'static str) -> impl Fn(&mut Event) {
    move |event| {
        if let Event::Environment { variable, .. } = event {
            variable.insert(name.into(), value.into());
        }
    }
}

#[test]
fn as_accepted() {
    let home = accepted();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(0));
    session.note("another kernel, which shapes its tables differently");
    let moved = |event: &mut Event| match event {
        Event::HostUp { release, .. } => *release = "6.12.58+deb12-cloud-arm64".into(),
        Event::Observed { data: Observation::Reset(Reset { method, .. }), .. } => *method = "flr".into(),
        other => variable("kernel image", "sha256:bb")(other),
    };
    home.add_run(&Story::well(&home.plan(&[])).edit(BAR_AFTER, moved));
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(0));
    session.s2lab(&["report"]);
    session.check("check-same");
}

/// The report was accepted when each store had a throughput.
#[test]
fn an_accepted_report_with_throughputs_is_the_same() {
    let home = accepted();
    let file = "lab/reports/bar/debian-6.12.txt";
    let text = home.read(file);
    assert!(text.contains("\n[numbers]\n[environment]\n"), "{text}");
    let store = "step 0  store g0 nic wc 8 B  n 1  median 1000 MB/s  min 1000  max 1000";
    let before = text.replace("[numbers]\n", &format!("[numbers]\n  emulated, never decide\n  {store}\n"));
    home.write(file, &before);
    for (verb, same) in [("check", "same            bar@debian-6.12\n"), ("report", "same as accepted")] {
        let output = home.command(&[verb]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains(same), "{verb}: {said}");
    }
    // It is not written again without need.
    assert!(home.command(&["accept"]).status().unwrap().success());
    assert_eq!(home.read(file), before);
    // What differs is named, and numbers are no part of it.
    home.write(file, before.replacen("PASS as wc-honoured", "FAIL", 1));
    let output = home.command(&["check", "--text"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("PASS as wc-honoured") && !said.contains("MB/s"), "{said}");
}

#[test]
fn not_as_accepted() {
    let home = accepted();
    let mut session = home.session();
    home.add_run(
        &Story::of(&home.plan(&[]), |_| Behaves::Before).edit(BAR_AFTER, variable("qemu", "11.0.0")),
    );
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(5));
    session.note("the reports line by line");
    assert_eq!(session.s2lab(&["check", "--text"]).status.code(), Some(5));
    session.note("the CPU model is another one");
    let cpu = |event: &mut Event| {
        if let Event::Environment { blocking, .. } = event {
            blocking.insert("cpu".into(), "max".into());
        }
    };
    home.add_run(&Story::well(&home.plan(&["idle"])).edit(RAM_AFTER, cpu));
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(5));
    session.note("a cell of which nothing was accepted");
    home.add_run(&Story::well(&home.plan(&["idle", "idle@upstream"])));
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(5));
    session.s2lab(&["report"]);
    session.note("a cell that never began");
    home.add_run(&Story::well(&home.plan(&["idle"])).only(RAM_AFTER, |_| false));
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(5));
    session.note("the scenario is gone");
    fs::remove_file(home.path("lab/scenarios/bar.yaml")).unwrap();
    home.add_run(&Story::well(&home.plan(&["idle"])));
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(5));
    session.check("check-different");
}

/// Accepted reports are files in git, where people merge them.
#[test]
fn accepted_reports_that_cannot_be_read() {
    let home = accepted();
    let mut session = home.session();
    let path = "lab/reports/idle/debian-6.1.txt";
    home.write(path, home.read(path).replace("[witnesses]", "<<<<<<< HEAD\n[witnesses]"));
    home.write("lab/reports/idle/debian-6.12.txt", b"\xff");
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(5));
    session.note("the run is shown nevertheless");
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(0));
    session.note("accepting again mends it");
    session.s2lab(&["accept"]);
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(0));
    session.check("check-unreadable");
}

/// A lab failure shows nothing about the kernel, so it is not "same".
#[test]
fn a_run_in_which_the_lab_failed() {
    let home = accepted();
    let mut session = home.session();
    let plan = home.plan(&["idle"]);
    home.add_run(&Story::well(&plan).stopped(RAM_BEFORE, StopCause::Lab, "QEMU ended", None));
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(5));
    session.check("check-miss");
}

#[test]
fn files_beside_the_reports() {
    let home = accepted();
    home.write("lab/reports/README.md", "What these are.");
    home.write("lab/reports/idle/notes.md", "About them.");
    home.write("lab/reports/idle/.debian-6.1.txt.half-17", "half");
    let mut session = home.session();
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(0));
    session.check("check-beside");
}
