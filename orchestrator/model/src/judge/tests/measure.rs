//! The step `measure`.

use super::*;
use crate::steps::{MeasureStep, Sample};

/// The warm-up and six samples, in the order of the log.
const TIMES: [u64; 7] = [900, 5, 1, 3, 2, 6, 4];

fn edited(change: fn(&mut Sample)) -> Story {
    Story::measuring(&TIMES).edit(|event| {
        if let Event::Observed { data: Observation::Sample(sample), .. } = event {
            change(sample);
        }
    })
}

fn is_sample(number: u32) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Observed { data: Observation::Sample(of), .. } if of.number == number)
}

#[test]
fn samples_pass_whatever_their_times_are_and_are_in_the_report() {
    assert_eq!(verdict(&Story::measuring(&TIMES)), pass("wc-honoured"));
    let report = Story::measuring(&TIMES).report().to_string();
    let promised =
        "\n  measure x, store g0 nic wc 8 B: 131072 stores, BAR file equal, read-back equal\n  look stored";
    assert!(report.contains(promised), "{report}");
    let number = "\n  step 0  measure x  boot 1  n 6  median 3 ns  95 % 1..6  min 1  max 6\n";
    assert!(report.contains(number), "{report}");
    let slower = Story::measuring(&TIMES.map(|time| 1000 * time));
    assert_eq!(verdict(&slower), pass("wc-honoured"));
    let few = Story::measuring(&[1, 8, 9]).report().to_string();
    assert!(few.contains("  n 2  median 8 ns  95 % unknown  min 8  max 9\n"), "{few}");
}

#[test]
fn each_sample_is_there_once_and_as_planned() {
    let missing = Story::measuring(&TIMES).without(is_sample(3));
    found(&missing, Verdict::Miss, &["step 0, store 3 of measure x", "found 0"]);
    let again = Story::measuring(&TIMES).events.into_iter().find(is_sample(6)).unwrap();
    found(&Story::measuring(&TIMES).and(again), Verdict::Miss, &["store 6 of measure x", "found 2"]);
    let other: [fn(&mut Sample); 3] =
        [|of| of.warm_up = !of.warm_up, |of| of.measure = "y".into(), |of| of.number += 1];
    for change in other {
        found(&edited(change), Verdict::Miss, &["store 0 of measure x", "found 0"]);
    }
    let other: [fn(&mut Sample); 3] =
        [|of| of.stored.result.nanos = 0, |of| of.stored.bytes = 64, |of| of.stored.guest = "g1".into()];
    for change in other {
        found(&edited(change), Verdict::Miss, &["step 0, store: expected 1M bytes by g0 to nic"]);
    }
}

#[test]
fn a_reset_is_before_each_store_or_before_none() {
    let unasked = edited(|sample| sample.reset = Some("bus".into()));
    found(&unasked, Verdict::Miss, &["step 0, reset before store 0: expected no reset, found bus"]);
    let resetting = |mut story: Story| {
        let Step::Measure(MeasureStep { reset, .. }) = &mut story.cell.resolved.steps[0] else {
            panic!("a measure")
        };
        *reset = Some("nic".into());
        story
    };
    assert_eq!(verdict(&resetting(unasked)), pass("wc-honoured"));
    let none = resetting(Story::measuring(&TIMES));
    found(&none, Verdict::Miss, &["reset before store 0: expected a reset of nic, found no reset"]);
}

#[test]
fn bytes_of_a_sample_that_did_not_arrive_are_the_kernels_fault() {
    let wrong = edited(|sample| sample.stored.file_difference = Some(0x40).filter(|_| sample.number == 4));
    found(&wrong, Verdict::Fail, &["BAR file after step 0, store 8 B to nic", "from offset 0x40"]);
    let report = wrong.report().to_string();
    assert!(report.contains("  measure x, store g0 nic wc 8 B: 131072 stores, BAR file DIFFERS"), "{report}");
    let elsewhere = edited(|sample| sample.stored.result.bar.index = 4);
    found(&elsewhere, Verdict::Fail, &["g0's store to nic in step 0", "contradicts QEMU"]);
}
