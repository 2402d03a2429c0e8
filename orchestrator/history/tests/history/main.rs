//! The history as its users see it: runs go in, and answers come out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail by panicking, as its tests do"
)]

mod nights;
mod processes;
mod sample;

use s2lab_history::{Added, FILE, History, HistoryError};
use s2lab_model::{
    history::{MeasureName, PastMeasure, RunEnding, Trend, fact, stand},
    record::environment,
    summary::{CellSummary, RunSummary},
    verdict::{Interrupt, Verdict},
};
use sample::{MACHINE, cell, facts, failed, key, night, run};
use std::time::Duration;

fn history() -> (tempfile::TempDir, History) {
    let dir = tempfile::tempdir().unwrap();
    let history = History::create(&dir.path().join(FILE)).unwrap();
    (dir, history)
}

#[test]
fn a_run_comes_back_as_it_went_in() {
    let (_dir, mut history) = history();
    let mut sample = run(1, &["a@k"]);
    sample.cells.push(failed("b@k", "at 0x1"));
    sample.cells.push(CellSummary { verdict: Some(Verdict::Skip("no vfio".into())), ..cell("c@k") });
    assert_eq!(history.add(&sample).unwrap(), Added::New(1));
    let runs = history.runs(None).unwrap();
    let [past] = &runs[..] else { panic!("{runs:?}") };
    assert_eq!(
        (&*past.name, past.folder.to_str(), past.lab.as_deref()),
        ("1", Some("/runs/1"), Some("/lab"))
    );
    assert_eq!((&*past.started, past.elapsed_ms, past.cells), ("2026-11-01T02:00:00Z", Some(17_000), 3));
    assert_eq!((past.ending, past.exit, past.night), (RunEnding::Ended, 0, None));
    let cells = history.cells(Some("/lab")).unwrap();
    assert_eq!(cells.keys().map(|key| key.as_str()).collect::<Vec<_>>(), ["a@k", "b@k", "c@k"]);
    let (a, b, c) = (&cells["a@k"][0], &cells["b@k"][0], &cells["c@k"][0]);
    assert_eq!(
        [a, b, c].map(|past| past.verdict.clone()),
        sample.cells.iter().map(|cell| cell.verdict.clone()).collect::<Vec<_>>()[..]
    );
    assert_eq!((a.complete, a.elapsed_ms, a.boot_ms, a.attempts), (true, Some(16_000), Some(8_500), 1));
    assert_eq!((a.standing.as_deref(), b.standing.as_deref()), (Some("same"), Some("changed")));
    assert_eq!((&a.finding, &a.lead), (&None, &None));
    assert_eq!(b.lead.as_deref(), Some("stage2 of nic: expected Normal-NC, found Device-nGnRE"));
    assert_eq!(history.past(&key("b@k"), Some("/lab")).unwrap(), cells["b@k"]);
    assert_eq!(history.cells(Some("/other")).unwrap().len(), 0);
    assert_eq!(history.past(&key("z@k"), None).unwrap(), []);
}

#[test]
fn conditions_leave_out_what_has_no_meaning() {
    let (_dir, mut history) = history();
    history.add(&run(1, &["a@k"])).unwrap();
    let mut slower = run(2, &["a@k"]);
    slower.cells[0].environment = facts("6.1.1", "2.0");
    history.add(&slower).unwrap();
    let past = history.past(&key("a@k"), None).unwrap();
    assert_eq!(past[0].facts, past[1].facts);
    let names: Vec<_> = past[0].facts.keys().map(String::as_str).collect();
    assert_eq!(names, ["cell", "cpu", "kernel", "lab commit", "lab folder", "machine", "s2lab"]);
    assert_eq!((past[0].fact(fact::MACHINE), past[0].fact(environment::CELL)), (Some(MACHINE), Some("5e")));
}

