//! Expectations: those that are met, those that are not, and the alternative.

use super::*;
use crate::judge::fixture::RAM_PAGE;
use crate::scenario::{Access, AccessFlag, MemoryType, Promise, Share, Stage2Type};

#[test]
fn both_kernels_pass_as_what_they_are() {
    assert_eq!(verdict(&Story::after()), pass("wc-honoured"));
    assert_eq!(verdict(&Story::before()), pass("before the series"));
    for story in [Story::after(), Story::before()] {
        let judgement = story.attempt().judgement;
        assert_eq!(judgement.findings, []);
        // The log has no fact about a plugin, no registers of a host's stage 1, no trace and no dump.
        assert_eq!(judgement.witnesses.len() + 4, crate::witnesses::ALL.len());
        assert_eq!(judgement.variable, []);
        assert!(judgement.witnesses.iter().all(|(_, said)| *said == Testimony::Agrees));
    }
}

#[test]
fn the_wrong_type_shows_expected_and_found() {
    // Each kernel has the traits of the other.
    let mut story = Story::after();
    story.cell.resolved.traits = traits(&[]);
    found(
        &story,
        Verdict::Fail,
        &["stage2 of nic at look stored, guest g0", "expected Device-nGnRE, found Normal-NC"],
    );
    found(
        &story,
        Verdict::Fail,
        &["effective type of nic at look again", "expected Device-nGnRE, found Normal-NC"],
    );
    found(&story, Verdict::Fail, &["unaligned store by g0 to nic", "expected fault, found ok"]);
    let mut story = Story::before();
    story.cell.resolved.traits = both();
    found(
        &story,
        Verdict::Fail,
        &["stage2 of nic at look stored, guest g0", "expected Normal-NC, found Device-nGnRE"],
    );
    found(
        &story,
        Verdict::Fail,
        &["effective type of nic at look again", "expected Normal-NC, found Device-nGnRE"],
    );
    found(&story, Verdict::Fail, &["unaligned store by g0 to nic", "expected ok, found fault"]);
}

#[test]
fn one_leaf_of_many_decides() {
    let mut machine = Machine::with(NC_BLOCK);
    machine.blocks = 3;
    assert_eq!(verdict(&Story::of(both(), &machine, true, ok())), pass("wc-honoured"));
    machine.more = vec![(BAR_IPA + (3 << 21), BAR_PA + (3 << 21), 2, DEVICE_BLOCK)];
    let story = Story::of(both(), &machine, true, ok());
    found(
        &story,
        Verdict::Fail,
        &["stage2 of nic", "Device-nGnRE (1 of 4 leaves), Normal-NC (3 of 4 leaves)"],
    );
    found(&story, Verdict::Fail, &["effective type of nic", "found Device-nGnRE, Normal-NC"]);
    found(&story, Verdict::Fail, &["the kernel's own account contradicts the tables", "found Device-nGnRE"]);
    let behaviour = story.attempt().judgement.witnesses[4].clone();
    assert!(matches!(behaviour, ("behaviour", Testimony::Silent(why)) if why.contains("not alike")));
}

#[test]
fn a_guest_without_the_device_need_not_map_it() {
    let mut machine = Machine::with(NC_BLOCK);
    (machine.blocks, machine.mapped, machine.guest) = (0, false, 1);
    let story = Story::after().beside(&Machine::with(NC_BLOCK), &machine);
    assert_eq!(verdict(&story), pass("wc-honoured"));
    let alone = story.clone().edit(|event| {
        if let Event::Observed { data: Observation::Look(look), .. } = event {
            look.beside.clear();
        }
    });
    found(&alone, Verdict::Miss, &["guests beside g1 at look again: expected g0, found "]);
    found(
        &story.without(
            |e| matches!(e, Event::Observed { data: Observation::Look(look), .. } if look.guest == "g1"),
        ),
        Verdict::Miss,
        &["look again, guest g1"],
    );
}

#[test]
fn exec_and_ram_are_looked_at() {
    let story = Story::of(both(), &Machine::with(NC_BLOCK & !XN), true, ok());
    found(&story, Verdict::Fail, &["exec of nic", "expected never-exec, found exec"]);
    let mut machine = Machine::with(NC_BLOCK);
    machine.ram = 0x7d7;
    let story = Story::of(both(), &machine, true, ok());
    found(&story, Verdict::Fail, &["stage2 of ram", "expected Normal-WB, found Normal-NC"]);
}

/// Returns the story of a machine of whose BAR only this is expected, at its first look.
fn expecting(machine: &Machine, expectation: Expectation) -> Story {
    let mut story = Story::of(both(), machine, true, ok());
    let at = vec!["stored".to_owned()];
    story.cell.resolved.expect = vec![Expectation { at, ..expectation }];
    story
}

