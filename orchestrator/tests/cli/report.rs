//! `s2lab report`.

use crate::{
    harness::{Home, RUN},
    story::{Behaves, Story},
};
use s2lab_model::event::{Attempts, Event, LOG_VERSION, StopCause};
use std::{collections::BTreeMap, fs};

const BAR_BEFORE: &str = "bar@debian-6.1";
const BAR_AFTER: &str = "bar@debian-6.12";
const RAM_BEFORE: &str = "idle@debian-6.1";
const RAM_AFTER: &str = "idle@debian-6.12";

/// Makes one cell of nearly every verdict.
fn mixed(home: &Home) -> Story {
    let cells = home.plan(&["*", "idle@upstream", "bar@upstream"]);
    Story::of(&cells, |cell| if cell.key == BAR_AFTER { Behaves::Before } else { Behaves::as_declared(cell) })
        .stopped(RAM_BEFORE, StopCause::Timeout, "no answer for 90 s", None)
        .stopped(RAM_AFTER, StopCause::Lacking, "no /dev/kvm in the host", Some("enable CONFIG_KVM"))
        .stopped("idle@upstream", StopCause::Lab, "QEMU ended (signal 9)", Some("is there enough memory?"))
        .only("bar@upstream", |event| matches!(event, Event::CellStarted { .. } | Event::HostUp { .. }))
}

#[test]
fn a_run_where_all_is_well() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[])));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(0));
    session.s2lab(&["report", "--cell", BAR_AFTER]);
    session.s2lab(&["report", "--cell", BAR_BEFORE, "--cell", RAM_BEFORE]);
    session.s2lab(&["report", "--cell", "bar@debian-6.21"]);
    session.check("report-well");
}

#[test]
fn a_run_with_every_verdict() {
    let home = Home::new();
    home.add_run(&mixed(&home));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(1));
    session.s2lab(&["report", "--cell", BAR_AFTER]);
    session.s2lab(&["report", "--cell", "idle@upstream"]);
    session.check("report-verdicts");
}

#[test]
fn attempts_that_differ() {
    let home = Home::new();
    let cells = home.plan(&[RAM_BEFORE, BAR_AFTER]);
    let bad = Story::of(&cells, |_| Behaves::Before);
    home.add_run(&bad.again(Story::well(&cells)));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(1));
    session.s2lab(&["report", "--cell", BAR_AFTER]);
    session.check("report-flaky");
}

/// The lab failed first. The later result counts like a first one, and the report names the
/// attempts.
#[test]
fn attempts_that_were_retried() {
    let home = Home::new();
    let cells = home.plan(&[RAM_BEFORE]);
    let failed = Story::well(&cells).stopped(RAM_BEFORE, StopCause::Lab, "QEMU ended (signal 9)", None);
    home.add_run(&Story::well(&cells));
    assert!(home.command(&["accept"]).status().unwrap().success());
    home.add_run(&failed.attempting(Attempts::Retry(2)).again(Story::well(&cells)));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(0));
    session.s2lab(&["report", "--cell", RAM_BEFORE]);
    assert_eq!(session.s2lab(&["check"]).status.code(), Some(0));
    session.check("report-retried");
}

#[test]
fn a_repetition_that_is_missing() {
    let home = Home::new();
    let cells = home.plan(&[RAM_BEFORE]);
    home.add_run(&Story::well(&cells).attempting(Attempts::Repeat(3)).again(Story::well(&cells)));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(3));
    session.check("report-repetition-missing");
}

#[test]
fn cells_that_were_not_run() {
    let home = Home::new();
    let story = Story::of(&home.plan(&[]), |_| Behaves::Before);
    home.add_run(&story.not_run(RAM_AFTER, "--fail-fast: bar@debian-6.12 was FAIL"));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(1));
    session.s2lab(&["report", "--cell", RAM_AFTER]);
    session.s2lab(&["check"]);
    session.note("what the run left to be done");
    session.s2lab(&["run", "--failed", "--dry-run"]);
    session.note("not run is no pass, even if nothing else is wrong");
    home.add_run(&Story::well(&home.plan(&[])).not_run(RAM_AFTER, "somebody's log says so"));
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(3));
    session.check("report-not-run");
}

#[test]
fn an_interrupted_run() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[])).interrupted(BAR_AFTER, "SIGINT"));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(130));
    session.s2lab(&["report", "--cell", BAR_AFTER]);
    session.s2lab(&["check"]);
    session.check("report-interrupted");
}

#[test]
fn a_run_that_skipped_everything_tested_nothing() {
    let home = Home::new();
    let cells = home.plan(&["idle"]);
    let skip = |story: Story, key| story.stopped(key, StopCause::Lacking, "no /dev/kvm in the host", None);
    home.add_run(&skip(skip(Story::well(&cells), RAM_BEFORE), RAM_AFTER));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(3));
    session.check("report-skipped");
}

