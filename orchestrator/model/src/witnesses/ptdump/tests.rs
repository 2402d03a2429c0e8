//! The witness on edited facts. Both looks have a block of 2 MiB.

use super::leaves::Exec;
use crate::event::{Event, StopCause};
use crate::judge::Judgement;
use crate::judge::fixture::{BAR_IPA, Machine, NC_BLOCK, Story};
use crate::lines::Testimony;
use crate::steps::{DumpedTables, Observation, ProbeOutcome};
use crate::verdict::Verdict;
use s2lab_protocol::ask::{Dumped, DumpedRange};
use s2lab_protocol::{HypervisorType, ProbeEnd};

const BLOCK: u64 = 2 << 20;
/// The steps of the two looks.
const LOOKS: [usize; 2] = [1, 4];

fn range(blocks: u64, level: i8, flags: &str) -> DumpedRange {
    DumpedRange { ipa: BAR_IPA, end: BAR_IPA + blocks * BLOCK, level, flags: flags.into() }
}

/// Returns the story with the same dump at both looks.
fn with(story: Story, dumped: &Dumped) -> Story {
    LOOKS.into_iter().fold(story, |story, step| {
        let data = DumpedTables { guest: "g0".into(), dumped: dumped.clone() };
        story.and(Event::Observed { step, data: Observation::DumpedTables(data) })
    })
}

fn dumped(ranges: &[DumpedRange]) -> Story {
    with(Story::after(), &Dumped::Ranges(ranges.to_vec()))
}

#[track_caller]
fn agrees(story: &Story) {
    let Judgement { verdict, variable, findings, .. } = story.attempt().judgement;
    assert!(matches!(verdict, Some(Verdict::Pass { .. })), "{findings:?}");
    assert_eq!(variable, [("ptdump", Testimony::Agrees)]);
}

/// Returns what the findings of the first look expected and found.
#[track_caller]
fn found(story: &Story) -> (String, String) {
    let judgement = story.attempt().judgement;
    assert_eq!(judgement.verdict, Some(Verdict::Fail));
    assert!(judgement.witnesses.contains(&("ptdump", Testimony::Contradicts)));
    let finding = &judgement.findings[0];
    let place = "KVM's dump of nic at look stored, guest g0";
    assert_eq!(finding.what, format!("{place}: the kernel's own account contradicts the tables"));
    (finding.expected.clone(), finding.found.clone())
}

#[test]
fn the_dump_of_a_guest_hypervisor_is_not_compared() {
    let mut story = dumped(&[]);
    story.cell.resolved.guests.get_mut("g0").unwrap().hypervisor = Some(HypervisorType::NormalNC);
    let variable = story.attempt().judgement.variable;
    let said: Vec<_> = variable.iter().map(|(name, testimony)| format!("{name} {testimony}")).collect();
    assert_eq!(said, [format!("ptdump silent: {}", super::SHADOW)]);
}

/// The forms of `stage2_pte_bits` in arch/arm64/kvm/ptdump.c, oldest first.
#[test]
fn every_form_of_the_dump_agrees() {
    for flags in ["R W X AF BLK", "R W AF BLK", "R W NX AF BLK", "R W PXNUXN AF BLK"] {
        agrees(&dumped(&[range(1, 2, flags)]));
    }
    // Two lines may be alike in what counts.
    let half = DumpedRange { end: BAR_IPA + BLOCK / 2, ..range(1, 2, "R W X AF BLK") };
    let rest = DumpedRange { ipa: BAR_IPA + BLOCK / 2, ..range(1, 2, "R W AF BLK") };
    agrees(&dumped(&[half, rest]));
}

#[test]
fn what_the_dump_says_otherwise_contradicts() {
    let due = "at IPA 0x8080000000: 0x8080000000..0x8080200000 level 2 rw";
    let cases = [
        (range(1, 2, "R AF BLK"), " AF BLK", "0x8080000000..0x8080200000 level 2 r- AF BLK"),
        (range(1, 2, "W AF BLK"), " AF BLK", "0x8080000000..0x8080200000 level 2 -w AF BLK"),
        (range(1, 2, "R W BLK"), " AF BLK", "0x8080000000..0x8080200000 level 2 rw - BLK"),
        (range(1, 3, "R W AF"), " AF BLK", "0x8080000000..0x8080200000 level 3 rw AF"),
        (
            range(1, 2, "R W px ux AF BLK"),
            " XN 0b10 AF BLK",
            "0x8080000000..0x8080200000 level 2 rw XN 0b00 AF BLK",
        ),
        (
            range(1, 2, "R W x AF BLK"),
            " XN 0b10 AF BLK",
            "0x8080000000..0x8080200000 level 2 rw XN 0b00 AF BLK",
        ),
    ];
    for (range, rest, other) in cases {
        assert_eq!(found(&dumped(&[range])), (format!("{due}{rest}"), other.to_owned()));
    }
}

#[test]
fn ranges_are_compared() {
    let all = "0x8080000000..0x8080200000 level 2 rw AF BLK";
    assert_eq!(found(&dumped(&[])), (format!("at IPA 0x8080000000: {all}"), "no leaf".into()));
    let more = found(&dumped(&[range(2, 2, "R W AF BLK")]));
    let longer = "0x8080000000..0x8080400000 level 2 rw AF BLK".to_owned();
    assert_eq!(more, ("at IPA 0x8080200000: no leaf".into(), longer));
    let machine = Machine { blocks: 2, ..Machine::with(NC_BLOCK) };
    let two =
        Story::of(Story::after().cell.resolved.traits, &machine, true, ProbeOutcome::Answered(ProbeEnd::Ok));
    let less = found(&with(two, &Dumped::Ranges(vec![range(1, 2, "R W AF BLK")])));
    assert_eq!(less.1, "no leaf");
    assert!(less.0.starts_with("at IPA 0x8080200000: 0x8080000000..0x8080400000"), "{}", less.0);
}

#[test]
fn a_kernel_without_a_dump_is_silent() {
    let silent = |story: &Story| match story.attempt().judgement.variable.as_slice() {
        [("ptdump", Testimony::Silent(why))] => why.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(silent(&with(Story::after(), &Dumped::Missing("no such file".into()))), "no such file");
    let stopped = dumped(&[]).stopped(StopCause::Timeout);
    assert_eq!(silent(&stopped), "the cell did not complete");
    // Logs before 2.4.
    assert_eq!(Story::after().attempt().judgement.variable, []);
}

#[test]
fn a_dump_says_as_much_of_xn_as_its_words() {
    let of = |flags: &[&str]| Exec::of(&flags.iter().map(|flags| range(1, 2, flags)).collect::<Vec<_>>());
    assert_eq!(of(&[]), Exec::Unsaid);
    assert_eq!(of(&["R W X AF", "R W AF"]), Exec::Unsaid);
    assert_eq!(of(&["F", "R W NX AF"]), Exec::OneBit);
    assert_eq!(of(&["R W px UXN AF"]), Exec::TwoBits);
}
