//! The check that a step has removed a device: the tables show it.

use crate::finding::{Finding, Subject, Weight};
use crate::record::Record;
use crate::record::after_reset::{PlannedRemovals, Remainder, planned};
use crate::scenario::Promise;
use crate::steps::{Look, Removal};
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
    let planned = planned(cell);
    for ((at, device), PlannedRemovals { removal, times }) in &planned {
        let owner = cell.guests.iter().find(|(_, guest)| guest.assign.contains_key(*device));
        let looked = |guest: &str| record.all::<Look>().any(|look| look.guest == guest && look.step < *at);
        let due = if owner.is_some_and(|(guest, _)| looked(guest)) { *times } else { 0 };
        let found = left.iter().filter(|left| left.step == *at && left.device == *device).count();
        if found != due {
            let (what, subject, expected) =
                (what(*at, removal), Subject::step(*at).region(device), format!("{due} observations"));
            out.push(Finding::new(Weight::Lab, subject, what, expected, found.to_string()));
        }
    }
    // Of a loop, the first round stands for all.
    let mut known = BTreeSet::new();
    let found = left.iter().filter_map(|left| {
        let planned = planned.get(&(left.step, left.device.as_str()));
        Some(((left.step, &left.device), of(planned.map(|planned| planned.removal), left)?))
    });
    out.extend(found.filter(|(place, _)| known.insert(*place)).map(|(_, finding)| finding));
    out
}

/// Returns the subject of a finding in words.
fn what(step: usize, Removal { device, by, .. }: &Removal<'_>) -> String {
    format!("step {step}, stage 2 after the {by} of {device}")
}

/// `removal` is the one that left it, or None if no step has one.
fn of(removal: Option<Removal<'_>>, left: &Remainder) -> Option<Finding> {
    let Remainder { step, device, round, leaves } = left;
    let subject = Subject::step(*step).region(device);
    let removal = removal.unwrap_or(Removal::whole(device, "step"));
    let mut what = what(*step, &removal);
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
            let expected = format!("no leaf in {} until the next access", removal.part);
            let finding = Finding::new(Weight::Tables, subject, what, expected, found);
            Some(finding.with(detail).breaking(Promise::RESET))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::event::Event;
    use crate::judge::fixture::{BAR_IPA, BAR_PA, Machine, NC_BLOCK, Story, after_reset};
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

    /// The chosen BAR has 16 MiB. More than its second quarter may go.
    #[test]
    fn a_renewed_quarter_leaves_the_tables() {
        let gone = Machine { blocks: 0, ..Machine::with(NC_BLOCK) };
        let with = |offset: u64, level| {
            let more = vec![(BAR_IPA + offset, BAR_PA + offset, level, NC_BLOCK)];
            after(&Machine { more, ..gone.clone() }).renewed()
        };
        let (first, end) = (4 << 20, 8 << 20);
        for story in [with(0, 2), with(first - 4096, 3), with(end, 2)] {
            assert!(matches!(texts(&story).0, Some(Verdict::Pass { .. })), "{:#?}", texts(&story));
        }
        for story in [with(first, 2), with(end - 4096, 3)] {
            found(
                &story,
                Verdict::Fail,
                "step 2, stage 2 after the renew of nic: expected no leaf in the second quarter of its BAR until the \
                 next access, found 1 leaves, the first at IPA 0x8080",
            );
        }
        let story = after(&gone).renewed();
        assert!(matches!(texts(&story).0, Some(Verdict::Pass { .. })), "{:#?}", texts(&story));
        assert!(
            story.report().to_string().contains("\n  memslot g0 nic renew: done\n"),
            "{}",
            story.report()
        );
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
