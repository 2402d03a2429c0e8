//! The nights before a night.

use crate::{
    history,
    sample::{cell, failed, key, night, run},
};
use s2lab_history::{Added, FILE, History};
use s2lab_model::{
    lines::Text,
    night::{KnownFailure, PastNight},
    report::Report,
    summary::{CellSummary, KernelSummary, RunSummary},
    verdict::Verdict,
};

/// A cell with the release that its facts have.
fn released(cell: CellSummary) -> CellSummary {
    CellSummary {
        kernel: KernelSummary { release: Some("6.1.1".into()), ..KernelSummary::default() },
        ..cell
    }
}

fn tolerated(key: &str) -> CellSummary {
    let tolerated = KnownFailure {
        scenario: "a".into(),
        kernel: "k".into(),
        reason: "known".into(),
        link: None,
        who: "a team".into(),
        until: "2026-12-24".parse().unwrap(),
    };
    CellSummary { tolerated: Some(tolerated), ..failed(key, "at 0x1") }
}

fn control(verdict: Verdict) -> CellSummary {
    CellSummary { control: true, verdict: Some(verdict), ..cell("a@k+control=inverted") }
}

/// A good cell whose report has that word as its verdict.
fn reported(word: &str) -> CellSummary {
    CellSummary { report: Some(Report::empty(key("a@k"), Text::new(word))), ..cell("a@k") }
}

/// Returns the word of the good report before that day.
fn word(history: &History, day: u32) -> Option<String> {
    let past = history.nights_before(&night(day, vec![])).unwrap();
    past.good.get("a@k").map(|report| report.text().lines().next().unwrap_or_default().to_owned())
}

fn first_line(word: &str) -> Option<String> {
    reported(word).report.map(|report| report.text().lines().next().unwrap().to_owned())
}

#[test]
fn nights_come_back_as_they_went_in() {
    let (_dir, mut history) = history();
    let not_run = CellSummary { verdict: None, not_run: Some("--fail-fast".into()), ..cell("c@k") };
    let nights = [
        night(1, vec![released(cell("a@k")), control(Verdict::PASS)]),
        night(2, vec![released(tolerated("a@k")), released(cell("b@k"))]),
        night(3, vec![released(failed("a@k", "at 0x2")), released(not_run)]),
        night(4, vec![released(cell("a@k")), control(Verdict::Miss)]),
    ];
    // The order of adding does not matter.
    for place in [2, 0, 3, 1] {
        history.add(&nights[place]).unwrap();
    }
    let past = history.nights_before(&night(5, vec![])).unwrap();
    let latest_first: Vec<_> = nights.iter().rev().filter_map(PastNight::of).collect();
    assert_eq!(past.nights, latest_first);
    assert_eq!(past.nights.iter().map(|night| night.good).collect::<Vec<_>>(), [false, false, true, true]);
    assert!(!past.unread);
    // The same night, judged anew.
    assert_eq!(history.add(&night(4, vec![failed("a@k", ""), cell("b@k")])).unwrap(), Added::Again(3));
    let again = history.nights_before(&night(5, vec![])).unwrap();
    assert_eq!(again.nights[0].cells["a@k"].verdict.as_deref(), Some("FAIL"));
}

#[test]
fn the_nights_before_are_those_of_the_lab_that_began_earlier() {
    let (_dir, mut history) = history();
    let of_lab = |lab: &str, run: RunSummary| RunSummary { lab: Some(lab.into()), ..run };
    for run in [
        run(1, &["a@k"]),
        night(2, vec![reported("PASS")]),
        of_lab("/other", night(3, vec![reported("PASS")])),
        night(5, vec![reported("PASS")]),
    ] {
        history.add(&run).unwrap();
    }
    let dates = |run: &RunSummary| {
        let past = history.nights_before(run).unwrap();
        (
            past.nights.iter().map(|night| night.date.to_string()).collect::<Vec<_>>().join(" "),
            past.good.len(),
        )
    };
    assert_eq!(dates(&night(2, vec![])), (String::new(), 0), "a night is not before itself");
    assert_eq!(dates(&night(4, vec![])), ("2026-11-02".into(), 1));
    assert_eq!(dates(&night(6, vec![])), ("2026-11-05 2026-11-02".into(), 1));
    assert_eq!(dates(&of_lab("/other", night(6, vec![]))), ("2026-11-03".into(), 1));
    assert_eq!(dates(&of_lab("/third", night(6, vec![]))), (String::new(), 0));
}

#[test]
fn the_report_of_the_last_good_night_is_kept() {
    let (dir, mut history) = history();
    history.add(&RunSummary { night: None, ..night(1, vec![reported("PASS no night")]) }).unwrap();
    assert_eq!(word(&history, 2), None);
    for (day, word) in [(2, "PASS two"), (3, "PASS three")] {
        history.add(&night(day, vec![reported(word)])).unwrap();
    }
    let bad = CellSummary { verdict: Some(Verdict::Fail), ..reported("FAIL") };
    history.add(&night(4, vec![bad])).unwrap();
    assert_eq!(word(&history, 3), first_line("PASS two"));
    assert_eq!(word(&history, 5), first_line("PASS three"));
    // An older night that is added late does not count as the newest.
    history.add(&night(1, vec![reported("PASS one")])).unwrap();
    assert_eq!(word(&history, 5), first_line("PASS three"));
    // Few stay, whatever comes.
    for day in 5..9 {
        history.add(&night(day, vec![reported(&format!("PASS {day}"))])).unwrap();
    }
    let outside = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    let count = || outside.query_row("SELECT count(*) FROM good_report", [], |row| row.get::<_, i64>(0));
    assert_eq!(count().unwrap(), 3);
    assert_eq!((word(&history, 9), word(&history, 7)), (first_line("PASS 8"), first_line("PASS 6")));
    // One of another s2lab's format is left out.
    outside.execute_batch("UPDATE good_report SET text = '0' || text").unwrap();
    assert_eq!(word(&history, 9), None);
    assert_eq!(history.nights_before(&night(9, vec![])).unwrap().nights.len(), 8);
}

#[test]
fn a_merged_run_takes_the_place_of_its_shards() {
    let (_dir, mut history) = history();
    let part = |day, key: &str| RunSummary { lab: Some("/lab".into()), ..run(day, &[key]) };
    history.add(&part(1, "a@k")).unwrap();
    history.add(&part(2, "b@k")).unwrap();
    let other = RunSummary { lab: None, ..part(2, "c@k") };
    history.add(&other).unwrap();
    let merged = run(1, &["a@k", "b@k"]);
    let shards =
        [(Some("/lab"), "2026-11-01T02:00:00Z"), (Some("/lab"), "2026-11-02T02:00:00Z"), (Some("/lab"), "x")];
    // Nothing is removed if it cannot be added.
    let broken = RunSummary { started: "yesterday".into(), ..merged.clone() };
    history.add_merged(&broken, &shards).unwrap_err();
    assert_eq!(history.runs(None).unwrap().len(), 3);
    history.add_merged(&merged, &shards).unwrap();
    let runs: Vec<_> = history.runs(None).unwrap().into_iter().map(|run| (run.lab, run.cells)).collect();
    assert_eq!(runs, [(Some("/lab".into()), 2), (None, 1)]);
    assert_eq!(history.past(&key("b@k"), None).unwrap().len(), 1);
    history.add_merged(&merged, &shards).unwrap();
    assert_eq!(history.runs(None).unwrap().len(), 2, "merged again it is one");
}
