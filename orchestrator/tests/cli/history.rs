//! `s2lab history`, `trend`, and what a run leaves in the history.

use crate::{
    harness::{Home, RUN},
    story::{Behaves, Story},
};
use s2lab_model::{
    event::{Event, PlannedCell, StopCause},
    steps::Observation,
};
use serde_json::Value;
use std::fs;

const KEY: &str = "idle@debian-6.12";
const BAR: &str = "bar@debian-6.12";
const TIMED: &str = "timed@debian-6.12";
const MACHINE: &str = "x86_64, 2 CPUs, a model";
const SCENARIO: &str = "scenario: timed
about: The time of stores.
host: {cpu: neoverse-v1, devices: {nic: {model: ivshmem-plain, bar: 16M}}}
guests:
  g0: {vmm: qemu, assign: {nic: vfio-pci}}
steps:
  - measure: {name: stores, warm-up: 1, samples: 7, store: {guest: g0, device: nic, map: wc, width: [8], bytes: 4K}}
  - measure: {name: one, warm-up: 0, samples: 1, store: {guest: g0, device: nic, map: wc, width: [8], bytes: 4K}}
  - look: {name: stored}
expect:
  - {at: stored, of: ram, stage2: Normal-WB}
";

fn name(day: usize) -> String {
    format!("202611{day:02}T020000.000Z-1")
}

/// A night in November of a lab that has QEMU of this version.
fn night(cells: &[PlannedCell], day: usize, qemu: &str, behaves: Behaves) -> Story {
    let with_qemu = |story: Story, cell: &PlannedCell| {
        story.edit(cell.key.as_str(), |event| {
            if let Event::Environment { variable, .. } = event {
                variable.insert("qemu".into(), qemu.into());
            }
        })
    };
    let takes = |event: &mut Event| {
        if let Event::Observed { data: Observation::Sample(sample), .. } = event {
            sample.stored.result.nanos = 250_000 + 1_000 * (day * 10 + sample.number as usize) as u64;
        }
    };
    let story = Story::of(cells, |_| behaves).at(&format!("2026-11-{day:02}T02:00:00Z")).on(MACHINE);
    let story = story.edit(TIMED, takes);
    cells.iter().fold(story, with_qemu)
}

/// Nights in which a cell goes bad with another QEMU, and stays so while a night is lost.
fn nights(home: &Home) -> Vec<String> {
    home.write("lab/scenarios/timed.yaml", SCENARIO);
    let cells = home.plan(&[KEY, BAR, TIMED]);
    let stories = [
        night(&cells, 1, "10.0.2", Behaves::After),
        night(&cells, 2, "10.0.2", Behaves::After).stopped(BAR, StopCause::Lab, "QEMU ended", None),
        night(&cells, 3, "10.0.2", Behaves::After),
        night(&cells, 4, "10.1.0", Behaves::Before),
        night(&cells, 5, "10.1.0", Behaves::Before).torn_after(BAR, 5),
        night(&cells, 6, "10.1.0", Behaves::Before).not_run(KEY, "--fail-fast"),
    ];
    (1..)
        .zip(&stories)
        .map(|(day, story)| {
            home.tell_as(&name(day), story);
            name(day)
        })
        .collect()
}

#[test]
fn past_runs_are_listed_and_drawn() {
    let home = Home::new();
    let mut session = home.session();
    assert_eq!(session.s2lab(&["history"]).status.code(), Some(2));
    let nights = nights(&home);
    let all: Vec<_> = ["history", "add"].into_iter().chain(nights.iter().map(String::as_str)).collect();
    assert_eq!(session.s2lab(&all).status.code(), Some(0));
    session.s2lab(&["history", "add", &nights[2]]);
    session.s2lab(&["history"]);
    session.s2lab(&["history", "idle", "--limit", "1"]);
    session.s2lab(&["trend", BAR]);
    session.s2lab(&["trend", TIMED]);
    session.s2lab(&["trend", KEY, "--limit", "3"]);
    session.note("what is not there");
    for arguments in [
        &["history", "nothing*"][..],
        &["history", "--history", "../none"],
        &["trend", "idle@debian-6.1"],
        &["trend", "idle"],
        &["history", "add", "nothing"],
        &["history", "add"],
    ] {
        assert_eq!(session.s2lab(arguments).status.code(), Some(2), "{arguments:?}");
    }
    session.note("another lab folder has none of these runs");
    assert!(home.command(&["init", "../other"]).status().unwrap().success());
    assert_eq!(session.s2lab(&["--lab", "../other", "history"]).status.code(), Some(2));
    session.s2lab(&["--lab", "../other", "history", "--all-labs", "--limit", "1"]);
    session.check("history");
}

