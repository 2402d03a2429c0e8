//! The witness on edited facts. The scenario's look `stored` has a block of 2 MiB of level 2.

use crate::event::{Event, StopCause};
use crate::finding::Finding;
use crate::judge::Judgement;
use crate::judge::fixture::{BAR_IPA, BAR_PA, Machine, NC_BLOCK, Story};
use crate::lines::Testimony;
use crate::record::environment;
use crate::scenario::Promise;
use crate::steps::{Invalidated, Observation, TlbiRun, TracedTlbi};
use crate::verdict::Verdict;

const IPAS2E1IS: u64 = 0xd50c_8021;
const IPAS2E1: u64 = 0xd50c_8421;
const RIPAS2E1IS: u64 = 0xd50c_8041;
const VMALLE1IS: u64 = 0xd508_831f;
const VMALLE1: u64 = 0xd508_871f;
const VMALLS12E1IS: u64 = 0xd50c_83df;
const ALLE1IS: u64 = 0xd50c_839f;
/// The VMID of g0.
const VMID: u64 = 3 << 48;
const E2H: u64 = 1 << 34;
const TGE: u64 = 1 << 27;
/// The level hint 2 of 4K tables.
const LEVEL_2: u64 = 0b0110 << 44;
const LEVEL_3: u64 = 0b0111 << 44;
const LEVEL_1: u64 = 0b0101 << 44;
const BLOCK: u64 = BAR_IPA >> 12;

fn traced(word: u64, operand: u64) -> TracedTlbi {
    TracedTlbi { word, operand, el: 2, vcpu: 0, vttbr: VMID | 0x5000_0000, hcr: E2H | 1 }
}

/// Returns the story with these instructions in the step of the reset.
fn heard(all: &[TracedTlbi]) -> Story {
    recorded(Invalidated {
        guest: "g0".into(),
        device: "nic".into(),
        runs: TlbiRun::of(all).0,
        incomplete: None,
    })
}

fn recorded(seen: Invalidated) -> Story {
    with_plugin(
        Story::after().and(Event::Observed { step: 2, data: Observation::Invalidated(seen) }),
        "sha256:aa",
    )
}

fn with_plugin(story: Story, value: &str) -> Story {
    story.edit(|event| {
        if let Event::Environment { variable, .. } = event {
            variable.insert(environment::PLUGIN.into(), value.into());
        }
    })
}

fn judgement(story: &Story) -> Judgement {
    story.attempt().judgement
}

#[track_caller]
fn agrees(all: &[TracedTlbi]) {
    let judgement = judgement(&heard(all));
    assert!(matches!(judgement.verdict, Some(Verdict::Pass { .. })), "{:#?}", judgement.findings);
    assert_eq!(judgement.variable, [("tlbi", Testimony::Agrees)]);
}

/// Checks that the block is left, and returns the reason.
#[track_caller]
fn left(all: &[TracedTlbi]) -> String {
    let judgement = judgement(&heard(all));
    assert_eq!(judgement.verdict, Some(Verdict::Fail));
    assert_eq!(judgement.witnesses.last(), Some(&("tlbi", Testimony::Contradicts)));
    assert_eq!(judgement.variable, []);
    let [Finding { what, expected, found, promise, .. }] = judgement.findings.as_slice() else {
        panic!("{:#?}", judgement.findings)
    };
    assert_eq!(what, "step 2, TLB invalidation of nic at IPA 0x8080000000..0x8080200000, 1 of level 2");
    assert_eq!(expected, "one for all CPUs, with level hint 2 or none, then stage 1");
    // The scenario does not check I9.
    assert_eq!(*promise, None);
    found.clone()
}

#[track_caller]
fn silent(story: &Story, why: &str) {
    let judgement = judgement(story);
    assert!(matches!(judgement.verdict, Some(Verdict::Pass { .. })), "{:#?}", judgement.findings);
    let [("tlbi", Testimony::Silent(said))] = judgement.variable.as_slice() else {
        panic!("{:?}", judgement.variable)
    };
    assert!(said.contains(why), "{said}");
}

fn stage1() -> TracedTlbi {
    traced(VMALLE1IS, 0)
}

#[test]
fn what_kvm_does_is_enough() {
    // 6.1 and 6.12 without ranges: the block, then the table above it.
    let block = traced(IPAS2E1IS, BLOCK | LEVEL_2);
    agrees(&[block, stage1(), traced(IPAS2E1IS, BLOCK), stage1()]);
    agrees(&[traced(IPAS2E1IS, BLOCK + 7), stage1()]);
    // 6.12 with ranges: 4096 pages.
    let range = 1 << 46 | 2 << 44 | 1 << 39 | BLOCK;
    agrees(&[traced(RIPAS2E1IS, range), stage1()]);
    agrees(&[traced(RIPAS2E1IS, range | 2 << 37), stage1()]);
    agrees(&[traced(VMALLS12E1IS, 0)]);
    agrees(&[TracedTlbi { vttbr: 0, ..traced(ALLE1IS, 0) }]);
    // nVHE: HCR_EL2.E2H is 0.
    let nvhe = |one: TracedTlbi| TracedTlbi { hcr: 1, ..one };
    agrees(&[nvhe(block), nvhe(stage1())]);
    // Others between them do not matter, nor the CPUs.
    let other = TracedTlbi { vttbr: 4 << 48, ..traced(IPAS2E1IS, BLOCK | LEVEL_3) };
    agrees(&[other, block, other, TracedTlbi { vcpu: 1, ..stage1() }, traced(VMALLE1, 0)]);
    // One of two is enough.
    agrees(&[traced(IPAS2E1IS, BLOCK | LEVEL_3), block, stage1()]);
}

