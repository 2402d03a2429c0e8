//! `s2lab review`, and the commands that it prints.

use crate::{
    harness::{Home, Session},
    story::{Behaves, Story},
    terminal::Terminal,
};
use s2lab_model::{
    event::{Event, StopCause},
    steps::{Observation, Reset},
};
use std::fs;

const BAR_BEFORE: &str = "bar@debian-6.1";
const BAR_AFTER: &str = "bar@debian-6.12";
const RAM_BEFORE: &str = "idle@debian-6.1";
const RAM_AFTER: &str = "idle@debian-6.12";
const QUESTION: &str = "q quit > ";

fn well(home: &Home) -> Story {
    Story::well(&home.plan(&[]))
}

/// Returns a home in which the reports of a good run are accepted.
fn accepted() -> Home {
    let home = Home::new();
    home.add_run(&well(&home));
    assert!(home.command(&["accept"]).status().unwrap().success());
    home
}

/// Another reset of the device: the shape, and nothing else.
fn other_reset(event: &mut Event) {
    if let Event::Observed { data: Observation::Reset(Reset { method, .. }), .. } = event {
        *method = "flr".into();
    }
}

/// Another image of the kernel.
fn other_image(event: &mut Event) {
    if let Event::Environment { variable, .. } = event {
        variable.insert("kernel image".into(), "sha256:bb".into());
    }
}

fn other_cpu(event: &mut Event) {
    if let Event::Environment { blocking, .. } = event {
        blocking.insert("cpu".into(), "max".into());
    }
}

/// Makes a home with a run of which each cell differs from its accepted report in a way of its own,
/// but two, which are alike.
fn differing() -> Home {
    let home = accepted();
    let cells = home.plan(&["bar", "idle", "bar@upstream", "idle@upstream"]);
    home.add_run(&Story::well(&cells));
    assert!(home.command(&["accept", "bar@upstream"]).status().unwrap().success());
    let behaves = |cell: &s2lab_model::event::PlannedCell| match cell.key.as_str() {
        BAR_AFTER => Behaves::Before,
        _ => Behaves::as_declared(cell),
    };
    home.add_run(
        &Story::of(&cells, behaves)
            .edit(BAR_BEFORE, other_reset)
            .edit("bar@upstream", other_reset)
            .edit("bar@upstream", other_image)
            .edit(RAM_BEFORE, other_cpu)
            .stopped(RAM_AFTER, StopCause::Lab, "QEMU ended", None),
    );
    home
}

/// Types each answer when s2lab asks, and returns the screen and the exit code.
fn answered(home: &Home, answers: &[&str]) -> (String, Option<i32>) {
    let mut terminal = Terminal::start(home, &["review"]);
    for answer in answers {
        terminal.wait_for(QUESTION);
        terminal.enter(answer);
    }
    let (screen, status) = terminal.finish();
    (home.stable(&screen), status.code())
}

fn check(home: &Home) -> Option<i32> {
    home.command(&["check"]).output().unwrap().status.code()
}

/// Returns all accepted reports.
fn reports(home: &Home) -> Vec<(String, String)> {
    let files = home.tree("lab/reports").into_iter().filter(|path| path.ends_with(".txt"));
    files.map(|path| (path.clone(), home.read(&format!("lab/reports/{path}")))).collect()
}

