use super::*;
use crate::show::fixture::{self, change, changed, failed};
use s2lab_model::changes::ChangeKind;

/// Returns a sentence with the keys that it names.
fn text(sentence: &Sentence<'_>) -> String {
    let keys = sentence.cells.iter().map(|(key, remark)| match remark {
        Some(remark) => format!("{key} ({remark})"),
        None => key.to_string(),
    });
    let parts = [sentence.lead.clone()].into_iter().chain(sentence.what.clone());
    parts.chain([keys.collect::<Vec<_>>().join(" ")]).collect::<Vec<_>>().join(": ")
}

fn sentences(cells: Vec<CellSummary>) -> Vec<String> {
    let mut run = fixture::run_of(cells);
    run.orphaned.clear();
    of_run(&run).iter().map(text).collect()
}

#[test]
fn equal_changes_are_one_sentence() {
    let leaves = || vec![change(ChangeKind::Shape, "nic's leaves went from 2M to 4K (shape)")];
    let cells = ["bar@a", "bar@b", "idle@a"]
        .map(|key| CellSummary { standing: Some(changed(leaves())), ..fixture::cell(key) });
    let due = "on 3 cells: nic's leaves went from 2M to 4K (shape): bar@a bar@b idle@a";
    assert_eq!(sentences(cells.into()), [due]);
}

#[test]
fn failures_with_one_reason_are_one_sentence() {
    let cells = ["bar@b", "bar@a"].map(|key| failed(key, Standing::New));
    let why = "stage2 of nic at look stored, guest g0: expected Normal-NC, found Device-nGnRE";
    assert_eq!(sentences(cells.into()), [format!("FAIL on 2 cells: {why}: bar@a bar@b")]);
}

#[test]
fn a_failure_that_was_accepted_is_not_new() {
    let same = failed("bar@a", Standing::Compared(Outcome::Same));
    assert_eq!(sentences(vec![same]), ["not new: 1 cell fails as accepted: bar@a"]);
}

#[test]
fn what_has_no_result_is_always_named() {
    let changes = |n: usize| {
        let all = (0..9).map(|of| change(ChangeKind::Promised, &format!("{n} {of}")));
        CellSummary { standing: Some(changed(all.collect())), ..fixture::cell(&format!("bar-{n}@a")) }
    };
    let gaps = fixture::run().cells.into_iter().filter(|cell| Class::of(cell) == Class::NoResult);
    let found = sentences((0..9).map(changes).chain(gaps).collect());
    assert_eq!(found.len(), 5, "{found:#?}");
    assert_eq!(found[3], "and 78 more kinds of change, see below: ");
    assert_eq!(
        found[4],
        "no result on 5 cells, which says nothing about the kernel: bar@debian-6.1 (LOST) idle@debian-6.1 (MISS) \
         other@debian-6.1 (ERROR) other@given (not run) other@linux-6.12 (interrupted)"
    );
}

#[test]
fn the_worst_is_first() {
    let run = fixture::run();
    let classes: Vec<_> = worst_first(&run).into_iter().map(Class::of).collect();
    assert!(classes.is_sorted(), "{classes:?}");
    assert_eq!(classes.iter().filter(|class| **class == Class::Failed).count(), 5);
    assert_eq!(classes.iter().filter(|class| **class == Class::NoResult).count(), 5);
    assert_eq!(classes.iter().filter(|class| **class == Class::Open).count(), 4);
}

#[test]
fn a_diff_names_what_one_side_does_not_have() {
    let diff = fixture::diff();
    let found: Vec<_> = of_diff(&diff).iter().map(text).collect();
    assert_eq!(
        found,
        [
            "on 1 cell: ram: Normal-WB became Normal-NC: bar-b@linux-6.12",
            "on 2 cells: nic's leaves went from 2M to 4K (shape): bar-c@linux-6.12 bar-d@linux-6.12",
            "not comparable: 1 cell: bar-e@linux-6.12 (cpu: neoverse-n1 -> neoverse-v1)",
            "missing from the new side: 1 cell: bar@old",
            "only on the new side: 1 cell: bar@new",
        ]
    );
}
