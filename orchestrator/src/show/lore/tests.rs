use super::*;
use crate::show::{fixture, mail::COLUMNS};
use proptest::prelude::*;
use s2lab_model::report::Standing;

/// Checks the rule of the width: a longer line is one name, or one argument of a command.
fn holds(text: &str) -> Result<(), TestCaseError> {
    prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{text:?}");
    prop_assert!(text.ends_with('\n') && !text.contains("\n\n\n"), "{text}");
    for line in text.lines().filter(|line| line.len() > COLUMNS) {
        let one = line.trim().trim_end_matches(" \\");
        let quoted = one.starts_with(['\'', '$']) && one.ends_with('\'');
        prop_assert!(quoted || !one.contains(' '), "{} columns: {line}", line.len());
    }
    prop_assert!(text.lines().all(|line| line.trim_end() == line), "spaces at an end");
    Ok(())
}

#[test]
fn a_run() {
    let text = run(&fixture::run());
    holds(&text).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn a_diff() {
    let text = diff(&fixture::diff());
    holds(&text).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn every_failure_says_what_was_expected_and_found() {
    let text = run(&fixture::run());
    let due = "             expected Normal-NC\n             found    Device-nGnRE\n";
    assert_eq!(text.matches(due).count(), 2, "{text}");
}

/// Only a run that shows nothing wrong may be signed as tested, only a new failure as found.
#[test]
fn tags_fit_the_result() {
    let of = |cell, exit| {
        let mut summary = fixture::run_of(vec![cell]);
        summary.exit = exit;
        let text = run(&summary);
        ["Tested-by", "Reported-by"].map(|tag| text.contains(&format!("\n{tag}: [your name")))
    };
    assert_eq!(of(fixture::cell("bar@a"), 0), [true, false]);
    assert_eq!(of(fixture::failed("bar@a", Standing::New), 1), [false, true]);
    let known = Standing::Compared(s2lab_model::report::Outcome::Same);
    assert_eq!(of(fixture::failed("bar@a", known), 1), [false, false]);
    let changed = CellSummary { standing: Some(fixture::changed(vec![])), ..fixture::cell("bar@a") };
    assert_eq!(of(changed, 0), [false, false]);
    let lost = fixture::run().cells.into_iter().find(|cell| cell.key == "bar@debian-6.1").unwrap();
    assert_eq!(of(lost, 3), [false, false]);
}

/// Each path is whole.
#[test]
fn the_files_of_an_entrys_patches_are_named() {
    let long = format!("images/patches/{}.patch", "x".repeat(80));
    let mut cell = fixture::cell("bar@linux-6.1-wc");
    let files = vec!["images/patches/6.1-wc".into(), long.clone()];
    cell.series = Some(s2lab_model::event::SeriesOrigin { files, ..fixture::series() });
    let text = run(&fixture::run_of(vec![cell]));
    holds(&text).unwrap();
    for part in [
        "images/patches/6.1-wc",
        &long,
        "4 patches",
        "https://lore.kernel.org/r/20240220072926.6466-1-someone%2Fx@example.org",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_line_is_too_long(summary in fixture::any_run()) {
        holds(&run(&summary))?;
    }
}