fn json(home: &Home, arguments: &[&str]) -> Value {
    let output = home.command(&[arguments, &["--format", "json"]].concat()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_documents_have_what_the_lines_have() {
    let home = Home::new();
    let nights = nights(&home);
    let all: Vec<_> = ["history", "add"].into_iter().chain(nights.iter().map(String::as_str)).collect();
    let added = json(&home, &all);
    assert_eq!(added["runs"].as_array().unwrap().len(), 6);
    assert!(added["runs"].as_array().unwrap().iter().all(|run| run["result"] == "added"));
    let list = json(&home, &["history", BAR]);
    let cell = &list["cells"][0];
    assert_eq!((&cell["runs"], &cell["last"]["verdict"]), (&6.into(), &"FAIL".into()));
    assert_eq!(
        (&cell["last_good"]["run"], &cell["first_bad"]["run"]),
        (&(*nights[2]).into(), &(*nights[3]).into())
    );
    assert_eq!((&cell["stands"]["runs"], &cell["stands"]["since"]), (&2.into(), &(*nights[3]).into()));
    let trend = json(&home, &["trend", BAR]);
    let verdicts: Vec<_> = trend["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["PASS", "MISS", "PASS", "FAIL", "LOST", "FAIL"]);
    let changed = trend["changed"].as_array().unwrap();
    let qemu = changed.iter().find(|change| change["fact"] == "qemu").unwrap();
    assert_eq!((&qemu["from"], &qemu["to"]), (&"10.0.2".into(), &"10.1.0".into()));
    assert!(trend["expected_ms"].is_u64());
    assert_eq!(trend["measures"], serde_json::json!([]), "a store has no number");
    let measures = &json(&home, &["trend", TIMED])["measures"];
    let (timed, one) = (&measures[0], &measures[1]);
    assert_eq!((&timed["step"], &timed["name"]), (&0.into(), &"stores".into()));
    assert_eq!(
        (&one["step"], &one["name"], &one["boots"][0]["interval"]),
        (&1.into(), &"one".into(), &Value::Null)
    );
    assert!(
        [timed, one].iter().all(|measure| measure["boots"].as_array().unwrap().len() == 5),
        "a run is LOST"
    );
    let first = serde_json::json!({
        "run": nights[0], "boot": 1, "samples": 7, "median": 264_000, "interval": [261_000, 267_000],
        "min": 261_000, "max": 267_000,
    });
    assert_eq!(timed["boots"][0], first);
}

/// No machine boots: the cells are MISS, and so they are in the history.
#[test]
fn a_run_is_in_the_history_at_its_end() {
    let home = Home::new();
    let run = |arguments: &[&str]| {
        home.command(&[&["run", "--offline", KEY], arguments].concat()).output().unwrap()
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(3));
    let document = json(&home, &["history"]);
    assert_eq!(document["cells"][0]["last"]["verdict"], "MISS");
    assert_eq!(document["cells"][0]["last"]["run"], *home.runs()[0]);
    assert_eq!(run(&["--history", "../elsewhere"]).status.code(), Some(3));
    let elsewhere = json(&home, &["history", "--history", "../elsewhere"]);
    assert_eq!((&elsewhere["cells"][0]["runs"], &document["cells"][0]["runs"]), (&1.into(), &1.into()));
}

/// The history is for people's questions; the run's result is not.
#[test]
fn a_history_that_cannot_be_written_changes_no_exit_code() {
    let home = Home::new();
    home.write("notes", "not a history\n");
    let mut session = home.session();
    let run = ["run", "--offline", "-q", KEY, "--history"];
    let normal = home.command(&[&run[..], &["../h"]].concat()).output().unwrap();
    for file in ["../notes", "../none/h", ".."] {
        let output = home.command(&[&run[..], &[file]].concat()).output().unwrap();
        assert_eq!((output.status, &output.stdout), (normal.status, &normal.stdout), "{file}");
        let said = String::from_utf8(output.stderr).unwrap();
        let runs = home.runs();
        let said = runs.iter().fold(said, |said, run| said.replace(run, "RUN"));
        let warned: Vec<_> = said.lines().skip_while(|line| !line.starts_with("warning")).collect();
        session.note(&format!("--history {file}"));
        warned.iter().for_each(|line| session.note(line));
    }
    assert_eq!(home.read("notes"), "not a history\n");
    for verb in [&["history"][..], &["trend", KEY], &["history", "add", "latest"]] {
        let output = session.s2lab(&[verb, &["--history", "../notes"]].concat());
        assert_eq!(output.status.code(), Some(2), "{verb:?}");
    }
    session.check("history-not-written");
}

#[test]
fn a_bundle_and_a_part_of_a_run() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&[KEY, BAR])));
    let bundle = |arguments: &[&str]| {
        let output = home.command(&[&["bundle"], arguments].concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    bundle(&["--out", "../whole.gz"]);
    bundle(&["--cell", KEY, "--out", "../part.gz"]);
    let result = |run: &str| json(&home, &["history", "add", run])["runs"][0]["result"].clone();
    assert_eq!(
        [result("../part.gz"), result("../whole.gz"), result("../part.gz")],
        ["added", "again", "part"]
    );
    assert_eq!(result(RUN), "again");
    assert_eq!(json(&home, &["history"])["cells"].as_array().unwrap().len(), 2);
    // A run at work is added at its end.
    let log = fs::File::open(home.of_run("events.jsonl")).unwrap();
    log.lock().unwrap();
    assert_eq!(home.command(&["history", "add", RUN]).output().unwrap().status.code(), Some(2));
}
