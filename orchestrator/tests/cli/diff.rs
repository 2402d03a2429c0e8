//! `s2lab diff`: runs, reports, folders, cells and git revisions, compared.

use crate::{
    harness::Home,
    story::{Behaves, Story},
};
use s2lab_model::event::{Event, StopCause};
use s2lab_model::steps::{Observation, Reset};
use std::{fs, os::unix::fs::symlink};

const BEFORE: &str = "bar@debian-6.1";
const AFTER: &str = "bar@debian-6.12";
const REPORT: &str = "lab/reports/bar/debian-6.12.txt";

/// A home with the runs `old`, in which all is well, and `new`, both elsewhere.
fn runs(new: impl FnOnce(&Home) -> Story) -> Home {
    let home = Home::new();
    Story::well(&home.plan(&[])).write(&home.path("old"));
    new(&home).write(&home.path("new"));
    home
}

/// A home in which the reports of a good run are accepted and committed, as `main`.
fn repository() -> Home {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[])));
    assert!(home.command(&["accept", "-q"]).output().unwrap().status.success());
    home.program("git");
    git(&home, &["init", "-q", "-b", "main"]);
    commit(&home);
    home
}

fn git(home: &Home, arguments: &[&str]) {
    assert!(home.git("lab", arguments).status().unwrap().success(), "{arguments:?}");
}

fn commit(home: &Home) {
    git(home, &["add", "."]);
    git(home, &["commit", "-q", "-m", "reports"]);
}

fn other_method(event: &mut Event) {
    if let Event::Observed { data: Observation::Reset(Reset { method, .. }), .. } = event {
        *method = "flr".into();
    }
}

fn other_cpu(event: &mut Event) {
    if let Event::Environment { blocking, .. } = event {
        blocking.insert("cpu".into(), "max".into());
    }
}

#[test]
fn two_runs() {
    let home = runs(|home| {
        let story = Story::of(&home.plan(&[]), |_| Behaves::Before);
        let story = story.stopped("idle@debian-6.1", StopCause::Lab, "QEMU ended", None);
        story.edit(BEFORE, other_method).edit("idle@debian-6.12", other_cpu)
    });
    let mut session = home.session();
    assert_eq!(session.s2lab(&["diff", "../old", "../old"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["diff", "../old", "../new"]).status.code(), Some(5));
    session.note("a side that has only some of the cells");
    Story::well(&home.plan(&["idle"])).write(&home.path("some"));
    assert_eq!(session.s2lab(&["diff", "../old", "../some"]).status.code(), Some(5));
    session.check("diff-runs");
}

/// One sentence for all cells that have it.
/// They may explain a change, and are no change.
#[test]
fn facts_that_may_differ_are_in_one_line() {
    let variable = |facts: &'static [(&str, &str)]| {
        move |event: &mut Event| {
            if let Event::Environment { variable, .. } = event {
                variable.extend(facts.iter().map(|(name, value)| ((*name).into(), (*value).into())));
            }
        }
    };
    const LONG: &str = "16dfef0c3622fe13fb915c4b8eb22618bf1b1113d8fcdcc4cdb66dbf60378fd0";
    let home = Home::new();
    let well = || Story::well(&home.plan(&["*@debian-6.12"]));
    let old = variable(&[("factor", "2.9"), ("agent", "a"), ("host packages", LONG)]);
    well().edit(AFTER, old).edit("idle@debian-6.12", old).write(&home.path("old"));
    let new = [
        variable(&[("factor", "3.0"), ("agent", "b"), ("host packages", "other")]),
        variable(&[("factor", "3.1"), ("agent", "b"), ("host packages", "other"), ("room", "cold")]),
    ];
    well().edit(AFTER, new[0]).edit("idle@debian-6.12", new[1]).write(&home.path("new"));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["diff", "../old", "../new"]).status.code(), Some(0));
    session.s2lab(&["report", "../old"]);
    session.s2lab(&["diff", "../old/reports/bar@debian-6.12.txt", "../new"]);
    session.check("diff-variable");
    let output = home.command(&["diff", "../old", "../new", "--format", "json"]).output().unwrap();
    let diff: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let fact =
        |name: &str, old: Option<&str>, new: &str| serde_json::json!({"name": name, "old": old, "new": new});
    assert_eq!(
        diff["cells"][1]["variable"],
        serde_json::json!([
            fact("agent", Some("a"), "b"),
            fact("factor", Some("2.9"), "3.1"),
            fact("host packages", Some(LONG), "other"),
            fact("room", None, "cold"),
        ])
    );
    assert_eq!(diff["cells"][1]["result"], "same");
    let many: String = (0..40).map(|n| format!("  variable z{n:02} = x\n")).collect();
    let report = home.read("old/reports/bar@debian-6.12.txt");
    home.write("many.txt", report + &many);
    let output =
        home.command(&["diff", "../old/reports/bar@debian-6.12.txt", "../many.txt"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("z15: (not stated) -> x; and 24 more\n") && !text.contains("z16"), "{text}");
}

