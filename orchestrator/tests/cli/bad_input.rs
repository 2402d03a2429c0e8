//! Logs, reports and bundles that cannot be read: a clear error, and nothing is written.

use crate::{
    harness::{Home, RUN},
    story::Story,
};
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

/// The cells that ended before the damage are shown; the others are MISS, and named.
#[test]
fn a_log_that_is_damaged_in_its_middle() {
    let home = Home::new();
    let cells = home.plan(&["idle"]);
    home.add_run(&Story::well(&cells));
    assert!(home.command(&["accept"]).output().unwrap().status.success());
    assert!(home.command(&["report"]).output().unwrap().status.success());
    let well = fs::read(home.of_run("events.jsonl")).unwrap();
    Story::well(&cells).write(&home.path("other"));
    let reports = || home.tree(&format!("state/s2lab/runs/{RUN}/reports"));
    let before = (reports(), fs::read(home.of_run("reports/idle@debian-6.12.txt")).unwrap());
    // A block of the file is lost in the second cell.
    let second = memchr::memmem::find(&well, b"\"session\":1").unwrap() + 300;
    let mut damaged = well.clone();
    damaged[second..second + 64].fill(0);
    fs::write(home.of_run("events.jsonl"), &damaged).unwrap();
    let mut session = home.session();
    for arguments in [
        &["report", "-q"][..],
        &["report", "-q", "--cell", "idle@debian-6.12"],
        &["check", "-q"],
        &["diff", "-q", "../other", "latest"],
        &["diff", "-q", "latest", "latest"],
        &["accept", "-q"],
        &["review", "-q"],
        &["bundle", "-q"],
        &["run", "--failed", "-q"],
    ] {
        assert_eq!(session.s2lab(arguments).status.code(), Some(3), "{arguments:?}");
    }
    session.note("bytes that are no text");
    damaged[second..second + 64].fill(0xff);
    fs::write(home.of_run("events.jsonl"), &damaged).unwrap();
    assert_eq!(session.s2lab(&["report", "-q"]).status.code(), Some(3));
    session.note("the last line of the run");
    let end = well.len() - 20;
    fs::write(home.of_run("events.jsonl"), [&well[..end], &b"\0"[..], &well[end..]].concat()).unwrap();
    for arguments in [&["report", "-q"][..], &["check", "-q"], &["diff", "-q", "../other", "latest"]] {
        assert_eq!(session.s2lab(arguments).status.code(), Some(3), "{arguments:?}");
    }
    session.check("bad-middle");
    // The reports of the whole log stay.
    assert_eq!((reports(), fs::read(home.of_run("reports/idle@debian-6.12.txt")).unwrap()), before);
    let cache = home.tree("cache").into_iter().filter(|name| name.starts_with("s2lab/reports/"));
    assert_eq!(cache.count(), 2, "the folder, and the reports of the run `other`");
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
