//! The step `suite`.

use super::*;
use crate::steps::{Executed, HOST, SuiteStep};
use s2lab_protocol::ask::ProgramEnd;

const TESTS: [&str; 2] = ["kvm_page_table_test -b 64M", "page_fault_test"];

/// Returns a kernel with the series, where the tests of a suite end like these as the last step.
fn ended(ends: [(ProgramEnd, &str); 2]) -> Story {
    let mut story = Story::after();
    let step = serde_json::json!({"of": "kvm-selftests", "tests": TESTS, "timeout": "2m"});
    let step: SuiteStep = serde_json::from_value(step).unwrap();
    let at = story.cell.resolved.steps.len();
    let files: Vec<_> = step.tests().map(|test| test.file()).collect();
    story.cell.resolved.steps.push(Step::Suite(step));
    for (file, (end, output)) in files.into_iter().zip(ends) {
        let data = Observation::Executed(Executed { place: HOST.into(), file, end, output: output.into() });
        let last = story.events.iter().position(|event| matches!(event, Event::CellRecord { .. })).unwrap();
        story.events.insert(last, Event::Observed { step: at, data });
    }
    story
}

const GOOD: (ProgramEnd, &str) = (ProgramEnd::Exit(0), "Testing guest mode: PA-bits:48\n");
const SKIPPED: (ProgramEnd, &str) = (ProgramEnd::Exit(4), "1..0 # SKIP - no userfaultfd\n");

#[test]
fn a_selftest_has_a_row_with_and_without_results_of_its_own() {
    let good = ended([GOOD, (ProgramEnd::Exit(0), "TAP version 13\n1..2\nok 1 map\nok 2 unmap\n")]);
    assert_eq!(verdict(&good), pass("wc-honoured"));
    let report = good.report().to_string();
    let lines = "
  exec host kvm-selftests/kvm_page_table_test -b 64M: exit 0
  test host kvm-selftests/kvm_page_table_test -b 64M  kvm_page_table_test: ok
  exec host kvm-selftests/page_fault_test: exit 0
  test host kvm-selftests/page_fault_test  map: ok
  test host kvm-selftests/page_fault_test  unmap: ok
";
    assert!(report.contains(lines), "{report}");
}

#[test]
fn every_other_end_is_a_finding_about_the_test() {
    for (end, words) in [
        (ProgramEnd::Exit(254), "found exit code 254 | ==== Test Assertion Failure ===="),
        (ProgramEnd::Signal(6), "found killed by signal 6"),
        (ProgramEnd::Timeout, "found no end within 2m, and killed"),
        (ProgramEnd::Flood, "found more than 96K of output, and killed"),
    ] {
        let story = ended([GOOD, (end, "==== Test Assertion Failure ====\n")]);
        found(&story, Verdict::Fail, &["page_fault_test in host: expected exit code 0", words]);
        let report = story.report().to_string();
        assert!(report.contains("page_fault_test  page_fault_test: not ok\n"), "{report}");
    }
    let story = ended([GOOD, (ProgramEnd::Exit(0), "1..1\nnot ok 1 map\n")]);
    found(&story, Verdict::Fail, &["test map of page_fault_test in host: expected ok, found not ok"]);
}

/// One that is skipped is a row. If all are, nothing was tested.
#[test]
fn a_suite_whose_tests_are_all_skipped_is_a_skip() {
    let one = ended([GOOD, SKIPPED]);
    assert_eq!(verdict(&one), pass("wc-honoured"));
    assert!(
        one.report()
            .to_string()
            .contains("  test host kvm-selftests/page_fault_test  page_fault_test: skip\n")
    );
    for skipped in [SKIPPED, (ProgramEnd::Exit(4), "")] {
        let all = ended([SKIPPED, skipped]);
        let why = "kvm_page_table_test skips: no userfaultfd";
        assert!(
            matches!(verdict(&all), Some(Verdict::Skip(found)) if found.starts_with(why)),
            "{:?}",
            verdict(&all)
        );
    }
    found(&ended([SKIPPED, (ProgramEnd::Exit(1), "")]), Verdict::Fail, &["page_fault_test in host"]);
}

#[test]
fn each_test_runs_once() {
    let is_it = |event: &Event| match event {
        Event::Observed { data: Observation::Executed(executed), .. } => executed.file.ends_with("-b 64M"),
        _ => false,
    };
    let story = ended([GOOD, GOOD]);
    found(&story.clone().without(is_it), Verdict::Miss, &["kvm_page_table_test in host", "found 0"]);
    let other = story.edit(|event| {
        if let Event::Observed { data: Observation::Executed(executed), .. } = event {
            executed.file = executed.file.replace("64M", "32M");
        }
    });
    found(&other, Verdict::Miss, &["kvm_page_table_test in host", "found 0"]);
}
