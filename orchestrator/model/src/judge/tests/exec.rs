//! The step `exec`.

use super::*;
use crate::steps::{ExecStep, Executed};
use s2lab_protocol::ask::ProgramEnd;

const GOOD: &str = "KTAP version 1\n1..2\nok 1 map\nok 2 unmap # SKIP no memory\n";

fn step(place: &str) -> ExecStep {
    let step = serde_json::json!({"in": place, "file": "bin/repro", "args": ["-n", "3"]});
    serde_json::from_value(step).unwrap()
}

/// Returns a kernel with the series, where a program ends like this as the last step.
fn ended(place: &str, end: ProgramEnd, output: &str) -> Story {
    let mut story = Story::after();
    let at = story.cell.resolved.steps.len();
    story.cell.resolved.steps.push(Step::Exec(step(place)));
    story.cell.resolved.programs.insert("bin/repro".into(), "0".repeat(64));
    let executed = Executed { place: place.into(), file: "bin/repro".into(), end, output: output.into() };
    let data = Observation::Executed(executed);
    let last = story.events.iter().position(|event| matches!(event, Event::CellRecord { .. })).unwrap();
    story.events.insert(last, Event::Observed { step: at, data });
    story
}

#[test]
fn a_program_that_exits_with_0_passes_with_its_tests_in_the_report() {
    let good = ended("host", ProgramEnd::Exit(0), GOOD);
    assert_eq!(verdict(&good), pass("wc-honoured"));
    let report = good.report().to_string();
    let lines = "\n  exec host repro -n 3: exit 0\n  test host repro -n 3  map: ok\n  test host repro -n 3  unmap: skip\n";
    assert!(report.contains(lines), "{report}");
    let fact = format!("\n  blocking program bin/repro = sha256:{}\n", "0".repeat(64));
    assert!(report.contains(&fact), "{report}");
    assert_eq!(verdict(&ended("g0", ProgramEnd::Exit(0), "")), pass("wc-honoured"));
}

#[test]
fn every_other_end_is_a_finding() {
    for (end, words) in [
        (ProgramEnd::Exit(1), "found exit code 1 | one | two"),
        (ProgramEnd::Exit(4), "found exit code 4"),
        (ProgramEnd::Signal(11), "found killed by signal 11"),
        (ProgramEnd::Timeout, "found no end within 30s, and killed"),
        (ProgramEnd::Flood, "found more than 96K of output, and killed"),
        (ProgramEnd::Stuck, "stuck in the kernel"),
        (ProgramEnd::NotStarted("ENOEXEC".into()), "found not started: ENOEXEC"),
    ] {
        let story = ended("g0", end, "one\n\ntwo\n");
        found(&story, Verdict::Fail, &["repro in g0: expected exit code 0", words]);
    }
}

#[test]
fn a_test_that_is_not_ok_is_a_finding_by_its_name() {
    let output = "1..2\n  1..1\n  not ok 1 b\nnot ok 1 a\nnot ok 2 c # TODO later\n";
    let story = ended("host", ProgramEnd::Exit(0), output);
    found(&story, Verdict::Fail, &["test a/b of repro in host: expected ok, found not ok"]);
    found(&story, Verdict::Fail, &["test a of repro"]);
    assert_eq!(story.attempt().judgement.findings.len(), 2);
    assert_eq!(
        verdict(&ended("host", ProgramEnd::Exit(0), "1..1\nnot ok 1 c # TODO\n")),
        pass("wc-honoured")
    );
    let torn = ended("host", ProgramEnd::Exit(0), "1..3\nok 1 a\n");
    found(&torn, Verdict::Fail, &["results of repro in host: expected 3 results, as planned, found 1"]);
}

#[test]
fn a_program_that_runs_no_test_is_a_skip() {
    for (code, output) in
        [(4, "1..0 # SKIP no KVM\n"), (0, "1..0 # SKIP no KVM\n"), (4, "1..1\nok 1 a # SKIP\n")]
    {
        let skip = ended("host", ProgramEnd::Exit(code), output);
        assert!(
            matches!(verdict(&skip), Some(Verdict::Skip(why)) if why.starts_with("repro skips: ")),
            "{output}"
        );
    }
}

#[test]
fn a_program_runs_once_and_in_its_place() {
    let is_it = |event: &Event| matches!(event, Event::Observed { data: Observation::Executed(_), .. });
    let story = ended("host", ProgramEnd::Exit(0), GOOD);
    found(&story.clone().without(is_it), Verdict::Miss, &["repro in host", "found 0"]);
    let other = story.edit(|event| {
        if let Event::Observed { data: Observation::Executed(executed), .. } = event {
            executed.place = "g0".into();
        }
    });
    found(&other, Verdict::Miss, &["repro in host", "found 0"]);
}
