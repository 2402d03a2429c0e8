//! `s2lab textconv`, and git with it.

use crate::{
    harness::{Home, S2LAB},
    story::{Behaves, Story},
};
use s2lab_model::event::Event;
use std::fs;

const REPORT: &str = "lab/reports/bar/debian-6.12.txt";
const KEY: &str = "bar@debian-6.12";

/// Makes a home with the accepted reports of a good run.
fn accepted() -> Home {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[])));
    assert!(home.command(&["accept"]).status().unwrap().success());
    home
}

/// Makes the repository that a person has after `s2lab init`: the reports are committed, and git
/// knows the command.
fn repository() -> Home {
    let home = accepted();
    assert!(home.command(&["init", "../new"]).status().unwrap().success());
    fs::copy(home.path("new/.gitattributes"), home.path("lab/.gitattributes")).unwrap();
    home.program("git");
    let command = format!("'{S2LAB}' textconv");
    for arguments in [
        &["init", "-q"][..],
        &["config", "diff.s2lab.textconv", &command],
        &["add", "."],
        &["commit", "-q", "-m", "reports"],
    ] {
        assert!(home.git("lab", arguments).status().unwrap().success(), "{arguments:?}");
    }
    home
}

fn diff(home: &Home, arguments: &[&str]) -> String {
    let output = home.git("lab", &[&["diff"], arguments].concat()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Another build of the kernel and other times, which never compare.
fn elsewhere(event: &mut Event) {
    if let Event::Environment { variable, .. } = event {
        variable.insert("qemu".into(), "11.0.0".into());
    }
}

#[test]
fn what_compares() {
    let home = accepted();
    let mut session = home.session();
    session.s2lab(&["textconv", "reports/bar/debian-6.12.txt"]);
    session.s2lab(&["textconv", "reports/none.txt"]);
    session.check("textconv");
    // The result is a report, of which all compares.
    home.write(
        "once.txt",
        home.command(&["textconv", "reports/bar/debian-6.12.txt"]).output().unwrap().stdout,
    );
    let twice = home.command(&["textconv", "../once.txt"]).output().unwrap();
    assert_eq!(home.read("once.txt"), String::from_utf8(twice.stdout).unwrap());
}

/// git fails as a whole if a command of its fails.
#[test]
fn anything_else_stays_as_it_is() {
    let home = accepted();
    let report = home.read(REPORT);
    for text in [
        report.replace("report 2 ", "report 1 ").into_bytes(),
        report.replace("[witnesses]", "<<<<<<< HEAD\n[witnesses]").into_bytes(),
        b"\xff\x1b[2J".to_vec(),
        vec![],
        vec![b'x'; 5 << 20],
    ] {
        home.write("file.txt", &text);
        let output = home.command(&["textconv", "../file.txt"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == text && output.stderr.is_empty());
    }
    // git writes a report so with core.autocrlf.
    home.write("file.txt", report.replace('\n', "\r\n"));
    let [crlf, lf] = ["../file.txt", "reports/bar/debian-6.12.txt"]
        .map(|file| home.command(&["textconv", file]).output().unwrap().stdout);
    assert_eq!(String::from_utf8(crlf).unwrap(), String::from_utf8(lf).unwrap());
}

#[test]
fn git_shows_only_what_compares() {
    let home = repository();
    // The same result elsewhere: git has a change, and nothing to show.
    home.add_run(&Story::well(&home.plan(&[])).edit(KEY, elsewhere));
    let text = home.read(REPORT);
    home.write(REPORT, text.replace("variable qemu = 10.0.2", "variable qemu = 11.0.0"));
    assert!(home.git("lab", &["diff", "--quiet", "--no-textconv"]).status().unwrap().code() == Some(1));
    assert_eq!(diff(&home, &[]), "");
    assert!(diff(&home, &["--no-textconv"]).contains("+  variable qemu = 11.0.0"));
    // The report was accepted when each store had a throughput.
    let store = "step 0  store g0 nic wc 8 B  n 1  median 1000 MB/s  min 1000  max 1000";
    let numbers = format!("[numbers]\n  emulated, never decide\n  {store}\n");
    home.write(REPORT, text.replace("[numbers]\n", &numbers));
    assert!(home.git("lab", &["diff", "--quiet", "--no-textconv"]).status().unwrap().code() == Some(1));
    assert_eq!(diff(&home, &[]), "");
    // Another result.
    home.add_run(&Story::of(&home.plan(&[]), |_| Behaves::Before).edit(KEY, elsewhere));
    assert!(home.command(&["accept", KEY]).status().unwrap().success());
    let shown = diff(&home, &[]);
    assert!(!shown.contains("variable") && !shown.contains("MB/s") && !shown.contains("| "), "{shown}");
    let mut session = home.session();
    session.keep("git diff", &mut home.git("lab", &["diff"]));
    session.check("textconv-git");
    // A conflict is shown as any other text.
    home.write(REPORT, text.replace("[shape]", "<<<<<<< HEAD\n[shape]"));
    assert!(diff(&home, &[]).contains("+<<<<<<< HEAD"));
}
