//! Counts of steps: those that are due, their lines, and attempts that differ.

use super::*;
use crate::event::Attempts;
use crate::judge::fixture::{BAR_IPA, elsewhere};
use crate::record::Run;
use crate::steps::{Counted, Counts, FaultRun, TlbiRun, TracedTlbi};

/// Returns a story that counts, with so many stores in step 0.
fn counting(stores: u64) -> Story {
    let mut story = Story::after();
    story.cell.resolved.host.devices.get_mut("nic").unwrap().count = true;
    let first = TracedTlbi { word: 0xd50c_8021, operand: BAR_IPA >> 12, el: 2, vcpu: 0, vttbr: 0, hcr: 1 };
    for step in [0, 2, 3, 5] {
        let counted = Counted {
            device: "nic".into(),
            accesses: Counts { stores: [(8, stores)].into(), loads: [(8, 5)].into(), unplaced: 0 },
            faults: vec![FaultRun { ipa: BAR_IPA, step: 2 << 20, times: 8, instruction: false }],
            tlbis: vec![TlbiRun { first, then: None, step: 1, times: 3 }],
            incomplete: None,
        };
        story = story.and(Event::Observed { step, data: Observation::Counted(counted) });
    }
    story
}

fn lines(story: &Story) -> Vec<String> {
    story
        .report()
        .shape
        .lines
        .iter()
        .map(ToString::to_string)
        .filter(|line| line.starts_with("count"))
        .collect()
}

#[test]
fn each_step_that_names_a_counted_device_has_a_line() {
    let story = counting(131_072);
    assert_eq!(verdict(&story), pass("wc-honoured"));
    let lines = lines(&story);
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[0],
        "count step 0 nic  131072 stores of 8 B, 5 loads of 8 B, 8 data aborts, 0 instruction aborts, \
         3 stage-2 invalidations"
    );
    assert_eq!(lines[1].split(' ').nth(2), Some("2"));
    assert_eq!(self::lines(&Story::after()), [""; 0]);
}

#[test]
fn counts_that_are_due_must_be_there_and_whole() {
    let is_counted =
        |event: &Event| matches!(event, Event::Observed { step: 2, data: Observation::Counted(_) });
    let found = |story: &Story| {
        let judgement = story.attempt().judgement;
        assert_eq!(judgement.verdict, Some(Verdict::Miss));
        assert_eq!(judgement.findings[0].what, "step 2, counts of nic");
        judgement.findings[0].found.clone()
    };
    assert_eq!(found(&counting(1).without(is_counted)), "0");
    let twice = counting(1).events.into_iter().find(is_counted).unwrap();
    assert_eq!(found(&counting(1).and(twice)), "2");
    let spoilt = |change: fn(&mut Counted)| {
        counting(1).edit(|event| {
            if let Event::Observed { step: 2, data: Observation::Counted(counted) } = event {
                change(counted);
            }
        })
    };
    assert_eq!(found(&spoilt(|counted| counted.accesses.unplaced = 3)), "3 accesses to unknown places");
    let incomplete = spoilt(|counted| counted.incomplete = Some("overflow".into()));
    assert_eq!(found(&incomplete), "overflow");
    assert_eq!(lines(&incomplete).len(), 3);
}

#[test]
fn attempts_with_other_counts_are_flaky() {
    let both = |other: u64| {
        let (one, story) = (counting(7), counting(other));
        let mut lines = one.lines();
        let end = lines.pop().unwrap();
        let Event::Plan(plan) = &mut lines[0].event else { panic!() };
        plan.attempts = Attempts::Repeat(2);
        lines.extend(elsewhere(&story.lines(), &one.cell.key, 2));
        lines.push(end);
        lines.iter_mut().zip(0..).for_each(|(line, seq)| line.seq = seq);
        let run = Run::fold(lines).unwrap();
        let pages = one.pages.clone();
        crate::judge::judge_run(run, &|digest: &str| pages.get(digest).cloned()).cells.remove(0)
    };
    assert_eq!(both(7).verdict, Some(pass("wc-honoured").unwrap()));
    let flaky = both(8);
    assert_eq!(flaky.verdict, Some(Verdict::Flaky));
    let difference = crate::judge::difference(&flaky);
    assert!(
        difference.detail.iter().any(|line| line.contains("count step 0 nic  8 stores")),
        "{difference:#?}"
    );
}