/// The keys of an expectation, each with a value that KVM's leaves have, and with the others.
#[test]
fn each_property_of_leaves_is_compared() {
    let about = || Expectation::about("nic");
    let access = |of| Expectation { access: Some(of), ..about() };
    let share = |of| Expectation { share: Some(of), ..about() };
    let af = |of| Expectation { af: Some(of), ..about() };
    let machine = Machine::with(NC_BLOCK);
    for expectation in [access(Access::Rw), share(Share::Inner), af(AccessFlag::Set)] {
        assert_eq!(verdict(&expecting(&machine, expectation)), Some(Verdict::PASS));
    }
    let wrong = [
        (access(Access::R), "access of nic", "expected r, found rw"),
        (access(Access::None), "access of nic", "expected none, found rw"),
        (share(Share::Outer), "share of nic", "expected outer, found inner"),
        (share(Share::Non), "share of nic", "expected non, found inner"),
        (af(AccessFlag::Clear), "access flag of nic", "expected clear, found set"),
    ];
    for (expectation, what, words) in wrong {
        found(&expecting(&machine, expectation), Verdict::Fail, &[what, words]);
    }
}

#[test]
fn no_leaf_is_expected_where_there_must_be_none() {
    let none = || Expectation { stage2: Some(Stage2Type::Nothing), ..Expectation::about("nic") };
    let story = expecting(&Machine::with(NC_BLOCK), none());
    found(&story, Verdict::Fail, &["stage2 of nic at look stored", "expected none, found Normal-NC"]);
    let empty = Machine { blocks: 0, ..Machine::with(NC_BLOCK) };
    let (_, texts) =
        (verdict(&expecting(&empty, none())), expecting(&empty, none()).attempt().judgement.findings);
    assert!(texts.iter().all(|finding| !finding.what.starts_with("stage2 of nic")), "{texts:#?}");
}

#[test]
fn a_leaf_that_outlives_a_reset_breaks_the_promise_about_resets() {
    let promise = |at: &str| {
        let mut story = Story::of(both(), &Machine::with(NC_BLOCK), true, ok());
        story.cell.resolved.promises.insert(Promise::RESET);
        let none = Expectation { stage2: Some(Stage2Type::Nothing), ..Expectation::about("nic") };
        story.cell.resolved.expect = vec![Expectation { at: vec![at.to_owned()], ..none }];
        let findings = story.attempt().judgement.findings;
        findings.into_iter().find(|finding| finding.what.starts_with("stage2 of nic")).unwrap().promise
    };
    assert_eq!((promise("stored"), promise("again")), (None, Some(Promise::RESET)));
}

/// With FEAT_LPA2 bits 9:8 of a descriptor are address bits, so that no kernel can be judged by
/// them.
#[test]
fn what_a_descriptor_does_not_have_is_lacking() {
    let vtcr = guest_tables::registers(3).into_iter().find(|(name, _)| *name == "VTCR_EL2").unwrap().1;
    let without_sh = |bits: u64| bits & !(0b11 << 8);
    let machine = Machine {
        registers: vec![("VTCR_EL2", vtcr | 1 << 32)],
        ram: without_sh(RAM_PAGE),
        ..Machine::with(without_sh(NC_BLOCK))
    };
    let share = Expectation { share: Some(Share::Inner), ..Expectation::about("nic") };
    let findings = expecting(&machine, share).attempt().judgement.findings;
    let lacking = |of: &&crate::finding::Finding| of.what.starts_with("share of nic");
    let found: Vec<_> = findings.iter().filter(lacking).map(|of| (of.weight, of.found.as_str())).collect();
    let why = "the descriptors of FEAT_LPA2 have no shareability";
    assert_eq!(found, [(Weight::Lacking, why)]);
}

#[test]
fn nothing_mapped_meets_no_expectation() {
    let mut machine = Machine::with(NC_BLOCK);
    machine.blocks = 0;
    let story = Story::of(both(), &machine, true, ok());
    found(&story, Verdict::Fail, &["stage2 of nic", "nothing mapped"]);
    found(&story, Verdict::Fail, &["exec of nic", "nothing mapped"]);
    let mut machine = Machine::with(NC_BLOCK);
    machine.mapped = false;
    let story = Story::of(both(), &machine, true, ok());
    found(&story, Verdict::Fail, &["effective type of nic", "expected Normal-NC, found nothing mapped"]);
    // Only the page around the other BAR is mapped.
    let mut machine = Machine::with(NC_BLOCK);
    (machine.blocks, machine.more) = (0, vec![(BAR_IPA, 0x1000_0000, 3, NC_BLOCK | 2)]);
    let story = Story::of(both(), &machine, true, ok());
    found(&story, Verdict::Fail, &["nic at look stored", "a leaf in its prefetchable BAR", "nothing mapped"]);
}

