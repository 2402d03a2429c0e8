//! Logs, reports and bundles that cannot be read: a clear error, and nothing is written.

use crate::{harness::Home, story::Story};
use s2lab::run::bundle::Contents;
use s2lab_model::event::LOG_VERSION;
use std::fs;

/// Logs that no reader takes, each with its name.
fn logs(well: &str) -> Vec<(&'static str, String)> {
    let without =
        well.lines().enumerate().filter(|(at, _)| *at != 4).map(|(_, line)| format!("{line}\n")).collect();
    let version = |of: &str| well.replace(&format!("\"v\":\"{LOG_VERSION}\""), &format!("\"v\":{of}"));
    vec![
        ("empty", String::new()),
        ("with a gap", without),
        ("of a later version", version("\"3.0\"")),
        ("of the first version", version("1")),
        ("with something else", format!("{well}hello\n")),
    ]
}

#[test]
fn a_log_that_cannot_be_read_changes_nothing() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle@debian-6.1"])));
    assert!(home.command(&["accept"]).output().unwrap().status.success());
    assert!(home.command(&["report"]).output().unwrap().status.success());
    let well = fs::read_to_string(home.of_run("events.jsonl")).unwrap();
    let report = fs::read(home.of_run("reports/idle@debian-6.1.txt")).unwrap();
    let before = home.tree("");
    let mut session = home.session();
    for (what, log) in logs(&well) {
        fs::write(home.of_run("events.jsonl"), &log).unwrap();
        session.note(what);
        for verb in ["report", "check", "accept", "bundle"] {
            assert_eq!(session.s2lab(&["-q", verb]).status.code(), Some(3), "{what}: {verb}");
        }
        // The same in a bundle.
        let mut contents = Contents::new().unwrap();
        contents.add("events.jsonl", log.clone().into_bytes()).unwrap();
        home.write("bundle.gz", contents.pack().unwrap());
        assert_eq!(session.s2lab(&["report", "../bundle.gz"]).status.code(), Some(3), "{what}");
        fs::remove_file(home.path("bundle.gz")).unwrap();
        assert_eq!(home.tree(""), before, "{what}");
        assert_eq!(fs::read(home.of_run("reports/idle@debian-6.1.txt")).unwrap(), report, "{what}");
        assert_eq!(fs::read(home.lab().join("reports/idle/debian-6.1.txt")).unwrap(), report, "{what}");
    }
    session.check("bad-logs");
}

#[test]
fn a_report_of_another_version_is_named_and_stays() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle@debian-6.1"])));
    assert!(home.command(&["accept"]).output().unwrap().status.success());
    let path = "lab/reports/idle/debian-6.1.txt";
    let good = home.read(path);
    let mut session = home.session();
    for version in ["1", "3"] {
        let other = good.replacen("s2lab report 2", &format!("s2lab report {version}"), 1);
        home.write(path, &other);
        assert_eq!(session.s2lab(&["-q", "check"]).status.code(), Some(5));
        assert_eq!(session.s2lab(&["-q", "report"]).status.code(), Some(0), "the run is readable");
        assert_eq!(home.read(path), other);
    }
    home.write(path, &good[..good.len() / 2]);
    assert_eq!(session.s2lab(&["-q", "check"]).status.code(), Some(5));
    session.check("bad-reports");
}
