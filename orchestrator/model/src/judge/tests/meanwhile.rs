//! The step `while`.

use super::*;
use crate::judge::fixture::after_reset;
use crate::scenario::{Promise, Vmm};
use crate::steps::{HostStep, Raced, WhileStep};

/// Returns the story with a loop in place of the reset between its looks.
fn racing(host: Vec<HostStep>) -> Story {
    let mut story = Story::after();
    let cell = &mut story.cell.resolved;
    cell.promises.insert(Promise::RESET);
    cell.guests.get_mut("g0").unwrap().vmm = Vmm::Builtin;
    let Step::Store(store) = cell.steps[3].clone() else { panic!("no store") };
    let step = WhileStep { store, host: host.clone(), log: true, rounds: 1, seed: 7 };
    let disables = step.disables();
    cell.steps[2] = Step::While(step);
    let is_stored = |event: &Event| matches!(event, Event::Observed { step: 3, .. });
    let mut stored = story.events.iter().find(|event| is_stored(event)).unwrap().clone();
    if let Event::Observed { step, .. } = &mut stored {
        *step = 2;
    }
    let (guest, device) = ("g0".into(), "nic".into());
    let (refused, passes, faults) = (None, 40, u64::from(disables) * 7);
    let operations = host;
    let raced = Raced { guest, device, rounds: 1, seed: 7, operations, log: true, refused, passes, faults };
    let is_reset = |event: &Event| matches!(event, Event::Observed { data: Observation::Reset(_), .. });
    let at = story.events.iter().position(is_reset).unwrap();
    story.events.splice(at..=at, [Event::Observed { step: 2, data: Observation::Raced(raced) }, stored]);
    let is_after = |event: &Event| matches!(event, Event::Observed { data: Observation::AfterReset(_), .. });
    match disables {
        true => story.edit(|event| {
            if let Event::Observed { data: Observation::AfterReset(after), .. } = event {
                after.round = Some(1);
            }
        }),
        false => story.without(is_after),
    }
}

fn off_and_on() -> Story {
    racing(vec![HostStep::MemoryOff("nic".into()), HostStep::MemoryOn("nic".into())])
}

fn edited(story: Story, change: fn(&mut Raced)) -> Story {
    story.edit(|event| {
        if let Event::Observed { data: Observation::Raced(raced), .. } = event {
            change(raced);
        }
    })
}

#[test]
fn a_loop_passes_and_its_seed_is_in_the_report() {
    assert_eq!(verdict(&off_and_on()), pass("wc-honoured"));
    let report = off_and_on().report().to_string();
    let promised = "\n  while g0 stores to nic: 1 rounds, seed 7, log ram, memory-off nic, memory-on nic\n\
        \x20 store g0 nic wc 8 B: 512 stores, BAR file equal, read-back equal\n";
    assert!(report.contains(promised), "{report}");
    assert_eq!(verdict(&racing(vec![HostStep::Reset("nic".into())])), pass("wc-honoured"));
}

#[test]
fn a_leaf_that_outlives_a_zap_names_the_round_and_the_promise() {
    let (left, pages) = after_reset(&Machine::with(NC_BLOCK));
    let mut story = off_and_on().edit(|event| {
        if let Event::Observed { data: Observation::AfterReset(after), .. } = event {
            let round = after.round;
            *after = left.clone();
            after.round = round;
        }
    });
    story.pages.extend(pages);
    let what = "step 2, stage 2 after the memory-off of nic, round 1";
    found(&story, Verdict::Fail, &[what, "no leaf in its BARs", "1 leaves"]);
    let findings = story.attempt().judgement.findings;
    assert!(findings.iter().any(|finding| finding.promise == Some(Promise::RESET)), "{findings:#?}");
}

#[test]
fn what_is_missing_or_not_allowed_is_found() {
    let is_raced = |event: &Event| matches!(event, Event::Observed { data: Observation::Raced(_), .. });
    let what = "step 2, stores of g0 while the host acts";
    found(&off_and_on().without(is_raced), Verdict::Miss, &[what, "found 0"]);
    let idle = edited(off_and_on(), |raced| raced.passes = 0);
    found(&idle, Verdict::Miss, &[what, "the stores of all bytes", "found none"]);
    let short = edited(off_and_on(), |raced| drop(raced.operations.pop()));
    found(&short, Verdict::Miss, &[what, "the operations", "found 1 operations"]);
    let refused = edited(off_and_on(), |raced| raced.refused = Some(22));
    found(&refused, Verdict::Fail, &[what, "the log of RAM", "refused with errno 22"]);
    let reset = edited(racing(vec![HostStep::Reset("nic".into())]), |raced| raced.faults = 2);
    found(&reset, Verdict::Fail, &[what, "KVM_RUN: expected no EFAULT", "found 2"]);
    let is_after = |event: &Event| matches!(event, Event::Observed { data: Observation::AfterReset(_), .. });
    let unread = off_and_on().without(is_after);
    found(&unread, Verdict::Miss, &["stage 2 after the memory-off of nic", "found 0"]);
}
