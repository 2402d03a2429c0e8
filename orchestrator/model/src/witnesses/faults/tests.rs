//! The witness on edited facts. The looks `stored` and `again` have a block of 2 MiB; between them the
//! device is reset.

use crate::event::{Event, StopCause};
use crate::hash::digest;
use crate::judge::Judgement;
use crate::judge::fixture::{BAR_IPA, BAR_SIZE, Machine, NC_BLOCK, Story};
use crate::lines::Testimony;
use crate::steps::{Executed, Observation, TracedFaults};
use crate::verdict::Verdict;
use s2lab_protocol::ask::{Faulted, Pages, ProgramEnd};
use serde_json::json;

const BLOCK: u64 = 2 << 20;
/// The steps of the two looks.
const STORED: usize = 1;
const AGAIN: usize = 4;

fn page(offset: u64) -> Pages {
    Pages { ipa: BAR_IPA + offset, pages: 1 }
}

fn traced(story: Story, step: usize, runs: &[Pages], incomplete: Option<&str>) -> Story {
    let faulted = Faulted { runs: runs.to_vec(), incomplete: incomplete.map(str::to_owned) };
    let data = TracedFaults { guest: "g0".into(), faulted };
    story.and(Event::Observed { step, data: Observation::TracedFaults(data) })
}

fn story(stored: &[Pages], again: &[Pages]) -> Story {
    traced(traced(Story::after(), STORED, stored, None), AGAIN, again, None)
}

fn agrees(story: &Story) -> bool {
    let Judgement { verdict, variable, .. } = story.attempt().judgement;
    matches!(verdict, Some(Verdict::Pass { .. })) && variable == [("faults", Testimony::Agrees)]
}

/// Returns what its findings expected and found.
#[track_caller]
fn found(story: &Story) -> Vec<String> {
    let judgement = story.attempt().judgement;
    assert_eq!(judgement.verdict, Some(Verdict::Fail));
    assert!(judgement.witnesses.contains(&("faults", Testimony::Contradicts)));
    assert_eq!(judgement.variable, []);
    let text = |what: &str| what.replace("faults of nic at ", "").replace("the kernel's own account ", "");
    judgement.findings.iter().map(|f| format!("{}: {}, {}", text(&f.what), f.expected, f.found)).collect()
}

#[test]
fn a_fault_anywhere_in_a_leaf_is_enough() {
    for offset in [0, 0x5000, BLOCK - Pages::SIZE] {
        assert!(agrees(&story(&[page(offset)], &[page(0)])));
    }
    // Other devices have pages beside the BAR.
    let beside = Pages { ipa: BAR_IPA + BAR_SIZE, pages: 3 };
    assert!(agrees(&story(&[page(0), beside], &[page(0)])));
}

#[test]
fn a_leaf_without_a_fault_contradicts() {
    let due = "a fault at each leaf since the last reset, no fault in 1 of 1, first IPA 0x8080000000";
    let at = |look: &str| format!("look {look}, guest g0: contradicts the tables: {due}");
    assert_eq!(found(&story(&[], &[page(0)])), [at("stored")]);
    // A fault before the reset is not one of the leaf after it.
    assert_eq!(found(&story(&[page(0)], &[])), [at("again")]);
    assert!(found(&story(&[page(BLOCK)], &[page(0)])).contains(&at("stored")));
}

#[test]
fn a_fault_without_a_leaf_contradicts() {
    let due = "a leaf at each fault, a fault at IPA 0x8080200000, and no leaf there";
    let at = |look: &str| format!("look {look}, guest g0: contradicts the tables: {due}");
    assert_eq!(found(&story(&[page(0), page(BLOCK)], &[page(0)])), [at("stored")]);
    // It may be older than the reset.
    assert!(agrees(&story(&[page(0)], &[page(0), page(BLOCK)])));
    let mut kept = story(&[page(0)], &[page(BLOCK)]);
    kept.cell.resolved.steps.remove(2);
    kept.events.retain(|event| {
        let of_reset =
            |data: &Observation| matches!(data, Observation::Reset(_) | Observation::AfterReset(_));
        !matches!(event, Event::Observed { data, .. } if of_reset(data))
    });
    let kept = kept.edit(|event| {
        if let Event::Observed { step, .. } = event
            && *step > 2
        {
            *step -= 1;
        }
    });
    // Without a reset, a leaf of an older fault stays.
    assert_eq!(found(&kept), [at("again")]);
}

/// It may have reset the device, or not: a leaf may be older than it, and an older fault need not have
/// left one.
#[test]
fn a_program_in_place_of_the_reset() {
    for again in [&[][..], &[page(0)], &[page(0), page(BLOCK)]] {
        let mut story = story(&[page(0)], again);
        let step = json!({"exec": {"in": "host", "file": "repro"}});
        story.cell.resolved.steps[2] = serde_json::from_value(step).unwrap();
        story.cell.resolved.programs.insert("repro".into(), digest(b"program"));
        story
            .events
            .retain(|event| !matches!(event, Event::Observed { data: Observation::AfterReset(_), .. }));
        let story = story.edit(|event| {
            if let Event::Observed { data: data @ Observation::Reset(_), .. } = event {
                let (place, file) = ("host".to_owned(), "repro".to_owned());
                let end = ProgramEnd::Exit(0);
                *data = Observation::Executed(Executed { place, file, end, output: String::new() });
            }
        });
        assert!(agrees(&story), "{again:?}");
    }
}

/// More than the part may have gone, or that alone.
#[test]
fn a_part_that_is_mapped_once_more_in_place_of_the_reset() {
    for again in [&[][..], &[page(0)], &[page(0), page(BLOCK)]] {
        assert!(agrees(&story(&[page(0)], again).renewed()), "{again:?}");
    }
}

#[test]
fn pages_are_leaves_of_their_own() {
    let pages = |n: u64| (BAR_IPA + n * Pages::SIZE, 0x80_0000_0000 + n * Pages::SIZE, 3, NC_BLOCK);
    let machine = Machine { blocks: 0, more: (0..256).map(pages).collect(), ..Machine::with(NC_BLOCK) };
    let with = |number: u64| {
        let first = Story::after();
        let outcome = crate::steps::ProbeOutcome::Answered(s2lab_protocol::ProbeEnd::Ok);
        let story = Story::of(first.cell.resolved.traits, &machine, true, outcome);
        let run = [Pages { ipa: BAR_IPA, pages: number }];
        traced(traced(story, STORED, &run, None), AGAIN, &run, None)
    };
    assert!(agrees(&with(256)));
    assert!(found(&with(255))[0].ends_with("no fault in 1 of 256, first IPA 0x80800ff000"));
    assert!(found(&with(257))[0].ends_with("a fault at IPA 0x8080100000, and no leaf there"));
}

#[test]
fn a_trace_with_gaps_is_silent() {
    let silent = |story: &Story| match story.attempt().judgement.variable.as_slice() {
        [("faults", Testimony::Silent(why))] => why.to_string(),
        other => panic!("{other:?}"),
    };
    let lost = traced(traced(Story::after(), STORED, &[], Some("lost")), AGAIN, &[], Some("lost"));
    assert_eq!(silent(&lost), "lost");
    let none = traced(Story::after(), STORED, &[page(0)], None);
    assert_eq!(silent(&none), "the log has no faults of a look");
    let stopped = story(&[page(0)], &[page(0)]).stopped(StopCause::Timeout);
    assert_eq!(silent(&stopped), "the cell did not complete");
    // Logs before 2.4.
    assert_eq!(Story::after().attempt().judgement.variable, []);
}
