//! The check that a step has removed a device: the tables show it.

use crate::cell::ResolvedCell;
use crate::finding::{Finding, Subject, Weight};
use crate::record::Record;
use crate::record::after_reset::{Remainder, planned};
use crate::scenario::Promise;
use crate::steps::{Look, Step};
use std::collections::BTreeSet;

/// The most leaves that are shown as evidence.
const MOST_LEAVES: usize = 4;

/// Returns a finding for each step that should remove a device and left it mapped, or whose effect
/// was not seen.
/// Before the first look at its guest the guest's tables are unknown, so only the host's report
/// counts.
pub(super) fn findings(record: &Record, left: &[Remainder]) -> Vec<Finding> {
    let mut out = vec![];
    let cell = &record.planned.resolved;
    for ((at, device), times) in planned(cell) {
        let owner = cell.guests.iter().find(|(_, guest)| guest.assign.contains_key(device));
        let looked = |guest: &str| record.all::<Look>().any(|look| look.guest == guest && look.step < at);
        let due = if owner.is_some_and(|(guest, _)| looked(guest)) { times } else { 0 };
        let found = left.iter().filter(|left| left.step == at && left.device == device).count();
        if found != due {
            let (what, subject, expected) =
                (what(cell, at, device), Subject::step(at).region(device), format!("{due} observations"));
            out.push(Finding::new(Weight::Lab, subject, what, expected, found.to_string()));
        }
    }
    // Of a loop, the first round stands for all.
    let mut known = BTreeSet::new();
    let found = left.iter().filter_map(|left| Some(((left.step, &left.device), of(cell, left)?)));
    out.extend(found.filter(|(place, _)| known.insert(*place)).map(|(_, finding)| finding));
    out
}

/// Returns the subject of a finding in words.
fn what(cell: &ResolvedCell, step: usize, device: &str) -> String {
    let removals = cell.steps.get(step).map(Step::removals).unwrap_or_default();
    let by = removals.iter().find(|removal| removal.device == device).map_or("step", |removal| removal.by);
    format!("step {step}, stage 2 after the {by} of {device}")
}