#[test]
fn the_same_run_twice_is_one() {
    let (_dir, mut history) = history();
    let whole = night(1, vec![cell("a@k"), cell("b@k")]);
    assert_eq!(history.add(&whole).unwrap(), Added::New(1));
    let judged_anew = RunSummary { cells: vec![cell("a@k"), failed("b@k", "")], ..whole.clone() };
    assert_eq!(history.add(&judged_anew).unwrap(), Added::Again(1));
    let part = RunSummary { cells: vec![cell("b@k")], ..whole };
    assert_eq!(history.add(&part).unwrap(), Added::Part(1));
    let (runs, b) = (history.runs(None).unwrap(), history.past(&key("b@k"), None).unwrap());
    assert_eq!((runs.len(), runs[0].cells, runs[0].night), (1, 2, Some(false)));
    assert_eq!((b.len(), &b[0].verdict), (1, &Some(Verdict::Fail)));
    let elsewhere = RunSummary { lab: Some("/other".into()), ..run(1, &["a@k"]) };
    assert_eq!(history.add(&elsewhere).unwrap(), Added::New(2));
    assert_eq!(history.labs().unwrap(), ["/lab", "/other"]);
}

#[test]
fn runs_without_an_end_are_marked() {
    let (_dir, mut history) = history();
    let lost = CellSummary { verdict: Some(Verdict::Lost), complete: false, elapsed_ms: None, ..cell("a@k") };
    history.add(&RunSummary { whole: false, cells: vec![lost], exit: 3, ..run(1, &[]) }).unwrap();
    let open = CellSummary { verdict: None, started_ms: None, elapsed_ms: None, ..cell("a@k") };
    let interrupted = Some(Interrupt::Terminate);
    history.add(&RunSummary { interrupted, cells: vec![open.clone()], exit: 143, ..run(2, &[]) }).unwrap();
    let left = CellSummary { not_run: Some("--fail-fast".into()), ..open };
    history.add(&RunSummary { cells: vec![left], exit: 3, ..run(3, &[]) }).unwrap();
    let of = |run: &s2lab_model::history::PastRun| (run.ending, run.exit, run.elapsed_ms);
    let runs: Vec<_> = history.runs(None).unwrap().iter().map(of).collect();
    let due = [(RunEnding::Lost, 3, None), (RunEnding::Interrupted, 143, None), (RunEnding::Ended, 3, None)];
    assert_eq!(runs, due);
    let past = history.past(&key("a@k"), None).unwrap();
    assert_eq!(past.iter().map(|cell| cell.letter()).collect::<String>(), "L--");
    assert_eq!(past[2].not_run.as_deref(), Some("--fail-fast"));
}

#[test]
fn a_time_that_is_none_is_refused() {
    let (_dir, mut history) = history();
    let error = history.add(&RunSummary { started: "yesterday".into(), ..run(1, &["a@k"]) }).unwrap_err();
    assert!(matches!(error, HistoryError::Time { .. }), "{error}");
    assert_eq!(history.runs(None).unwrap(), []);
}

/// Nights of one cell: good, bad with the same finding twice whatever the evidence, mended.
#[test]
fn a_regression_and_its_end() {
    let (_dir, mut history) = history();
    let with = |kernel: &str, cell| CellSummary { environment: facts(kernel, "1"), ..cell };
    let nights = [
        with("6.1.1", cell("a@k")),
        with("6.1.2", failed("a@k", "at 0x1")),
        with("6.1.2", failed("a@k", "at 0x2")),
    ];
    // The order of adding does not matter.
    for (day, cell) in [3, 1, 2].into_iter().map(|day| (day, nights[day as usize - 1].clone())) {
        history.add(&RunSummary { cells: vec![cell], ..run(day, &[]) }).unwrap();
    }
    let past = history.past(&key("a@k"), None).unwrap();
    let trend = Trend::of(&past).unwrap();
    let name = |cell: Option<&s2lab_model::history::PastCell>| cell.map(|cell| cell.run.name.clone());
    assert_eq!((name(trend.last_good), name(trend.first_bad)), (Some("1".into()), Some("2".into())));
    let changed: Vec<_> = trend.changed.iter().map(|change| (change.name, change.from, change.to)).collect();
    assert_eq!(changed, [("kernel", "6.1.1", "6.1.2")]);
    let stand = stand(&past).unwrap();
    assert_eq!((&*stand.since.run.name, stand.runs, stand.is_new()), ("2", 2, false));
    history.add(&RunSummary { cells: vec![nights[0].clone()], ..run(4, &[]) }).unwrap();
    let past = history.past(&key("a@k"), None).unwrap();
    assert_eq!(Trend::of(&past).unwrap().first_bad, None);
}

