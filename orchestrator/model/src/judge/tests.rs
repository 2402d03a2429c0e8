//! Each rule of the judgement, broken once.

use super::fixture::{
    BAR_IPA, BAR_PA, DEVICE_BLOCK, KEY, Machine, NC_BLOCK, RAM, SESSION, Story, XN, elsewhere, traits,
};
use super::{JudgedRun, judge_run};
use crate::event::{AlarmClass, CellEnd, Event, Line, StopCause};
use crate::finding::Weight;
use crate::kernel::{Trait, Traits};
use crate::lines::Testimony;
use crate::record::Run;
use crate::scenario::Expectation;
use crate::steps::Step;
use crate::steps::{Observation, ProbeOutcome, Probed, Reset, Stored, VmaFlags};
use crate::verdict::Verdict;
use s2lab_protocol::{GuestEnd, ProbeEnd};

mod bounds;
mod counts;
mod exec;
mod expectations;
mod host_looks;
mod live;
mod load;
mod meanwhile;
mod measure;
mod memslots;
mod observations;
mod suite;
mod witnesses;

fn verdict(story: &Story) -> Option<Verdict> {
    story.attempt().judgement.verdict
}

fn pass(label: &str) -> Option<Verdict> {
    Some(Verdict::Pass { as_: Some(label.into()) })
}

/// Checks the verdict, and that some finding has all of `words`.
#[track_caller]
fn found(story: &Story, wanted: Verdict, words: &[&str]) {
    let judgement = story.attempt().judgement;
    assert_eq!(judgement.verdict, Some(wanted), "{judgement:#?}");
    let texts: Vec<_> = judgement
        .findings
        .iter()
        .map(|f| format!("{}: expected {}, found {} | {}", f.what, f.expected, f.found, f.detail.join(" | ")))
        .collect();
    assert!(texts.iter().any(|text| words.iter().all(|word| text.contains(word))), "{words:?} in {texts:#?}");
}

fn ok() -> ProbeOutcome {
    ProbeOutcome::Answered(ProbeEnd::Ok)
}

fn signal() -> ProbeOutcome {
    ProbeOutcome::Answered(ProbeEnd::Signal(7))
}

fn open() -> Traits {
    Traits::AtLeast([].into())
}

fn both() -> Traits {
    traits(&[Trait::WcConveyed, Trait::WcHonoured])
}

fn probe_ends(outcome: ProbeOutcome) -> impl FnMut(&mut Event) {
    move |event| {
        if let Event::Observed { data: Observation::Probed(Probed { outcome: old, .. }), .. } = event {
            *old = outcome.clone();
        }
    }
}

fn alarm(class: AlarmClass) -> Event {
    Event::Alarm { console: "host".into(), class, line: "[ 1.2] what it printed".into() }
}