fn of(cell: &ResolvedCell, left: &Remainder) -> Option<Finding> {
    let Remainder { step, device, round, leaves } = left;
    let subject = Subject::step(*step).region(device);
    let mut what = what(cell, *step, device);
    if let Some(round) = round {
        what.push_str(&format!(", round {round}"));
    }
    match leaves {
        Err(error) => {
            Some(Finding::new(Weight::Lab, subject, what, "tables that can be read", error.to_string()))
        }
        Ok(leaves) => {
            let first = leaves.first()?;
            let found = format!("{} leaves, the first at IPA {:#x}", leaves.len(), first.ipa);
            let detail = leaves.iter().take(MOST_LEAVES).map(|leaf| {
                format!("IPA {:#x} -> PA {:#x}, descriptor {:#x}", leaf.ipa, leaf.pa, leaf.descriptor)
            });
            let expected = "no leaf in its BARs until the next access";
            let finding = Finding::new(Weight::Tables, subject, what, expected, found);
            Some(finding.with(detail).breaking(Promise::RESET))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::event::Event;
    use crate::judge::fixture::{Machine, NC_BLOCK, Story, after_reset};
    use crate::steps::{Actor, DeviceOperated, HostStep, Observation, Step};
    use crate::verdict::Verdict;
    use s2lab_protocol::DeviceOperation;

    fn texts(story: &Story) -> (Option<Verdict>, Vec<String>) {
        let judgement = story.attempt().judgement;
        let texts = judgement
            .findings
            .iter()
            .map(|f| format!("{}: expected {}, found {}", f.what, f.expected, f.found));
        (judgement.verdict, texts.collect())
    }

    #[track_caller]
    fn found(story: &Story, verdict: Verdict, words: &str) {
        let (judged, texts) = texts(story);
        assert_eq!(judged, Some(verdict), "{texts:#?}");
        assert!(texts.iter().any(|text| text.contains(words)), "{words:?} in {texts:#?}");
    }

    /// Returns the story with the tables of `machine` right after the reset.
    fn after(machine: &Machine) -> Story {
        let (recorded, pages) = after_reset(machine);
        let mut story = Story::after().edit(|event| {
            if let Event::Observed { data: Observation::AfterReset(after), .. } = event {
                *after = recorded.clone();
            }
        });
        story.pages.extend(pages);
        story
    }

    #[test]
    fn a_reset_that_left_the_device_mapped_was_none() {
        let machine = Machine::with(NC_BLOCK);
        found(
            &after(&machine),
            Verdict::Fail,
            "step 2, stage 2 after the reset of nic: expected no leaf in its BARs until the next access, \
             found 1 leaves, the first at IPA 0x8080000000",
        );
        // The leaves are in any BAR of the device, or reach into it.
        let gone = Machine { blocks: 0, ..machine };
        let other = Machine { more: vec![(0x1000_0000, 0x1000_0000, 3, NC_BLOCK)], ..gone.clone() };
        found(&after(&other), Verdict::Fail, "the first at IPA 0x10000000");
        let around = Machine { more: vec![(0x90_0000_0000, 0x80_0000_0000, 1, NC_BLOCK)], ..gone.clone() };
        found(&after(&around), Verdict::Fail, "the first at IPA 0x9000000000");
        assert!(matches!(texts(&after(&gone)).0, Some(Verdict::Pass { .. })));
    }

    /// Returns the story with memory space off in place of the reset.
    fn memory_off(mut story: Story) -> Story {
        let (device, operation) = ("nic".to_owned(), DeviceOperation::MemoryOff);
        story.cell.resolved.steps[2] = Step::Host(HostStep::MemoryOff(device.clone()));
        let done = DeviceOperated { by: Actor::Host, device, operation };
        story.edit(|event| {
            if let Event::Observed { data: data @ Observation::Reset(_), .. } = event {
                *data = Observation::DeviceOperated(done.clone());
            }
        })
    }

    #[test]
    fn memory_space_off_removes_a_device_like_a_reset() {
        let machine = Machine::with(NC_BLOCK);
        found(
            &memory_off(after(&machine)),
            Verdict::Fail,
            "step 2, stage 2 after the memory-off of nic: expected no leaf in its BARs until the next access, \
             found 1 leaves, the first at IPA 0x8080000000",
        );
        let story = memory_off(after(&Machine { blocks: 0, ..machine }));
        assert!(matches!(texts(&story).0, Some(Verdict::Pass { .. })), "{:#?}", texts(&story));
        assert!(story.report().to_string().contains("\n  host memory-off nic\n"), "{}", story.report());
        let by_guest = story.clone().edit(|event| {
            if let Event::Observed { data: Observation::DeviceOperated(done), .. } = event {
                done.by = Actor::Guest;
            }
        });
        found(&by_guest, Verdict::Miss, "step 2, memory-off of nic by the host");
    }

    #[test]
    fn what_a_reset_left_is_seen_exactly_once() {
        let is_after =
            |event: &Event| matches!(event, Event::Observed { data: Observation::AfterReset(_), .. });
        let story = Story::after();
        let words = "step 2, stage 2 after the reset of nic: expected 1 observations, found ";
        found(&story.clone().without(is_after), Verdict::Miss, &format!("{words}0"));
        let recorded = story.events.iter().find(|event| is_after(event)).unwrap().clone();
        found(&story.clone().and(recorded.clone()), Verdict::Miss, &format!("{words}2"));
        let mut elsewhere = recorded;
        if let Event::Observed { step, .. } = &mut elsewhere {
            *step = 3;
        }
        found(&story.clone().and(elsewhere), Verdict::Miss, "no step asks for it");
        let mut torn = story;
        torn.pages.clear();
        found(
            &torn,
            Verdict::Miss,
            "step 2, stage 2 after the reset of nic: expected tables that can be read",
        );
    }
}