#[test]
fn durations_are_those_of_complete_cells_on_such_a_machine() {
    let (_dir, mut history) = history();
    let taking = |elapsed_ms, complete, machine: &str| CellSummary {
        elapsed_ms: Some(elapsed_ms),
        complete,
        machine: Some(machine.into()),
        ..cell("a@k")
    };
    let mut day = 0;
    let mut add = |cell| {
        day += 1;
        history.add(&RunSummary { cells: vec![cell], ..run(day, &[]) }).unwrap();
    };
    (0..5).for_each(|_| add(taking(90_000, true, MACHINE)));
    (0..4).for_each(|_| add(taking(10_000, true, MACHINE)));
    add(taking(500, false, MACHINE));
    (0..6).for_each(|_| add(taking(20_000, true, MACHINE)));
    add(taking(1, true, "aarch64, 64 CPUs"));
    let of = |machine: &str| history.durations([&key("a@k"), &key("b@k")], machine).unwrap();
    assert_eq!(of(MACHINE), [(key("a@k"), Duration::from_secs(20))].into(), "the newest ten");
    assert_eq!(of("aarch64, 64 CPUs"), [(key("a@k"), Duration::from_millis(1))].into());
    assert_eq!(of("another"), [].into());
}

#[test]
fn measures_are_kept_by_run_and_boot() {
    let (_dir, mut history) = history();
    history.add(&run(2, &["a@k"])).unwrap();
    history.add(&run(1, &["a@k", "b@k"])).unwrap();
    let name = || MeasureName { step: 2, name: "stores".into() };
    let boots = |run| {
        [
            PastMeasure {
                run,
                name: name(),
                boot: 1,
                samples: 3,
                median: 553,
                interval: None,
                min: 342,
                max: 765,
            },
            PastMeasure {
                run,
                name: name(),
                boot: 2,
                samples: 6,
                median: 3,
                interval: Some((1, 6)),
                min: 1,
                max: 6,
            },
        ]
    };
    let found = history.measures(&key("a@k"), Some("/lab")).unwrap();
    assert_eq!(found, [boots(2), boots(1)].concat(), "the oldest run first");
    assert_eq!(history.measures(&key("a@k"), Some("/other")).unwrap(), []);
    // A run that is judged anew has what it has now.
    let none = CellSummary { measures: vec![], ..cell("a@k") };
    history.add(&RunSummary { cells: vec![none, cell("b@k")], ..run(1, &[]) }).unwrap();
    assert_eq!(history.measures(&key("a@k"), None).unwrap(), boots(1));
}

#[test]
fn values_that_no_s2lab_writes_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let mut history = History::create(&path).unwrap();
    history.add(&run(1, &["a@k"])).unwrap();
    let outside = rusqlite::Connection::open(&path).unwrap();
    for (spoil, repair) in [
        ("UPDATE cell SET verdict = 'GOOD'", "UPDATE cell SET verdict = 'PASS'"),
        ("UPDATE cell SET key = '../a'", "UPDATE cell SET key = 'a@k'"),
        ("UPDATE cell SET elapsed_ms = -1", "UPDATE cell SET elapsed_ms = 1"),
        ("UPDATE run SET ending = 'well'", "UPDATE run SET ending = 'ended'"),
    ] {
        outside.execute_batch(spoil).unwrap();
        assert!(matches!(history.cells(None), Err(HistoryError::Damaged { .. })), "{spoil}");
        outside.execute_batch(repair).unwrap();
        assert_eq!(history.cells(None).unwrap().len(), 1);
    }
}
