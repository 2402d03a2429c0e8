//! Operations on memslots.

use super::*;
use crate::finding::Finding;
use crate::judge::fixture::RAM_PAGE;
use crate::scenario::{Promise, Vmm};
use crate::steps::{MemslotOperated, MemslotStep, Step};
use s2lab_protocol::MemslotOperation;

/// Returns the story with dirty logging of `of` in place of the reset and the store between its two
/// looks, and this answer of the kernel.
fn logging(mut story: Story, of: &str, errno: Option<i32>) -> Story {
    let cell = &mut story.cell.resolved;
    cell.promises.insert(Promise::LOGGING);
    cell.guests.get_mut("g0").unwrap().vmm = Vmm::Builtin;
    let operation = MemslotOperation::Log;
    let step =
        |of: &str| Step::Memslot(MemslotStep { guest: "g0".into(), of: of.into(), operation, with: None });
    (cell.steps[2], cell.steps[3]) = (step(of), step("ram"));
    let done = |of: &str, errno| {
        let (guest, of) = ("g0".into(), of.into());
        Observation::MemslotOperated(MemslotOperated { guest, of, operation, with: None, errno })
    };
    story.events.retain(|event| !matches!(event, Event::Observed { step: 2 | 3, .. }));
    let last = |event: &Event| matches!(event, Event::Observed { step: 1, .. });
    let at = story.events.iter().rposition(last).unwrap() + 1;
    let both = [(2, done(of, errno)), (3, done("ram", None))];
    let both = both.map(|(step, data)| Event::Observed { step, data });
    story.events.splice(at..at, both);
    story
}

#[test]
fn a_kernel_refuses_to_log_a_bar_and_logs_ram() {
    assert_eq!(verdict(&logging(Story::after(), "nic", Some(22))), pass("wc-honoured"));
    for errno in [None, Some(1)] {
        let story = logging(Story::after(), "nic", errno);
        let step = "step 2, log of the memslot of nic";
        found(&story, Verdict::Fail, &[step, "expected refused with errno 22"]);
        let judgement = story.attempt().judgement;
        assert!(judgement.findings.iter().any(|finding| finding.promise == Some(Promise::LOGGING)));
    }
    let ram = logging(Story::after(), "ram", Some(22));
    found(&ram, Verdict::Fail, &["step 2, log of the memslot of ram", "expected done"]);
}

#[test]
fn an_operation_that_nobody_made_is_missed() {
    let mut story = logging(Story::after(), "nic", Some(22));
    story.events.retain(|event| !matches!(event, Event::Observed { step: 2, .. }));
    found(&story, Verdict::Miss, &["step 2, log of the memslot of nic"]);
}

#[test]
fn leaves_of_a_bar_that_change_with_the_logging_of_ram_are_found() {
    let mut story = logging(Story::after(), "nic", Some(22));
    let (look, pages) = Machine { blocks: 2, ..Machine::with(NC_BLOCK) }.look("again");
    story.pages.extend(pages);
    for event in &mut story.events {
        if let Event::Observed { step: 4, data: Observation::Look(seen) } = event {
            *seen = look.clone();
        }
    }
    let what = "leaves of nic at look again, after an operation on the log";
    found(&story, Verdict::Fail, &[what, "expected those of look stored", "2 leaves in place of 1"]);
}

#[test]
fn another_device_is_behind_a_memslot_from_its_replacement_on() {
    let mut cell = Story::after().cell.resolved;
    let (guest, of, operation) = ("g0".into(), "nic".into(), MemslotOperation::Replace);
    cell.steps[2] = Step::Memslot(MemslotStep { guest, of, operation, with: Some("gpu".into()) });
    assert_eq!([2, 3].map(|at| cell.behind("nic", at)), ["nic", "gpu"]);
    assert_eq!(cell.behind("gpu", 3), "gpu");
    assert_eq!([2, 3].map(|at| cell.is_in_replacement("gpu", at)), [false, true]);
    assert!(cell.is_in_replacement("nic", 3) && !cell.is_in_replacement("disk", 3));
}

/// The leaf of the guest's RAM that both looks have.
const PAGE_IPA: u64 = 0x4100_0000;

/// Returns the story with a fork between two looks, at which RAM has this page: its place, and its bits.
fn forked(before: (u64, u64), after: (u64, u64)) -> Story {
    let mut story = logging(Story::after(), "ram", None);
    for (at, step) in story.cell.resolved.steps.iter_mut().enumerate() {
        if let (2, Step::Memslot(step)) = (at, step) {
            step.operation = MemslotOperation::Fork;
        }
    }
    let with = |(pa, bits)| Machine { more: vec![(PAGE_IPA, pa, 3, bits)], ..Machine::with(NC_BLOCK) };
    let looks = [with(before).look("stored"), with(after).look("again")];
    for (_, pages) in &looks {
        story.pages.extend(pages.clone());
    }
    for event in &mut story.events {
        match event {
            Event::Observed { step: 1, data: Observation::Look(seen) } => *seen = looks[0].0.clone(),
            Event::Observed { step: 4, data: Observation::Look(seen) } => *seen = looks[1].0.clone(),
            Event::Observed { step: 2, data: Observation::MemslotOperated(done) } => {
                done.operation = MemslotOperation::Fork;
            }
            _ => {}
        }
    }
    story
}

#[test]
fn a_page_that_a_fork_shares_is_not_written_to() {
    let read_only = RAM_PAGE & !(1 << 7);
    let texts = |story: &Story| {
        let findings = story.attempt().judgement.findings;
        findings.into_iter().filter(|finding| finding.what.contains("has forked")).collect::<Vec<_>>()
    };
    // The other pages of RAM are those of before: the fixture does not copy them.
    let shared = texts(&forked((0x7000_0000, RAM_PAGE), (0x7000_0000, RAM_PAGE)));
    let copied = texts(&forked((0x7000_0000, RAM_PAGE), (0x7000_1000, RAM_PAGE)));
    let read = texts(&forked((0x7000_0000, RAM_PAGE), (0x7000_0000, read_only)));
    let count = |findings: &[Finding]| -> Option<u64> {
        let (_, more) = findings.first()?.found.split_once("; ")?;
        more.strip_suffix(" more")?.parse().ok()
    };
    let of_fixture = count(&copied).map_or(0, |more| more + 1);
    assert_eq!(count(&read).map_or(0, |more| more + 1), of_fixture);
    assert_eq!(count(&shared), Some(of_fixture));
    assert_eq!(shared[0].promise, Some(Promise::ISOLATION));
}

#[test]
fn a_guest_with_tags_is_refused_the_memslot_of_a_bar() {
    let added = |errno| {
        let mut story = logging(Story::after(), "nic", errno);
        story.cell.resolved.guests.get_mut("g0").unwrap().mte = true;
        story.cell.resolved.promises.insert(Promise::MTE);
        if let Step::Memslot(step) = &mut story.cell.resolved.steps[2] {
            step.operation = MemslotOperation::Add;
        }
        story.edit(|event| {
            if let Event::Observed { step: 2, data: Observation::MemslotOperated(done) } = event {
                done.operation = MemslotOperation::Add;
            }
        })
    };
    assert_eq!(verdict(&added(Some(22))), pass("wc-honoured"));
    found(
        &added(None),
        Verdict::Fail,
        &["step 2, add of the memslot of nic", "expected refused with errno 22"],
    );
    let findings = added(None).attempt().judgement.findings;
    assert!(findings.iter().any(|finding| finding.promise == Some(Promise::MTE)));
}