#[test]
fn equal_changes_are_grouped() {
    let home = runs(|home| {
        let story = Story::well(&home.plan(&[]));
        story.edit(BEFORE, other_method).edit(AFTER, other_method)
    });
    let mut session = home.session();
    session.s2lab(&["diff", "../old", "../new"]);
    session.check("diff-groups");
}

#[test]
fn what_is_not_comparable_is_refused() {
    let home = runs(|home| Story::well(&home.plan(&[])).edit(AFTER, other_cpu));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["diff", "../old", "../new"]).status.code(), Some(2));
    session.note("a difference elsewhere decides the exit code");
    Story::well(&home.plan(&[])).edit(AFTER, other_cpu).edit(BEFORE, other_method).write(&home.path("both"));
    assert_eq!(session.s2lab(&["diff", "../old", "../both"]).status.code(), Some(5));
    session.check("diff-not-comparable");
}

/// The names of cells are those of the latest run, and two kernels of a scenario compare.
#[test]
fn two_kernels() {
    let home = repository();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["diff", BEFORE, AFTER]).status.code(), Some(5));
    assert_eq!(session.s2lab(&["diff", AFTER, AFTER]).status.code(), Some(0));
    session.note("by their accepted reports");
    let (before, after) = ("reports/bar/debian-6.1.txt", "reports/bar/debian-6.12.txt");
    assert_eq!(session.s2lab(&["diff", before, after]).status.code(), Some(5));
    session.note("a cell chooses its accepted report in a folder");
    assert_eq!(session.s2lab(&["diff", "reports", AFTER]).status.code(), Some(0));
    session.note("two scenarios are two cells");
    assert_eq!(session.s2lab(&["diff", AFTER, "idle@debian-6.12"]).status.code(), Some(2));
    session.note("the scenario was another one");
    let text = home.read(REPORT);
    let cell = text.lines().find(|line| line.contains("blocking cell = ")).unwrap();
    home.write("other.txt", text.replace(cell, &format!("{}0000", &cell[..cell.len() - 4])));
    assert_eq!(session.s2lab(&["diff", before, "../other.txt"]).status.code(), Some(2));
    session.check("diff-kernels");
}

