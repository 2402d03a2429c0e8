//! `--qemu`: its words and files, and cells with the axis in their keys.

use crate::{
    harness::{Home, RUN},
    story::Story,
};
use std::fs;

const KEY: &str = "bar@debian-6.12+qemu=newest";

#[test]
fn words_make_keys_and_a_file_does_not() {
    let home = Home::new();
    home.write("lab/newest", "");
    let mut session = home.session();
    for arguments in [
        &["--qemu", "default"][..],
        &["bar", "--qemu", "newest"],
        &["bar@debian-6.12", "--qemu", "default,newest"],
        &["bar@debian-6.12", "--qemu", "newest", "--qemu", "default"],
        &[KEY],
        &["*@debian-6.12+*"],
        &["scenarios/bar.yaml", "--qemu", "newest", "--kernel", "upstream"],
        &["bar@debian-6.12", "--qemu", "./newest"],
        &["*", "--qemu", "default,newest", "--exclude", "*@*+qemu=newest", "--exclude", "idle@debian-6.1"],
    ] {
        let output = session.s2lab(&[&["run", "--dry-run"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
    session.check("qemu-keys");
}

#[test]
fn values_that_are_wrong() {
    let home = Home::new();
    home.write("lab/mine", "");
    let mut session = home.session();
    for arguments in [
        &["list", "--qemu", "newst"][..],
        &["list", "--qemu", "default,nevest"],
        &["list", "--qemu", "./mine", "--qemu", "newest"],
        &["list", "bar@debian-6.12+qemu=older"],
        &["list", KEY, "--qemu", "mine"],
        &["plan", "--qemu", "mine"],
        &["run", "--qemu", "./none", "idle"],
        &["run", "--failed", "--qemu", "newest"],
        &["shell", "bar@debian-6.12", "--qemu", "default,newest"],
    ] {
        let output = session.s2lab(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    session.check("qemu-wrong");
}

/// The report of the default QEMU is not that of the newest.
#[test]
fn a_cell_on_the_newest_qemu_has_its_own_accepted_report() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["bar@debian-6.12", KEY])));
    let accepted = |file: &str| home.path("lab/reports/bar").join(file).exists();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["accept", "bar@debian-6.12"]).status.code(), Some(0));
    assert!(!accepted("debian-6.12+qemu=newest.txt"));
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(5));
    assert_eq!(session.s2lab(&["accept", KEY]).status.code(), Some(0));
    assert!(accepted("debian-6.12+qemu=newest.txt"));
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(0));
    session.s2lab(&["history", "add", RUN]);
    session.s2lab(&["history", "bar@debian-6.12"]);
    session.check("qemu-accepted");
    let output = home.command(&["report", "--format", "junit"]).output().unwrap();
    let junit = String::from_utf8(output.stdout).unwrap();
    assert!(junit.contains("debian-6.12+qemu=newest"), "{junit}");
    let explained = home.command(&["explain", KEY]).output().unwrap();
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.starts_with(&format!("# {KEY}\n")), "{explained}");
    assert!(
        explained.contains("\n# QEMU of the host (L1), on this machine: the newest that the archive has\n"),
        "{explained}"
    );
}

/// Each machine makes the cells of the plan again, from its words.
#[test]
fn a_plan_has_the_axis() {
    let home = Home::new();
    let s2lab = |arguments: &[&str]| {
        let output = home.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let plan = ["plan", "bar@debian-6.12", "--qemu", "default,newest", "-o", "plan.json"];
    assert_eq!(s2lab(&plan).0, Some(0));
    let cells = |shard: &str| {
        let (code, cells, error) = s2lab(&["run", "--plan", "plan.json", "--shard", shard, "--dry-run"]);
        assert_eq!(code, Some(0), "{error}");
        cells
    };
    let mut all = [cells("1/2"), cells("2/2")];
    all.sort_unstable();
    assert_eq!(all, ["bar@debian-6.12\n".to_owned(), format!("{KEY}\n")]);
    for (arguments, due) in
        [(&["--qemu", "newest"][..], "the plan has the QEMUs"), (&["--qemu", "./a"], "QEMUs of their own")]
    {
        let (code, _, error) = s2lab(&[&["run", "--plan", "plan.json", "--dry-run"], arguments].concat());
        assert!(code == Some(2) && error.contains(due), "{error}");
    }
    fs::remove_file(home.path("lab/plan.json")).unwrap();
}