#[test]
fn an_expectation_that_is_about_nothing_is_not_met() {
    let expect = |change: fn(&mut Expectation)| {
        let mut story = Story::after();
        story.cell.resolved.expect.iter_mut().for_each(change);
        story
    };
    found(
        &expect(|e| e.at = e.at.iter().map(|_| "nowhere".into()).collect()),
        Verdict::Fail,
        &["at look nowhere", "none"],
    );
    found(
        &expect(|e| *e = Expectation { at: e.at.clone(), ..Expectation::about(&e.of) }),
        Verdict::Fail,
        &["expectation of nic", "nothing"],
    );
    found(&expect(|e| e.at.clear()), Verdict::Fail, &["expectation of nic", "nothing"]);
    let mut story =
        Story::after().without(|e| matches!(e, Event::Observed { data: Observation::Probed(_), .. }));
    story.cell.resolved.steps.pop();
    found(&story, Verdict::Fail, &["unaligned store to nic", "expected ok, found no probe"]);
}

#[test]
fn a_kernel_that_declares_nothing_matches_exactly_one_alternative() {
    assert_eq!(verdict(&Story::after().undeclared()), pass("wc-honoured"));
    assert_eq!(verdict(&Story::before().undeclared()), pass("before the series"));

    let neither = Story::after().undeclared().edit(probe_ends(signal()));
    found(&neither, Verdict::Miss, &["exactly one of before the series and wc-honoured", "found none"]);
    found(&neither, Verdict::Miss, &["as wc-honoured: unaligned store", "expected ok, found fault"]);
    found(
        &neither,
        Verdict::Miss,
        &["as before the series: stage2 of nic", "expected Device-nGnRE, found Normal-NC"],
    );

    let mut ambiguous = Story::after().undeclared();
    for expectation in &mut ambiguous.cell.resolved.expect {
        if !expectation.unless.is_empty() {
            (expectation.unless, expectation.when) = (vec![], vec![Trait::WcConveyed]);
        }
        (expectation.stage2, expectation.effective) = (None, None);
        expectation.exec = expectation.unaligned.is_none().then_some(crate::scenario::Exec::Never);
        if expectation.of == "ram" {
            expectation.stage2 = Some(Stage2Type::Type(MemoryType::NormalWB));
            expectation.exec = None;
        }
        expectation.unaligned = expectation.unaligned.map(|_| crate::scenario::AccessEnd::Ok);
    }
    found(&ambiguous, Verdict::Fail, &["exactly one of", "found before the series and"]);

    let mut unconditional = Story::after().undeclared();
    unconditional.cell.resolved.expect.retain(|e| e.unless.is_empty());
    unconditional.cell.resolved.expect.iter_mut().for_each(|e| e.when.clear());
    assert_eq!(verdict(&unconditional), Some(Verdict::PASS), "no conditions, no label");

    let mut ram = Machine::with(NC_BLOCK);
    ram.ram = 0x7d7;
    let story = Story::of(open(), &ram, true, ok());
    found(&story, Verdict::Fail, &["stage2 of ram", "found Normal-NC"]);
    // One is of the expectation, one of the other look, of which nothing is expected.
    assert_eq!(story.attempt().judgement.findings.len(), 2, "the alternative is met all the same");
    // With nothing observed every alternative would be met.
    let blind = Story::after().undeclared().without(|e| {
        matches!(
            e,
            Event::Observed { data: Observation::Look(_), .. }
                | Event::Observed { data: Observation::Probed(_), .. }
        )
    });
    found(&blind, Verdict::Miss, &["look stored, guest g0", "found 0"]);
}

#[test]
fn conditions_choose_by_all_of_their_traits() {
    let needs_both = || {
        let mut story = Story::before();
        for expectation in &mut story.cell.resolved.expect {
            for list in [&mut expectation.when, &mut expectation.unless] {
                if !list.is_empty() {
                    *list = vec![Trait::WcConveyed, Trait::WcHonoured];
                }
            }
        }
        story
    };
    // Upstream with the flag removed from vfio-pci: it honours, but nothing is conveyed.
    let mut story = needs_both();
    story.cell.resolved.traits = traits(&[Trait::WcHonoured]);
    assert_eq!(verdict(&story), pass("before the series"));
    // Half a backport: it conveys, but nothing honours it.
    let device = Machine::with(DEVICE_BLOCK);
    let mut story = Story::of(traits(&[Trait::WcConveyed]), &device, true, signal());
    story.cell.resolved.expect = needs_both().cell.resolved.expect;
    assert_eq!(verdict(&story), pass("before the series"));
    // Nothing is declared: then the flag alone is a contradiction.
    found(
        &story.undeclared(),
        Verdict::Fail,
        &["flag `??` on the VMA", "expected Normal-NC, found Device-nGnRE"],
    );
}