#[test]
fn a_missing_invalidation_is_found() {
    assert_eq!(left(&[]), "none");
    assert_eq!(left(&[stage1()]), "none");
    // The next block, and the page before.
    assert_eq!(left(&[traced(IPAS2E1IS, BLOCK + 512), traced(IPAS2E1IS, BLOCK - 1), stage1()]), "none");
    let range = 1 << 46 | 1 << 44 | (BLOCK + 512);
    assert_eq!(left(&[traced(RIPAS2E1IS, range), stage1()]), "none");
    // Another guest's, EL1's, and the host's own.
    let block = traced(IPAS2E1IS, BLOCK);
    assert_eq!(left(&[TracedTlbi { vttbr: 4 << 48, ..block }, stage1()]), "none");
    assert_eq!(left(&[TracedTlbi { el: 1, ..block }, stage1()]), "none");
    assert_eq!(left(&[TracedTlbi { vttbr: 4 << 48, ..traced(VMALLS12E1IS, 0) }]), "none");
}

#[test]
fn a_wrong_hint_is_found() {
    let level = left(&[traced(IPAS2E1IS, BLOCK | LEVEL_3), stage1()]);
    assert_eq!(level, "IPAS2E1IS with level hint 3");
    // The leaf goes, and the table above it may stay.
    let block = traced(IPAS2E1IS, BLOCK | LEVEL_2);
    let table = left(&[block, stage1(), traced(IPAS2E1IS, BLOCK | LEVEL_1), stage1()]);
    assert_eq!(table, "IPAS2E1IS of the table above with a level hint");
    let range = 1 << 46 | 2 << 44 | 1 << 39 | 3 << 37 | BLOCK;
    assert_eq!(left(&[traced(RIPAS2E1IS, range), stage1()]), "RIPAS2E1IS with level hint 3");
    let granule = left(&[traced(IPAS2E1IS, BLOCK | 0b1010 << 44), stage1()]);
    assert_eq!(granule, "IPAS2E1IS with granule 16K");
    let unaligned = 1 << 46 | 2 << 44 | 1 << 39 | 2 << 37 | (BLOCK + 1);
    assert_eq!(
        left(&[traced(RIPAS2E1IS, unaligned), stage1()]),
        "RIPAS2E1IS with level hint 2 and an unaligned base"
    );
    let story = heard(&[traced(IPAS2E1IS, BLOCK | LEVEL_3), stage1()]);
    assert_eq!(judgement(&story).findings[0].detail, ["IPAS2E1IS of IPA 0x8080000000, level hint 3"]);
}

#[test]
fn what_other_cpus_or_combined_entries_keep_is_found() {
    let block = traced(IPAS2E1IS, BLOCK);
    assert_eq!(left(&[traced(IPAS2E1, BLOCK), stage1()]), "IPAS2E1 for one CPU only");
    // VMALLS12E1 and ALLE1 of one CPU.
    assert_eq!(left(&[traced(0xd50c_87df, 0)]), "none");
    assert_eq!(left(&[traced(0xd50c_879f, 0)]), "none");
    let without = "IPAS2E1IS without one of stage 1 after it";
    assert_eq!(left(&[block]), without);
    assert_eq!(left(&[stage1(), block]), without);
    assert_eq!(left(&[block, traced(VMALLE1, 0)]), without);
    assert_eq!(left(&[block, TracedTlbi { vttbr: 4 << 48, ..stage1() }]), without);
    // This one is about EL2&0.
    assert_eq!(left(&[block, TracedTlbi { hcr: E2H | TGE, ..stage1() }]), without);
}

#[test]
fn the_promise_is_the_resets() {
    let mut story = heard(&[]);
    story.cell.resolved.promises.insert(Promise::RESET);
    assert_eq!(judgement(&story).findings[0].promise, Some(Promise::RESET));
}

