//! Valid tables, with registers or leaves that the MMU would use in another way.

use super::super::tests::{fails, machine, passes, story, with};
use crate::event::Event;
use crate::judge::fixture::{BAR_PA, Machine, NC_BLOCK, RAM_PAGE, Story};
use crate::steps::{Executed, Observation};
use guest_tables::{BAR_IPA, BLOCK, PAGE};
use s2lab_protocol::ask::ProgramEnd;

#[test]
fn what_went_through_a_leaf_must_have_been_let_through() {
    let cases = [
        (NC_BLOCK & !(1 << 6), "the first not readable"),
        (NC_BLOCK & !(1 << 7), "the first not writable"),
        (NC_BLOCK & !(1 << 10), "the first never accessed"),
    ];
    for (bar, words) in cases {
        fails(&story(&Machine::with(bar)), words);
    }
    // Nothing was stored beyond, or since the device was reset.
    let beyond = (BAR_IPA + BLOCK, BAR_PA + BLOCK, 2, NC_BLOCK & !(1 << 7));
    passes(&story(&with(&[beyond])));
    let aged = Machine { ram: RAM_PAGE & !(1 << 10), ..machine() };
    passes(&story(&aged));
}

/// The story stores to the BAR's first block, before the first look and after the reset.
#[test]
fn what_was_stored_to_is_mapped() {
    let story = story(&Machine::with(0));
    for words in [
        "the store to nic at look again, guest g0: expected leaves over all that was stored, found 0x",
        " bytes without a leaf, the first at +0x0",
    ] {
        fails(&story, words);
    }
}

/// It may reset devices.
#[test]
fn what_was_stored_to_before_a_program_need_not_be_mapped() {
    let mut story = story(&Machine::with(0));
    let looks = story.events.iter().enumerate().filter_map(|(at, event)| match event {
        Event::Observed { step, data: Observation::Look(_) } => Some((at, *step)),
        _ => None,
    });
    for (at, step) in looks.collect::<Vec<_>>().into_iter().rev() {
        let (place, file, output) = ("host".to_owned(), "repro".to_owned(), String::new());
        let data = Observation::Executed(Executed { place, file, end: ProgramEnd::Exit(0), output });
        story.events.insert(at, Event::Observed { step: step - 1, data });
    }
    let findings = story.attempt().judgement.findings;
    assert!(findings.iter().all(|finding| !finding.found.contains("without a leaf")), "{findings:#?}");
}

#[test]
fn bits_that_change_the_tables_are_named() {
    let hcr = guest_tables::HCR | guest_tables::HCR_FWB;
    let vtcr = 1 << 31 | 2 << 16 | 1 << 6 | 24;
    let of = |registers| story(&Machine { registers, ..machine() });
    fails(&of(vec![("HCR_EL2", hcr | 1 << 32)]), "HCR_EL2.CD is 1");
    fails(
        &of(vec![("HCR_EL2", hcr | 1 << 32 | 1 << 42)]),
        "HCR_EL2.CD is 1: stage 2 makes data in Normal memory Non-cacheable; 1 more",
    );
    fails(&of(vec![("VTCR_EL2", vtcr | 1 << 29)]), "VTCR_EL2.NSW is 1");
    fails(&of(vec![("SCTLR_EL1", 1)]), "SCTLR_EL1.C is 0");
    passes(&of(vec![("VTCR_EL2", vtcr | 1 << 21)]));
}

#[test]
fn a_start_table_stays() {
    let (other, pages) = Machine { guest: 1, ..machine() }.look("again");
    let mut story = Story::after().edit(|event| {
        if let Event::Observed { data: Observation::Look(look), .. } = event
            && look.name == "again"
        {
            *look = crate::steps::Look { guest: "g0".into(), ..other.clone() };
        }
    });
    story.pages.extend(pages);
    fails(&story, "start table at look again, guest g0: expected that of the looks before, found another");
}

#[test]
fn a_group_with_the_contiguous_bit_is_alike() {
    const BIT: u64 = 1 << 52;
    let (ipa, pa) = (0x4100_0000, 0x7000_0000);
    let group = |of: std::ops::Range<u64>, bits: u64| -> Vec<_> {
        of.map(|n| (ipa + n * PAGE, pa + n * PAGE, 3, bits)).collect()
    };
    passes(&story(&with(&group(0..16, RAM_PAGE | BIT))));
    fails(
        &story(&with(&group(3..4, RAM_PAGE | BIT))),
        "contiguous bit at look stored, guest g0: expected on whole groups of leaves that are alike, \
         found IPA 0x41003000, level 3, with neighbours that are not like it",
    );
    let apart = [group(0..1, RAM_PAGE | BIT), group(21..22, RAM_PAGE | BIT)].concat();
    fails(&story(&with(&apart)), "not like it; 1 more");
}
