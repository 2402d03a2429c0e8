//! `s2lab runs`: the runs that are kept.

use crate::{
    harness::Home,
    story::{Behaves, Story},
    terminal::Terminal,
};
use serde_json::Value;
use std::fs;

const PASSED: &str = "20261121T150000.000Z-7";
const FAILED: &str = "20261122T150000.000Z-8";

/// Makes a run that s2lab marks as one that it has made, and that has ended.
fn marked(home: &Home, name: &str, behaves: Behaves, failed: bool) {
    let started = format!("{}-{}-{}T15:00:00Z", &name[..4], &name[4..6], &name[6..8]);
    home.tell_as(name, &Story::of(&home.plan(&["bar@debian-6.12"]), |_| behaves).at(&started));
    home.write(
        &format!("state/s2lab/runs/{name}/run.json"),
        format!("{{\"run\":\"{name}\",\"failed\":{failed}}}"),
    );
}

fn home() -> Home {
    let home = Home::new();
    marked(&home, PASSED, Behaves::After, false);
    marked(&home, FAILED, Behaves::Before, true);
    home.tell_as("baseline", &Story::well(&home.plan(&["idle"])).at("2026-11-20T15:00:00Z"));
    home.write("state/s2lab/runs/torn/events.jsonl", "nonsense\n");
    home.write("state/s2lab/runs/notes/todo", "no run\n");
    home
}

#[test]
fn runs_are_listed_removed_and_exported() {
    let home = home();
    let mut session = home.session();
    session.s2lab(&["runs"]);
    session.s2lab(&["runs", "rm", "baselin"]);
    session.s2lab(&["runs", "rm", "../runs/baseline", "--yes"]);
    session.s2lab(&["runs", "rm", "latest", "--yes"]);
    session.note("nobody is there to be asked");
    assert_eq!(session.s2lab(&["runs", "rm", FAILED]).status.code(), Some(2));
    session.note("a file of a person's, and a run at work");
    home.write(&format!("state/s2lab/runs/{PASSED}/notes"), "mine\n");
    let log = fs::File::open(home.path("state/s2lab/runs/baseline/events.jsonl")).unwrap();
    log.lock().unwrap();
    session.s2lab(&["runs"]);
    for kept in [PASSED, "baseline"] {
        assert_eq!(session.s2lab(&["runs", "rm", FAILED, kept, "--yes"]).status.code(), Some(2), "{kept}");
    }
    assert!(home.runs().iter().any(|run| run == FAILED), "all of them, or none");
    log.unlock().unwrap();
    session.note("a run with a FAIL, a torn one, and one of a person's name");
    session.s2lab(&["runs", "rm", FAILED, "torn", "baseline", FAILED, "--yes"]);
    assert_eq!(home.runs(), [PASSED, "notes"]);
    session.s2lab(&["runs", "export", PASSED, "--out", "../run.tar.gz"]);
    assert!(home.command(&["report", "../run.tar.gz"]).output().unwrap().status.success());
    session.check("runs");
}

/// A run that has ended is listed as the history has it, without a look at its log.
#[test]
fn the_history_spares_judging() {
    let home = home();
    let list = |more: &[&str]| {
        let output = home.command(&[&["runs"], more].concat()).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let judged = list(&[]);
    for run in [PASSED, FAILED, "baseline"] {
        assert!(home.command(&["history", "add", run]).output().unwrap().status.success());
    }
    assert_eq!(list(&[]), judged, "the history shows the same");
    let json = list(&["--format", "json"]);
    for run in [PASSED, "baseline"] {
        let log = format!("state/s2lab/runs/{run}/events.jsonl");
        let size = fs::metadata(home.path(&log)).unwrap().len();
        home.write(&log, "x".repeat(usize::try_from(size).unwrap()));
    }
    let listed = list(&[]);
    let line = |text: &str, run: &str| text.lines().find(|line| line.contains(run)).unwrap().to_owned();
    assert_eq!(line(&listed, PASSED), line(&judged, PASSED));
    assert!(line(&listed, "baseline").contains("not readable"), "s2lab did not make it: {listed}");
    assert!(line(&list(&["--history", "none"]), PASSED).contains("not readable"));
    assert!(json.contains(r#""PASS": 1"#), "{json}");
    home.write("state/s2lab/history.sqlite", "no history");
    assert!(line(&list(&[]), PASSED).contains("not readable"));
    assert!(line(&list(&[]), FAILED).contains("1 failed"));
}

#[test]
fn there_may_be_no_run() {
    let home = Home::new();
    let output = home.command(&["runs", "list"]).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
}

#[test]
fn a_person_is_asked() {
    let home = home();
    for (answer, stays) in [("n", true), ("", true), ("y", false)] {
        let mut terminal = Terminal::start(&home, &["runs", "rm", FAILED]);
        terminal.wait_for("y yes, anything else no > ");
        terminal.enter(&format!("{answer}\n"));
        assert!(terminal.finish().1.success(), "{answer}");
        assert_eq!(home.runs().iter().any(|run| run == FAILED), stays, "{answer:?}");
    }
}

#[test]
fn documents() {
    let home = home();
    let json = |arguments: &[&str]| -> Value {
        let output = home.command(&[arguments, &["--format", "json"]].concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let list = json(&["runs"]);
    let runs = list["runs"].as_array().unwrap();
    let shown: Vec<_> =
        runs.iter().map(|run| (run["run"].as_str().unwrap(), run["kept"].as_str().unwrap())).collect();
    let due = [("torn", "foreign"), ("baseline", "foreign"), (FAILED, "failed"), (PASSED, "newest")];
    assert_eq!(shown, due);
    assert!(runs[0]["content"].is_null() && runs[0]["unreadable"].is_string());
    assert_eq!((&runs[2]["content"]["cells"]["FAIL"], &runs[2]["content"]["exit"]), (&1.into(), &1.into()));
    let removed = json(&["runs", "rm", PASSED, "--yes"]);
    assert_eq!(removed["removed"], serde_json::json!([PASSED]));
    assert!(removed["bytes"].as_u64().unwrap() > 1000);
    assert!(!home.runs().contains(&PASSED.to_owned()));
}