#[test]
fn neighbours_are_one_finding() {
    let pages = |from: u64, to: u64| {
        (from..to).map(|page| (BAR_IPA + (page << 12), BAR_PA + (page << 12), 3, NC_BLOCK | 2))
    };
    let machine = Machine { blocks: 0, more: pages(0, 8).collect(), ..Machine::with(NC_BLOCK) };
    let (look, kept) = machine.look("stored");
    let invalidate = |page: u64| [traced(IPAS2E1IS, (BLOCK + page) | LEVEL_3), stage1()];
    let all: Vec<_> = [0, 1, 5, 7].into_iter().flat_map(invalidate).collect();
    let mut story = heard(&all).edit(|event| {
        if let Event::Observed { step: 1, data: Observation::Look(of) } = event {
            *of = look.clone();
        }
    });
    story.pages.extend(kept);
    let findings = judgement(&story).findings;
    let ranges: Vec<_> =
        findings.iter().filter(|f| f.what.contains("TLB")).map(|f| f.what.as_str()).collect();
    assert_eq!(
        ranges,
        [
            "step 2, TLB invalidation of nic at IPA 0x8080002000..0x8080005000, 3 of level 3",
            "step 2, TLB invalidation of nic at IPA 0x8080006000..0x8080007000, 1 of level 3",
        ]
    );
}

#[test]
fn without_a_whole_list_it_is_silent() {
    silent(&with_plugin(Story::after(), "none: it was refused"), "no plugin: it was refused");
    silent(&with_plugin(Story::after(), "sha256:aa"), "the log has no invalidations");
    let seen = Invalidated { guest: "g0".into(), device: "nic".into(), runs: vec![], incomplete: None };
    silent(&recorded(Invalidated { incomplete: Some("overflow".into()), ..seen.clone() }), "overflow");
    let run = TlbiRun { first: stage1(), then: None, step: 0, times: u32::MAX };
    silent(&recorded(Invalidated { runs: vec![run], ..seen.clone() }), "more than 65536 instructions");
    silent(&recorded(Invalidated { guest: "g9".into(), ..seen }), "no look at guest g9 before step 2");
    let mut story = heard(&[]);
    story.cell.resolved.steps.remove(2);
    let story = story.without(|event| matches!(event, Event::Observed { step: 2, .. }));
    assert!(
        judgement(&story).variable.iter().any(|(_, said)| said.to_string() == "silent: no leaf was removed")
    );
}

/// The leaves before the first reset are no longer those before the second one.
#[test]
fn a_reset_without_a_look_before_it_is_not_judged() {
    let at_step = |event: &Event, to: usize| match event.clone() {
        Event::Observed { data, .. } => Event::Observed { step: to, data },
        event => event,
    };
    let mut story = heard(&[traced(IPAS2E1IS, BLOCK), stage1()]);
    // The store between the two becomes a reset that nobody has invalidated for.
    let reset = story.cell.resolved.steps[2].clone();
    story.cell.resolved.steps[3] = reset;
    story.events.retain(|event| !matches!(event, Event::Observed { step: 3, .. }));
    let nothing = Invalidated { guest: "g0".into(), device: "nic".into(), runs: vec![], incomplete: None };
    let nothing = Event::Observed { step: 3, data: Observation::Invalidated(nothing) };
    let of_reset = |event: &&Event| {
        matches!(event, Event::Observed { step: 2, data: Observation::Reset(_) | Observation::AfterReset(_) })
    };
    let more: Vec<_> = story.events.iter().filter(of_reset).map(|event| at_step(event, 3)).collect();
    let story = more.into_iter().chain([nothing]).fold(story, Story::and);
    silent(&story, "no look between two removals of nic");
}

/// The block at the begin of the BAR may stay.
#[test]
fn a_part_that_is_mapped_once_more_is_all_that_must_be_invalidated() {
    let story = heard(&[]).renewed();
    assert!(
        matches!(judgement(&story).verdict, Some(Verdict::Pass { .. })),
        "{:#?}",
        judgement(&story).findings
    );
    assert_eq!(judgement(&heard(&[])).verdict, Some(Verdict::Fail));
}

#[test]
fn a_log_without_the_fact_has_no_such_witness() {
    let judgement = judgement(&Story::after());
    assert_eq!(judgement.variable, []);
    assert!(judgement.witnesses.iter().all(|(name, _)| *name != "tlbi"));
}

#[test]
fn a_testimony_is_a_variable_fact_of_the_report() {
    let fact = |story: &Story| {
        let report = story.report();
        let value = report.variable.iter().find(|(name, _)| &***name == "tlbi");
        value.map(|(_, value)| value.to_string())
    };
    let good = heard(&[traced(IPAS2E1IS, BLOCK), stage1()]);
    assert_eq!(fact(&good), Some("agrees".into()));
    let none = with_plugin(Story::after(), "none: it was refused");
    assert_eq!(fact(&none), Some("silent: no plugin: it was refused".into()));
    assert_eq!(fact(&heard(&[])), None);
    // Neither text of the report differs from that of a log before 2.3 in what is compared.
    let comparable = |story: &Story| crate::report::comparable(&story.report()).to_string();
    assert_eq!(comparable(&good), comparable(&Story::after()));
    assert_eq!(comparable(&none), comparable(&Story::after()));
    let stopped = good.stopped(StopCause::Timeout);
    assert_eq!(fact(&stopped), Some("silent: the cell did not complete".into()));
}
