use super::*;
use crate::event::Stage;
use proptest::prelude::*;

fn run(id: i64) -> PastRun {
    PastRun {
        id,
        name: format!("run-{id}"),
        folder: "/runs".into(),
        lab: None,
        started: String::new(),
        began: id,
        s2lab: String::new(),
        elapsed_ms: None,
        ending: RunEnding::Ended,
        exit: 0,
        night: None,
        cells: 1,
    }
}

fn verdict(letter: char) -> Option<Verdict> {
    Some(match letter {
        'P' => Verdict::PASS,
        'F' => Verdict::Fail,
        'T' => Verdict::Timeout(Stage::Steps),
        'Y' => Verdict::Flaky,
        'E' => Verdict::Error,
        'M' => Verdict::Miss,
        'L' => Verdict::Lost,
        'S' => Verdict::Skip("no x".into()),
        _ => return None,
    })
}

/// Returns a cell for each letter. All have the same conditions, and one finding for each verdict.
fn cells(letters: &str) -> Vec<PastCell> {
    let facts = Arc::new(Facts::from([("kernel".to_owned(), "6.1".to_owned())]));
    let cell = |(id, letter): (i64, char)| PastCell {
        run: Arc::new(run(id)),
        key: "a@k".parse().unwrap(),
        verdict: verdict(letter),
        not_run: None,
        attempts: 1,
        complete: true,
        elapsed_ms: None,
        boot_ms: None,
        report: None,
        standing: None,
        finding: (letter != 'P').then(|| letter.to_string()),
        lead: None,
        facts: facts.clone(),
    };
    (0..).zip(letters.chars()).map(cell).collect()
}

fn with_fact(cell: &mut PastCell, name: &str, value: &str) {
    Arc::make_mut(&mut cell.facts).insert(name.into(), value.into());
}

/// Returns the places of the last good and the first bad run, and the rate.
fn places(letters: &str) -> (Option<i64>, Option<i64>, (usize, usize)) {
    let cells = cells(letters);
    let trend = Trend::of(&cells).unwrap();
    let place = |cell: Option<&PastCell>| cell.map(|cell| cell.run.id);
    (place(trend.last_good), place(trend.first_bad), (trend.flaky.flaky, trend.flaky.judged))
}

#[test]
fn last_good_and_first_bad() {
    for (letters, due) in [
        ("P", (Some(0), None, (0, 1))),
        ("F", (None, Some(0), (0, 1))),
        ("M-", (None, None, (0, 0))),
        ("PPFF", (Some(1), Some(2), (1, 4))),
        ("PFP", (Some(2), None, (2, 3))),
        ("FPMLTF", (Some(1), Some(4), (2, 4))),
        ("PM", (Some(0), None, (0, 1))),
        ("PYP", (Some(2), None, (1, 3))),
        ("PYF", (Some(0), Some(1), (2, 3))),
        ("PSE-", (Some(0), None, (0, 1))),
    ] {
        assert_eq!(places(letters), due, "{letters}");
    }
    assert_eq!(Trend::of(&[]), None);
}

#[test]
fn another_result_under_other_conditions_is_not_flaky() {
    let mut cells = cells("PPFF");
    for cell in &mut cells[2..] {
        with_fact(cell, "kernel", "6.2");
    }
    with_fact(&mut cells[0], "gone", "x");
    with_fact(&mut cells[2], "qemu", "10.0");
    let trend = Trend::of(&cells).unwrap();
    assert_eq!((trend.flaky, trend.flaky.percent()), (Rate { flaky: 0, judged: 4 }, 0));
    assert_eq!(trend.changed, [FactChange { name: "kernel", from: "6.1", to: "6.2" }]);
}

#[test]
fn a_rate_is_rounded_up() {
    let percent = |flaky, judged| Rate { flaky, judged }.percent();
    assert_eq!(
        [percent(0, 0), percent(0, 9), percent(1, 300), percent(1, 4), percent(4, 4)],
        [0, 0, 1, 25, 100]
    );
}