#[test]
fn git_revisions() {
    let home = repository();
    let text = home.read(REPORT);
    home.write(REPORT, text.replace("stage2 Normal-NC", "stage2 Device-nGnRE"));
    fs::remove_file(home.path("lab/reports/idle/debian-6.1.txt")).unwrap();
    git(&home, &["checkout", "-q", "-b", "work"]);
    commit(&home);
    let mut session = home.session();
    for arguments in [
        &["diff", "main..work"][..],
        &["diff", "main.."],
        &["diff", "..main"],
        &["diff", "HEAD~1", "HEAD"],
        &["diff", "main", "reports"],
        &["diff", "-q", "HEAD", "latest"],
    ] {
        assert_eq!(session.s2lab(arguments).status.code(), Some(5), "{arguments:?}");
    }
    assert_eq!(session.s2lab(&["diff", "work..HEAD"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["diff", "-q", "main", "latest"]).status.code(), Some(0));
    session.check("diff-git");
}

/// A commit comes from anybody, and so does the configuration of a clone.
#[test]
fn hostile_revisions() {
    let home = repository();
    let text = home.read(REPORT);
    home.write(REPORT, text.replace("report 2 ", "report 1 "));
    home.write("lab/reports/idle/debian-6.12.txt", vec![b'x'; (4 << 20) + 1]);
    fs::remove_file(home.path("lab/reports/idle/debian-6.1.txt")).unwrap();
    symlink("/etc/passwd", home.path("lab/reports/idle/debian-6.1.txt")).unwrap();
    home.write("lab/.gitattributes", "*.txt filter=x diff=x\n");
    commit(&home);
    for (name, value) in [
        ("core.fsmonitor", "touch started"),
        ("core.pager", "touch started"),
        ("core.hooksPath", "."),
        ("filter.x.smudge", "touch started"),
        ("diff.x.textconv", "touch started"),
        ("diff.external", "touch started"),
    ] {
        git(&home, &["config", name, value]);
    }
    let mut session = home.session();
    assert_eq!(session.s2lab(&["diff", "HEAD~1..HEAD"]).status.code(), Some(2));
    session.note("what looks like an option is a revision, and there is none");
    for revision in ["--output=started", "-c", "--exec=touch started", "HEAD^@", "HEAD:reports", ""] {
        let output = home.command(&["diff", "-q", "--", revision, "HEAD"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{revision}: {said}");
        assert!(said.contains("is not a path, a run, a cell") || said.contains("not a commit"), "{said}");
    }
    assert!(!home.tree("lab").iter().any(|name| name.contains("started")), "{:?}", home.tree("lab"));
    session.check("diff-hostile");
}

#[test]
fn what_is_no_side() {
    let home = Home::new();
    home.write("lab/file", "text");
    let mut session = home.session();
    for arguments in [
        &["diff"][..],
        &["diff", "reports"],
        &["diff", "main...work"],
        &["diff", "reports", "reports"],
        &["diff", "file", "file"],
        &["diff", "main", "latest"],
        &["diff", AFTER, AFTER],
    ] {
        assert_eq!(session.s2lab(arguments).status.code(), Some(2), "{arguments:?}");
    }
    session.note("not a repository");
    home.program("git");
    assert_eq!(session.s2lab(&["diff", "main..work"]).status.code(), Some(2));
    session.note("a cell that the latest run does not have, and a log that is torn");
    home.add_run(&Story::well(&home.plan(&["idle"])));
    assert_eq!(session.s2lab(&["diff", "-q", AFTER, AFTER]).status.code(), Some(2));
    Story::well(&home.plan(&["idle"])).write(&home.path("torn"));
    let log = fs::read(home.path("torn/events.jsonl")).unwrap();
    fs::write(home.path("torn/events.jsonl"), &log[..log.len() / 2]).unwrap();
    assert_eq!(session.s2lab(&["diff", "-q", "../torn", "latest"]).status.code(), Some(5));
    session.check("diff-no-side");
}

#[test]
fn as_json() {
    let home = runs(|home| {
        let plan = home.plan(&["bar", "idle@debian-6.1"]);
        Story::of(&plan, |_| Behaves::Before).edit(BEFORE, other_cpu)
    });
    let mut session = home.session();
    assert_eq!(session.s2lab(&["diff", "../old", "../new", "--format", "json"]).status.code(), Some(5));
    assert_eq!(session.s2lab(&["diff", "../old", "../new", "--format", "events"]).status.code(), Some(2));
    session.check("diff-json");
}

#[test]
fn a_bundle_is_a_side() {
    let home = runs(|home| Story::well(&home.plan(&[])).edit(BEFORE, other_method));
    let mut session = home.session();
    session.s2lab(&["bundle", "../new", "--out", "../new.tar.gz"]);
    assert_eq!(session.s2lab(&["diff", "../new.tar.gz", "../new"]).status.code(), Some(0));
    assert_eq!(session.s2lab(&["diff", "../old", "../new.tar.gz"]).status.code(), Some(5));
    session.note("a file that is neither");
    home.write("packed", b"\x1f\x8b\x08");
    assert_eq!(session.s2lab(&["diff", "../old", "../packed"]).status.code(), Some(2));
    session.check("diff-bundle");
}