#[test]
fn which_run() {
    let home = Home::new();
    let cells = home.plan(&["idle"]);
    home.tell_as("20261121T150000.000Z-7", &Story::well(&cells));
    home.add_run(&Story::well(&cells).stopped(RAM_AFTER, StopCause::Lab, "QEMU ended", None));
    Story::well(&cells).write(&home.path("artifact"));
    // A folder that only looks like the latest run is not taken for it.
    Story::well(&cells).write(&home.path("lab/latest"));
    let mut session = home.session();
    session.s2lab(&["report"]);
    session.s2lab(&["report", RUN]);
    session.s2lab(&["report", "20261121T150000.000Z-7"]);
    session.s2lab(&["report", "../artifact"]);
    session.keep(
        "cd ../artifact; s2lab report .",
        home.command(&["report", "."]).current_dir(home.path("artifact")),
    );
    for none in ["20261121T150000.000Z-8", "../none", "", "."] {
        assert_eq!(session.s2lab(&["report", none]).status.code(), Some(2), "{none}");
    }
    session.keep(
        "cd ../artifact; s2lab report ''",
        home.command(&["report", ""]).current_dir(home.path("artifact")),
    );
    fs::remove_dir_all(home.path("state/s2lab/runs").join(RUN)).unwrap();
    session.note("the latest run is removed");
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(2));
    fs::remove_dir_all(home.path("state/s2lab")).unwrap();
    session.note("there never was a run");
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(2));
    session.check("report-which");
}

/// All output is a function of the log and the pages.
#[test]
fn all_else_can_be_deleted() {
    let home = Home::new();
    home.add_run(&mixed(&home));
    home.write(&format!("state/s2lab/runs/{RUN}/cells/{BAR_AFTER}/host.console"), "hello");
    let reports = || -> BTreeMap<String, String> {
        let read = |entry: Result<fs::DirEntry, _>| {
            let entry: fs::DirEntry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
        };
        fs::read_dir(home.of_run("reports")).unwrap().map(read).collect()
    };
    let first = home.command(&["report"]).output().unwrap();
    let written = reports();
    assert_eq!(written.len(), 6);
    for gone in ["cells", "reports"] {
        fs::remove_dir_all(home.of_run(gone)).unwrap();
    }
    let second = home.command(&["report"]).output().unwrap();
    assert_eq!(first, second);
    assert_eq!(written, reports());
    for (name, text) in &written {
        let shown = home.command(&["report", "--cell", name.trim_end_matches(".txt")]).output().unwrap();
        assert_eq!(&String::from_utf8(shown.stdout).unwrap(), text);
    }
}

#[test]
fn logs_that_are_not_whole() {
    let home = Home::new();
    let cells = home.plan(&["idle"]);
    let events = home.of_run("events.jsonl");
    let well = Story::well(&cells).text();
    let mut session = home.session();
    let mut report = |what: &str, text: &[u8], exit| {
        fs::write(&events, text).unwrap();
        session.note(what);
        assert_eq!(session.s2lab(&["report"]).status.code(), Some(exit), "{what}");
    };
    home.add_run(&Story::well(&cells));
    report("the last line is torn", &well.as_bytes()[..well.len() - 2], 3);
    let mut inside_of_a_character = well.trim_end().as_bytes().to_vec();
    inside_of_a_character.push(0xc3);
    report("the last line is torn inside of a character", &inside_of_a_character, 3);
    report("the log stops in a cell", Story::well(&cells).torn_after(RAM_AFTER, 3).text().as_bytes(), 3);
    report("the log stops between cells", Story::well(&cells).torn_after(RAM_AFTER, 0).text().as_bytes(), 3);
    report("only the plan", well.lines().next().map(|plan| format!("{plan}\n")).unwrap().as_bytes(), 3);
    report("nothing", b"", 3);
    let without = |n: usize| -> String {
        well.lines().enumerate().filter(|(i, _)| *i != n).map(|(_, line)| format!("{line}\n")).collect()
    };
    report("a line is missing", without(4).as_bytes(), 3);
    report("not JSON", format!("{well}hello\n").as_bytes(), 3);
    report("not text", b"\xff\xfe\n", 3);
    let version = |v: &str| well.replace(&format!("\"v\":\"{LOG_VERSION}\""), &format!("\"v\":{v}"));
    report("of a future version", version("\"3.0\"").as_bytes(), 3);
    report("of version 1", version("1").as_bytes(), 3);
    let younger =
        version("\"2.7\"").replace("\"event\":\"run-ended\"", "\"zone\":\"UTC\",\"event\":\"run-ended\"");
    report("of a later minor version, with a key that is not known", younger.as_bytes(), 0);
    let unknown = well.replace("\"v\":1", "\"v\":2").replace("cell-started", "cell-begun");
    report("of a future version, with what is not known here", unknown.as_bytes(), 3);
    session.check("report-torn");
}