#[test]
fn a_result_stands_since() {
    let of = |letters: &str| {
        let cells = cells(letters);
        stand(&cells).map(|stand| (stand.since.run.id, stand.runs))
    };
    for (letters, due) in [
        ("PF", Some((1, 1))),
        ("PFFF", Some((1, 3))),
        ("FPF", Some((2, 1))),
        ("PF-MF", Some((1, 2))),
        ("PFTF", Some((3, 1))),
        ("PPP", Some((0, 3))),
        ("MMFM", Some((3, 1))),
        ("M-M", Some((0, 2))),
        ("F-", None),
        ("", None),
    ] {
        assert_eq!(of(letters), due, "{letters}");
    }
    let mut other = cells("FFF");
    other[1].finding = Some("another".into());
    assert!(stand(&other).unwrap().is_new(), "another finding is between");
}

#[test]
fn an_expected_time_is_that_of_the_newest() {
    assert_eq!(expected(&[]), None);
    let ms = Duration::from_millis;
    assert_eq!(expected(&[30, 10, 20]), Some(ms(20)));
    let eleven = [vec![5; 6], vec![9_000; 40]].concat();
    assert_eq!(expected(&eleven), Some(ms(5)));
}

/// Returns the trend by its definition, run by run.
fn by_definition(letters: &[char]) -> (Option<usize>, Option<usize>) {
    let (mut good, mut bad) = (None, None);
    for (at, letter) in letters.iter().enumerate() {
        match letter {
            'P' => (good, bad) = (Some(at), None),
            'F' | 'T' | 'Y' => bad = bad.or(Some(at)),
            _ => {}
        }
    }
    (good, bad)
}

proptest! {
    #[test]
    fn a_trend_is_as_defined(letters in "[PFTYEMLS-]{1,20}") {
        let found = places(&letters);
        let due = by_definition(&letters.chars().collect::<Vec<_>>());
        let place = |at: Option<usize>| at.map(|at| at as i64);
        prop_assert_eq!((found.0, found.1), (place(due.0), place(due.1)));
        let judged = letters.chars().filter(|c| "PFTY".contains(*c)).count();
        prop_assert_eq!(found.2.1, judged);
        prop_assert!(found.2.0 <= judged);
    }

    /// Results that show nothing about the kernel change nothing.
    #[test]
    fn failures_of_the_lab_change_no_trend(letters in "[PFTY]{1,12}", at in 0usize..12, lab in "[EML-]") {
        let at = at.min(letters.len());
        let mixed = format!("{}{lab}{}", &letters[..at], &letters[at..]);
        let moved = |place: Option<i64>| place.map(|place| place + i64::from(place >= at as i64));
        let (good, bad, rate) = places(&letters);
        prop_assert_eq!(places(&mixed), (moved(good), moved(bad), rate));
    }

    #[test]
    fn what_stands_is_one_result(letters in "[PFTYEMLS-]{1,20}") {
        let cells = cells(&letters);
        match stand(&cells) {
            None => prop_assert!(letters.ends_with('-')),
            Some(stand) => {
                let from = stand.since.run.id as usize;
                let last = letters.chars().last().unwrap();
                let same = letters[from..].chars().filter(|c| *c == last).count();
                prop_assert_eq!(same, stand.runs);
                prop_assert!(letters[from..].chars().all(|c| c == last || "-MLE".contains(c)));
            }
        }
    }

    #[test]
    fn an_expected_time_is_one_that_was_near(times in proptest::collection::vec(1u64..1_000_000, 1..30)) {
        let newest = &times[..times.len().min(MOST_TIMES)];
        let expected = expected(&times).unwrap().as_millis() as u64;
        prop_assert!(newest.iter().min().unwrap() <= &expected && &expected <= newest.iter().max().unwrap());
    }
}