#[test]
fn without_a_terminal_it_prints_the_commands() {
    let home = differing();
    let before = reports(&home);
    let mut session = home.session();
    assert_eq!(session.s2lab(&["review"]).status.code(), Some(5));
    assert_eq!(session.s2lab(&["review", "-q", "--format", "json"]).status.code(), Some(5));
    assert!(reports(&home) == before);
    session.note("the commands");
    assert_eq!(session.s2lab(&["accept", "-q", "--shape"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["accept", "-q", "--like", BAR_AFTER]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["accept", "-q", "--like", RAM_BEFORE]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["review", "-q"]).status.code(), Some(5));
    session.check("review");
}

#[test]
fn nothing_to_review() {
    let home = accepted();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["review"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["review", "-q", "--format", "json"]).status.code(), Some(0));
    session.note("a shape that has moved is fine for `check`, and may be accepted");
    let moved = well(&home).edit(BAR_AFTER, other_reset).edit(BAR_AFTER, other_image);
    home.tell_as("another", &moved);
    let run = home.path("state/s2lab/runs/another");
    let lab = home.lab();
    let arguments = ["review", run.to_str().unwrap(), "--lab", lab.to_str().unwrap()];
    assert_eq!(session.s2lab(&arguments).status.code(), Some(0));
    session.note("a report without its cell");
    fs::remove_file(home.path("lab/scenarios/idle.yaml")).unwrap();
    home.add_run(&Story::well(&home.plan(&["bar"])));
    assert_eq!(session.s2lab(&["review"]).status.code(), Some(5));
    session.check("review-nothing");
}

#[test]
fn cells_that_are_alike() {
    let home = accepted();
    let mut session = home.session();
    let flr = well(&home).edit(BAR_BEFORE, other_reset).edit(BAR_AFTER, other_reset);
    home.add_run(&flr.stopped(RAM_AFTER, StopCause::Lab, "QEMU ended", None));
    let like =
        |session: &mut Session<'_>, key: &str| session.s2lab(&["accept", "-q", "--like", key]).status.code();
    assert_eq!(like(&mut session, BAR_AFTER), Some(0));
    assert_eq!(like(&mut session, BAR_AFTER), Some(0));
    session.note("nothing can be like it");
    assert_eq!(like(&mut session, RAM_AFTER), Some(3));
    assert_eq!(like(&mut session, "bar@debian-6.2"), Some(2));
    assert_eq!(session.s2lab(&["accept", "-q", "--shape"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["accept", "--like", BAR_AFTER, "idle*"]).status.code(), Some(2));
    assert_eq!(session.s2lab(&["accept", "--like", BAR_AFTER, "--shape"]).status.code(), Some(2));
    assert_eq!(session.s2lab(&["accept", "--shape", "idle*"]).status.code(), Some(2));
    session.note("a cell that the lab does not have");
    home.add_run(&well(&home));
    fs::rename(home.path("lab/scenarios/bar.yaml"), home.path("bar.yaml")).unwrap();
    assert_eq!(like(&mut session, BAR_AFTER), Some(2));
    session.check("accept-alike");
}

/// Both have changed, each in its own way.
#[test]
fn cells_that_differ_otherwise_are_not_accepted() {
    let home = accepted();
    let before = reports(&home);
    home.add_run(&Story::of(&home.plan(&["bar"]), |cell| match cell.key.as_str() {
        BAR_AFTER => Behaves::Before,
        _ => Behaves::After,
    }));
    // What is to be accepted cannot be printed, so nothing is.
    let full = home.shell(&format!("s2lab accept --like {BAR_AFTER} > /dev/full")).output().unwrap();
    assert_eq!(full.status.code(), Some(3));
    assert!(reports(&home) == before);
    let output = home.command(&["accept", "--like", BAR_AFTER]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("1 cell: verdict: PASS as wc-honoured became FAIL\n"), "{text}");
    let changed = before.iter().zip(reports(&home)).filter(|(old, new)| **old != *new);
    assert_eq!(changed.map(|(old, _)| old.0.as_str()).collect::<Vec<_>>(), ["bar/debian-6.12.txt"]);
}

/// The whole conversation: a diff, an acceptance, a rejection, a slip, and Ctrl-C.
#[test]
fn a_person_decides_at_a_terminal() {
    let home = differing();
    let before = reports(&home);
    let (screen, code) = answered(&home, &["yes\n", "d\n", "a\n", "d idle@debian-6.1\n", "r\n", "\x03"]);
    assert_eq!(code, Some(130));
    insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("review-terminal", screen.replace(crate::harness::RUN, "RUN"));
    });
    let after = reports(&home);
    let changed: Vec<_> =
        before.iter().zip(&after).filter(|(old, new)| old != new).map(|(old, _)| &old.0).collect();
    assert_eq!(changed, ["bar/debian-6.12.txt"]);
    assert_eq!(before.len(), after.len());
}