#[test]
fn pages_that_are_not_there_or_not_right() {
    let home = Home::new();
    let story = Story::well(&home.plan(&[RAM_BEFORE]));
    let mut session = home.session();
    home.add_run(&story);
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(0));
    let mut sorted: Vec<_> = fs::read_dir(home.of_run("raw")).unwrap().map(|e| e.unwrap().path()).collect();
    sorted.sort();
    fs::remove_file(&sorted[0]).unwrap();
    session.note("a page is gone");
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(3));
    home.add_run(&story);
    let mut bytes = fs::read(&sorted[0]).unwrap();
    bytes[4095] ^= 1;
    fs::write(&sorted[0], bytes).unwrap();
    session.note("a bit of a page is not what it was");
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(3));
    fs::write(&sorted[0], "").unwrap();
    session.note("a page is empty");
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(3));
    fs::remove_dir_all(home.of_run("raw")).unwrap();
    session.note("no page is there");
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(3));
    session.check("report-pages");
}

/// A run may come from elsewhere, and its log from anyone.
#[test]
fn a_log_that_would_write_elsewhere() {
    let home = Home::new();
    let cells = home.plan(&[RAM_BEFORE]);
    home.add_run(&Story::well(&cells));
    let (log, own) = (home.of_run("events.jsonl"), format!("{:?}", cells[0].key));
    let text = fs::read_to_string(&log).unwrap();
    let mut session = home.session();
    for key in ["../../../../../home/x@y", "/etc/x@y", "x@../y", "idle", "a@b\n", "", ".@."] {
        fs::write(&log, text.replace(&own, &format!("{key:?}"))).unwrap();
        let before = home.tree("");
        for verb in ["report", "check", "accept"] {
            assert_eq!(session.s2lab(&[verb]).status.code(), Some(3), "{key:?}");
        }
        assert_eq!(home.tree(""), before);
    }
    session.check("report-hostile");
}

#[test]
fn where_nothing_can_be_written() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle"])));
    home.write(&format!("state/s2lab/runs/{RUN}/reports"), "a file where the folder should be");
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report"]).status.code(), Some(3));
    fs::remove_file(home.of_run("reports")).unwrap();
    session.note("the disk is full");
    let full = "trap '' XFSZ; ulimit -f 0; s2lab report | /bin/cat";
    session.shell(&format!("{full}; exit ${{PIPESTATUS[0]}}"));
    session.check("report-unwritable");
    assert_eq!(home.tree(&format!("state/s2lab/runs/{RUN}/reports")), Vec::<String>::new());
}

#[test]
fn outside_of_a_lab() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle"])));
    let mut session = home.session();
    session.keep("cd ..; s2lab report", home.command(&["report"]).current_dir(home.path("")));
    session.keep("cd ..; s2lab report RUN", home.command(&["report", RUN]).current_dir(home.path("")));
    session.keep(
        "cd ..; s2lab report RUN --cell idle@debian-6.1",
        home.command(&["report", RUN, "--cell", RAM_BEFORE]).current_dir(home.path("")),
    );
    session.keep("cd ..; s2lab check", home.command(&["check"]).current_dir(home.path("")));
    session.s2lab(&["report", "--lab", "../none"]);
    session.check("report-no-lab");
}

#[test]
fn two_at_once() {
    let home = Home::new();
    home.add_run(&mixed(&home));
    let once = home.command(&["report"]).output().unwrap();
    let written = home.tree(&format!("state/s2lab/runs/{RUN}"));
    let many: Vec<_> = (0..4)
        .map(|_| {
            let mut command = home.command(&["report"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for one in many {
        assert_eq!(one.wait_with_output().unwrap(), once);
    }
    assert_eq!(home.tree(&format!("state/s2lab/runs/{RUN}")), written);
}

#[test]
fn the_events_of_a_run() {
    let home = Home::new();
    home.add_run(&mixed(&home));
    let output = home.command(&["report", "--format", "events"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, fs::read(home.of_run("events.jsonl")).unwrap());
    assert_eq!(home.command(&["check", "--format", "events"]).status().unwrap().code(), Some(2));
}

#[test]
fn a_run_as_one_document() {
    let home = Home::new();
    home.add_run(&mixed(&home));
    let mut session = home.session();
    assert_eq!(session.s2lab(&["report", RUN, "--format", "json"]).status.code(), Some(1));
    assert_eq!(session.s2lab(&["check", RUN, "--format", "json"]).status.code(), Some(5));
    session.check("json");
    // A run that boots nothing is a document too.
    let output = home.command(&["run", "--offline", "--format", "json", RAM_BEFORE]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let run: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(run["cells"][0]["verdict"], "MISS");
    assert_eq!(run["lab"], home.lab().to_str().unwrap());
}