#[test]
fn declared_traits_must_hold_and_the_rest_is_open() {
    let at_least = |mut story: Story, of: &[Trait]| {
        story.cell.resolved.traits = Traits::AtLeast(of.iter().copied().collect());
        story
    };
    let (conveyed, honoured) = (Trait::WcConveyed, Trait::WcHonoured);
    assert_eq!(verdict(&at_least(Story::before(), &[])), pass("before the series"));
    for of in [&[][..], &[conveyed], &[honoured], &[conveyed, honoured]] {
        assert_eq!(verdict(&at_least(Story::after(), of)), pass("wc-honoured"));
    }
    // Something on top has removed the declared trait.
    for of in [&[honoured][..], &[conveyed, honoured]] {
        let lost = at_least(Story::before(), of);
        found(
            &lost,
            Verdict::Fail,
            &["stage2 of nic at look stored", "expected Normal-NC, found Device-nGnRE"],
        );
        assert_eq!(lost.attempt().judgement.label.as_deref(), Some("wc-honoured"), "what was expected");
    }
}

#[test]
fn the_cells_of_one_kernel_agree() {
    // Two scenarios run on one kernel. The second is like the first, or behaves like a kernel
    // before the series.
    let run = |kernels: [&str; 2], second: Story, open: bool| {
        let first = Story::after();
        let mut lines = first.lines();
        let end = lines.pop().unwrap();
        lines.extend(elsewhere(&second.lines(), &"other@test".parse().unwrap(), SESSION + 1));
        lines.push(end);
        if let Event::Plan(plan) = &mut lines[0].event {
            let mut other = second.cell.clone();
            other.key = "other@test".parse().unwrap();
            plan.cells.push(other);
            for (cell, kernel) in plan.cells.iter_mut().zip(kernels) {
                cell.kernel = kernel.into();
                if open {
                    cell.resolved.traits = Traits::AtLeast([].into());
                }
            }
        }
        let lines = lines.into_iter().zip(0..).map(|(line, seq)| Line { seq, ..line });
        let pages = move |digest: &str| first.pages.get(digest).or(second.pages.get(digest)).cloned();
        judge_run(Run::fold(lines).unwrap(), &pages)
    };
    let verdicts = |run: &JudgedRun| run.cells.iter().map(|cell| cell.verdict.clone()).collect::<Vec<_>>();
    let passed = |as_: &str| pass(as_);

    let same = run(["a", "a"], Story::after(), true);
    assert_eq!(verdicts(&same), [passed("wc-honoured"), passed("wc-honoured")]);
    let two = run(["a", "b"], Story::before(), true);
    assert_eq!(
        verdicts(&two),
        [passed("wc-honoured"), passed("before the series")],
        "two kernels may differ"
    );
    assert_eq!((same.exit, two.exit), (0, 0));

    let apart = run(["a", "a"], Story::before(), true);
    assert_eq!(verdicts(&apart), [Some(Verdict::Fail), Some(Verdict::Fail)]);
    assert_eq!(apart.exit, 1);
    for cell in &apart.cells {
        let finding = &cell.attempts[0].judgement.findings[0];
        assert_eq!(finding.what, "alternative that all cells of a meet");
        assert_eq!(finding.found, "none: vfio-pci-bar as wc-honoured, other as before the series");
    }
}

#[test]
fn a_look_after_a_probe_does_not_wait_for_its_guest() {
    let mut story = Story::after();
    story.cell.resolved.steps.swap(4, 5);
    let story = story
        .without(
            |e| matches!(e, Event::Observed { data: Observation::Look(look), .. } if look.name == "again"),
        )
        .edit(|event| {
            if let Event::Observed { step, data: Observation::Probed(_) } = event {
                *step = 4;
            }
        });
    assert!(matches!(story.cell.resolved.steps[4], Step::Probe(_)));
    found(&story, Verdict::Fail, &["nic at look again", "a running guest that has it", "none"]);
    assert!(story.attempt().judgement.findings.iter().all(|f| f.weight == Weight::Tables));
}