#[test]
fn the_exit_code_is_that_of_what_is_left() {
    let home = accepted();
    let flr = |home: &Home| well(home).edit(BAR_BEFORE, other_reset).edit(BAR_AFTER, other_image);
    let shape = |home: &Home| home.add_run(&flr(home).edit(BAR_AFTER, other_reset));
    shape(&home);
    for (answers, last) in [
        (&["r\n"][..], "rejected: 2 cells, bar@debian-6.1, bar@debian-6.12"),
        (&["s\n"], "skipped: 2 cells, bar@debian-6.1, bar@debian-6.12"),
        (&["q\n"], "not decided: 2 cells, bar@debian-6.1, bar@debian-6.12"),
        // Ctrl-D is the end of input.
        (&["\x04"], "not decided: 2 cells, bar@debian-6.1, bar@debian-6.12"),
    ] {
        let (screen, code) = answered(&home, answers);
        assert_eq!((screen.lines().last(), code), (Some(last), Some(5)));
        assert_eq!(check(&home), Some(5));
    }
    let (screen, code) = answered(&home, &["accept\n"]);
    assert!(screen.ends_with("\naccepted: 2 cells, bar@debian-6.1, bar@debian-6.12\n"), "{screen}");
    assert_eq!((code, check(&home)), (Some(0), Some(0)));
    // A failure of the lab is left, whatever is accepted.
    let cells = home.plan(&["idle", "idle@upstream"]);
    home.add_run(&Story::well(&cells).stopped(RAM_AFTER, StopCause::Lab, "QEMU ended", None));
    let (screen, code) = answered(&home, &["a\n"]);
    let failed = "\nidle@debian-6.12: cannot be accepted, the lab failed (MISS): nothing to compare\n";
    assert!(screen.contains(failed), "{screen}");
    assert_eq!(code, Some(5));
}

/// A signal other than Ctrl-C's, and `kill -9`: whatever was accepted is whole, the rest is as it was,
/// and the next review has it.
#[test]
fn killed_between_two_acceptances() {
    let home = differing();
    let before = reports(&home);
    let mut terminal = Terminal::start(&home, &["review"]);
    terminal.wait_for(QUESTION);
    terminal.enter("a\n");
    terminal.wait_for(QUESTION);
    terminal.kill();
    let (screen, status) = terminal.finish();
    assert_eq!(status.code(), None);
    assert!(screen.contains("bar@debian-6.12: accepted, reports/bar/debian-6.12.txt\n"), "{screen}");
    let shown = home.command(&["report", "--cell", BAR_AFTER]).output().unwrap();
    assert_eq!(home.read("lab/reports/bar/debian-6.12.txt"), String::from_utf8(shown.stdout).unwrap());
    let differ = before.iter().zip(reports(&home)).filter(|(old, new)| **old != *new).count();
    assert_eq!((differ, before.len()), (1, reports(&home).len()));
    let rest = home.command(&["review"]).output().unwrap();
    let rest = String::from_utf8(rest.stdout).unwrap();
    assert!(rest.starts_with("group 1 of 3: ") && !rest.contains(BAR_AFTER), "{rest}");
}

/// A failed write ends the review; the summary has what was accepted before.
#[test]
fn where_nothing_can_be_written() {
    let home = accepted();
    home.add_run(&well(&home).edit(BAR_BEFORE, other_reset).edit(RAM_AFTER, other_cpu));
    fs::rename(home.path("lab/reports/bar"), home.path("bar")).unwrap();
    std::os::unix::fs::symlink(home.path("bar"), home.path("lab/reports/bar")).unwrap();
    let (screen, code) = answered(&home, &["a\n", "a\n"]);
    assert_eq!(code, Some(2));
    assert!(
        screen.contains("accepted: 1 cell, idle@debian-6.12\nnot decided: 1 cell, bar@debian-6.1\n"),
        "{screen}"
    );
    assert!(screen.contains("is a link; s2lab writes only below"), "{screen}");
}
