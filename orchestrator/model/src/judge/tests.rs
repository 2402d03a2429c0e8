//! Each rule of the judgement, broken once.

use super::fixture::{BAR_IPA, BAR_PA, DEVICE_BLOCK, Machine, NC_BLOCK, RAM, Story, XN, traits};
use super::{Testimony, Weight, Witness};
use crate::event::{AlarmClass, Event, ProbeOutcome, StopCause};
use crate::kernel::Trait;
use crate::scenario::{Expectation, Step};
use crate::verdict::Verdict;
use s2lab_protocol::{GuestEnd, UnalignedOutcome};

fn verdict(story: &Story) -> Option<Verdict> {
    story.attempt().judgement.verdict
}

fn pass(label: &str) -> Option<Verdict> {
    Some(Verdict::Pass { as_: Some(label.into()) })
}

/// The verdict, and that some finding has all of `words`.
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
    ProbeOutcome::Answered(UnalignedOutcome::Ok)
}

fn signal() -> ProbeOutcome {
    ProbeOutcome::Answered(UnalignedOutcome::Signal(7))
}

fn both() -> Option<std::collections::BTreeSet<Trait>> {
    traits(&[Trait::WcConveyed, Trait::WcHonoured])
}

fn probe_ends(outcome: ProbeOutcome) -> impl FnMut(&mut Event) {
    move |event| {
        if let Event::Probed { outcome: old, .. } = event {
            *old = outcome.clone();
        }
    }
}

fn alarm(class: AlarmClass) -> Event {
    Event::Alarm { console: "host".into(), class, line: "[ 1.2] what it printed".into() }
}

#[test]
fn both_kernels_pass_as_what_they_are() {
    assert_eq!(verdict(&Story::after()), pass("wc-honoured"));
    assert_eq!(verdict(&Story::before()), pass("before the series"));
    for story in [Story::after(), Story::before()] {
        let judgement = story.attempt().judgement;
        assert_eq!(judgement.findings, []);
        let said: Vec<_> = judgement.witnesses.iter().map(|(_, said)| said.clone()).collect();
        assert_eq!(
            said,
            [Testimony::Agrees, Testimony::Agrees, Testimony::Agrees, Testimony::Agrees, Testimony::Agrees]
        );
    }
}

#[test]
fn the_wrong_type_shows_expected_and_found() {
    // Each kernel with the traits of the other.
    let mut story = Story::after();
    story.cell.traits = traits(&[]);
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
    story.cell.traits = both();
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
    assert_eq!(verdict(&Story::told(both(), &machine, true, ok())), pass("wc-honoured"));
    machine.more = vec![(BAR_IPA + (3 << 21), BAR_PA + (3 << 21), 2, DEVICE_BLOCK)];
    let story = Story::told(both(), &machine, true, ok());
    found(
        &story,
        Verdict::Fail,
        &["stage2 of nic", "Device-nGnRE (1 of 4 leaves), Normal-NC (3 of 4 leaves)"],
    );
    found(&story, Verdict::Fail, &["effective type of nic", "found Device-nGnRE, Normal-NC"]);
    found(&story, Verdict::Fail, &["the kernel's own account contradicts the tables", "found Device-nGnRE"]);
    let behaviour = story.attempt().judgement.witnesses[4].clone();
    assert!(matches!(behaviour, (Witness::Behaviour, Testimony::Silent(why)) if why.contains("not alike")));
}

#[test]
fn a_guest_without_the_device_need_not_map_it() {
    let mut machine = Machine::with(NC_BLOCK);
    (machine.blocks, machine.mapped) = (0, false);
    let other = Story::told(both(), &machine, true, ok());
    let mut story = Story::after();
    let mut second = story.cell.scenario.guests["g0"].clone();
    second.assign.clear();
    story.cell.scenario.guests.insert("g1".into(), second);
    story = story.and(Event::GuestUp { guest: "g1".into(), release: "6.12".into(), page_size: 4096 });
    for event in other.events {
        if let Event::Look(mut look) = event {
            look.guest = "g1".into();
            story = story.and(Event::Look(look));
        }
    }
    story.pages.extend(other.pages);
    assert_eq!(verdict(&story), pass("wc-honoured"));
    found(
        &story.without(|e| matches!(e, Event::Look(look) if look.guest == "g1")),
        Verdict::Miss,
        &["look again, guest g1"],
    );
}

#[test]
fn exec_and_ram_are_looked_at() {
    let story = Story::told(both(), &Machine::with(NC_BLOCK & !XN), true, ok());
    found(&story, Verdict::Fail, &["exec of nic", "expected never-exec, found exec"]);
    let mut machine = Machine::with(NC_BLOCK);
    machine.ram = 0x7d7;
    let story = Story::told(both(), &machine, true, ok());
    found(&story, Verdict::Fail, &["stage2 of ram", "expected Normal-WB, found Normal-NC"]);
}

#[test]
fn nothing_mapped_meets_no_expectation() {
    let mut machine = Machine::with(NC_BLOCK);
    machine.blocks = 0;
    let story = Story::told(both(), &machine, true, ok());
    found(&story, Verdict::Fail, &["stage2 of nic", "nothing mapped"]);
    found(&story, Verdict::Fail, &["exec of nic", "nothing mapped"]);
    let mut machine = Machine::with(NC_BLOCK);
    machine.mapped = false;
    let story = Story::told(both(), &machine, true, ok());
    found(&story, Verdict::Fail, &["effective type of nic", "expected Normal-NC, found nothing mapped"]);
    // Only the page around the other BAR.
    let mut machine = Machine::with(NC_BLOCK);
    (machine.blocks, machine.more) = (0, vec![(BAR_IPA, 0x1000_0000, 3, NC_BLOCK | 2)]);
    let story = Story::told(both(), &machine, true, ok());
    found(&story, Verdict::Fail, &["nic at look stored", "a leaf in its prefetchable BAR", "nothing mapped"]);
}

#[test]
fn an_expectation_that_is_about_nothing_is_not_met() {
    let expect = |change: fn(&mut Expectation)| {
        let mut story = Story::after();
        story.cell.scenario.expect.iter_mut().for_each(change);
        story
    };
    found(
        &expect(|e| e.at = e.at.iter().map(|_| "nowhere".into()).collect()),
        Verdict::Fail,
        &["at look nowhere", "none"],
    );
    found(
        &expect(|e| (e.stage2, e.effective, e.exec) = (None, None, None)),
        Verdict::Fail,
        &["expectation of nic", "nothing"],
    );
    found(&expect(|e| e.at.clear()), Verdict::Fail, &["expectation of nic", "nothing"]);
    let mut story = Story::after().without(|e| matches!(e, Event::Probed { .. }));
    story.cell.scenario.steps.pop();
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
    for expectation in &mut ambiguous.cell.scenario.expect {
        if !expectation.unless.is_empty() {
            (expectation.unless, expectation.when) = (vec![], vec![Trait::WcConveyed]);
        }
        (expectation.stage2, expectation.effective) = (None, None);
        expectation.exec = expectation.unaligned.is_none().then_some(crate::scenario::Exec::Never);
        if expectation.of == "ram" {
            expectation.stage2 = Some(crate::scenario::MemoryType::NormalWB);
            expectation.exec = None;
        }
        expectation.unaligned = expectation.unaligned.map(|_| crate::scenario::Unaligned::Ok);
    }
    found(&ambiguous, Verdict::Fail, &["exactly one of", "found before the series and"]);

    let mut unconditional = Story::after().undeclared();
    unconditional.cell.scenario.expect.retain(|e| e.unless.is_empty());
    unconditional.cell.scenario.expect.iter_mut().for_each(|e| e.when.clear());
    assert_eq!(verdict(&unconditional), Some(Verdict::PASS), "no conditions, no label");

    let mut ram = Machine::with(NC_BLOCK);
    ram.ram = 0x7d7;
    let story = Story::told(None, &ram, true, ok());
    found(&story, Verdict::Fail, &["stage2 of ram", "found Normal-NC"]);
    assert_eq!(story.attempt().judgement.findings.len(), 1, "the alternative is met all the same");
    // With nothing observed every alternative would be met.
    let blind = Story::after().undeclared().without(|e| matches!(e, Event::Look(_) | Event::Probed { .. }));
    found(&blind, Verdict::Miss, &["look stored, guest g0", "found 0"]);
}

#[test]
fn conditions_choose_by_all_of_their_traits() {
    let needs_both = || {
        let mut story = Story::before();
        for expectation in &mut story.cell.scenario.expect {
            for list in [&mut expectation.when, &mut expectation.unless] {
                if !list.is_empty() {
                    *list = vec![Trait::WcConveyed, Trait::WcHonoured];
                }
            }
        }
        story
    };
    // Upstream with the flag taken out of vfio-pci: honours, but nothing is conveyed.
    let mut story = needs_both();
    story.cell.traits = traits(&[Trait::WcHonoured]);
    assert_eq!(verdict(&story), pass("before the series"));
    // Half a backport: conveys, but nothing honours it.
    let device = Machine::with(DEVICE_BLOCK);
    let mut story = Story::told(traits(&[Trait::WcConveyed]), &device, true, signal());
    story.cell.scenario = needs_both().cell.scenario;
    assert_eq!(verdict(&story), pass("before the series"));
    // Nothing declared: there the flag alone is a contradiction.
    found(
        &story.undeclared(),
        Verdict::Fail,
        &["flag `??` on the VMA", "expected Normal-NC, found Device-nGnRE"],
    );
}

#[test]
fn the_flag_and_the_tables_go_together() {
    let told = |declared, machine: &Machine, flag, outcome| Story::told(declared, machine, flag, outcome);
    let (nc, device) = (Machine::with(NC_BLOCK), Machine::with(DEVICE_BLOCK));
    found(
        &told(None, &nc, false, ok()),
        Verdict::Fail,
        &["no flag `??` on the VMA", "expected not Normal-NC, found Normal-NC"],
    );
    found(
        &told(None, &device, true, signal()),
        Verdict::Fail,
        &["flag `??` on the VMA", "expected Normal-NC, found Device"],
    );
    found(
        &told(both(), &nc, false, ok()),
        Verdict::Fail,
        &["by the kernel's traits", "expected flag `??`, found no flag"],
    );
    found(
        &told(traits(&[]), &device, true, signal()),
        Verdict::Fail,
        &["by the kernel's traits", "expected no flag"],
    );
    let contradicts = (Witness::Smaps, Testimony::Contradicts);
    assert!(told(None, &nc, false, ok()).attempt().judgement.witnesses.contains(&contradicts));

    // What was read after the last look says nothing of it.
    let vmas = Story::before().events.into_iter().find(|e| matches!(e, Event::VmaFlags { .. })).unwrap();
    let later = Story::after().and(vmas).edit(|event| {
        if let Event::VmaFlags { step, vmas, .. } = event
            && vmas[0].flags.last().unwrap() != "??"
        {
            *step = 5;
        }
    });
    assert_eq!(verdict(&later), pass("wc-honoured"));

    let other_region = Story::after().edit(|event| {
        if let Event::VmaFlags { vmas, .. } = event {
            vmas[0].offset = 0;
        }
    });
    found(&other_region, Verdict::Miss, &["VMAs over nic", "none"]);
    let mixed = Story::after().edit(|event| {
        if let Event::VmaFlags { vmas, .. } = event {
            vmas.push(vmas[0].clone());
            vmas[1].flags.pop();
        }
    });
    found(&mixed, Verdict::Fail, &["VMAs over nic", "flag `??` on 1 of 2"]);
    found(
        &Story::after().without(|e| matches!(e, Event::VmaFlags { .. })),
        Verdict::Miss,
        &["VMAs over nic", "none"],
    );
}

#[test]
fn the_cpu_against_the_walk_is_doubt() {
    let story = Story::after().edit(probe_ends(signal()));
    found(&story, Verdict::Miss, &["oracle in doubt", "expected ok, as the walk says, found fault"]);
    let story = Story::before().edit(probe_ends(ok()));
    found(&story, Verdict::Miss, &["oracle in doubt", "expected fault, as the walk says, found ok"]);
    // What does not rest on the walk outweighs the doubt.
    let story = Story::before().edit(probe_ends(ok())).and(alarm(AlarmClass::Oops));
    assert_eq!(verdict(&story), Some(Verdict::Fail));
}

#[test]
fn what_qemu_cannot_show_is_not_asked() {
    let old = |event: &mut Event| {
        if let Event::Environment { variable, .. } = event {
            variable.insert("qemu".into(), "8.2.0".into());
        }
    };
    let story = Story::before().edit(probe_ends(ok())).edit(old);
    let Some(Verdict::Skip(reason)) = verdict(&story) else { panic!("{:#?}", story.attempt().judgement) };
    assert_eq!(reason, "QEMU 8.2 ignores the alignment of Device memory");
    // A type that is wrong in the tables is still wrong.
    let mut story = story;
    story.cell.traits = both();
    assert_eq!(verdict(&story), Some(Verdict::Fail));
    // And where both stages are Normal a fault is a contradiction on any QEMU.
    assert_eq!(verdict(&Story::after().edit(probe_ends(signal())).edit(old)), Some(Verdict::Miss));
}

#[test]
fn a_mapping_that_stage_1_makes_device_predicts_nothing() {
    let mut machine = Machine::with(NC_BLOCK);
    machine.index = 4;
    for outcome in [ok(), signal()] {
        let mut story = Story::told(both(), &machine, true, outcome);
        story.cell.scenario.expect.retain(|e| e.effective.is_none() && e.unaligned.is_none());
        assert_eq!(verdict(&story), pass("wc-honoured"));
        let witnesses = story.attempt().judgement.witnesses;
        assert!(
            matches!(&witnesses[4], (Witness::Behaviour, Testimony::Silent(why)) if why.contains("stage 1"))
        );
    }
    let story = Story::told(both(), &machine, true, ok());
    found(&story, Verdict::Fail, &["effective type of nic", "expected Normal-NC, found Device-nGnRE"]);
}

#[test]
fn device_in_both_stages_predicts_a_fault() {
    let mut machine = Machine::with(DEVICE_BLOCK);
    machine.index = 4;
    assert_eq!(verdict(&Story::told(traits(&[]), &machine, false, signal())), pass("before the series"));
    let story = Story::told(traits(&[]), &machine, false, ok());
    found(&story, Verdict::Miss, &["oracle in doubt", "expected fault, as the walk says, found ok"]);
}

#[test]
fn where_the_bar_is_must_be_agreed() {
    let elsewhere = Story::after().edit(|event| {
        if let Event::BarPlaced { bar, .. } = event {
            bar.start += 0x1000;
        }
    });
    let smaller = Story::after().edit(|event| {
        if let Event::BarPlaced { bar, .. } = event {
            bar.size /= 2;
        }
    });
    found(&smaller, Verdict::Miss, &["place of nic: oracle in doubt", "0x800000 bytes", "0x1000000 bytes"]);
    found(&elsewhere, Verdict::Miss, &["place of nic: oracle in doubt", "0x8000001000", "0x8000000000"]);
    found(
        &Story::after().without(|e| matches!(e, Event::BarPlaced { .. })),
        Verdict::Miss,
        &["place of nic", "nothing"],
    );
}

#[test]
fn leaves_must_lie_where_something_is() {
    let with = |leaf| {
        let mut machine = Machine::with(NC_BLOCK);
        machine.more = vec![leaf];
        Story::told(both(), &machine, true, ok())
    };
    let unknown = with((0x800_0000, 0x900_0000, 3, NC_BLOCK | 2));
    found(&unknown, Verdict::Fail, &["unknown region", "expected nothing, found 1 leaves", "PA 0x9000000"]);
    // Half of it beyond the BAR's end.
    let beyond = with((0x90_0000_0000, BAR_PA, 1, NC_BLOCK));
    found(&beyond, Verdict::Fail, &["unknown region"]);
    // A BAR that begins inside a page takes the page.
    let page = with((0x800_0000, 0x1000_0000, 3, NC_BLOCK | 2)).edit(|event| {
        if let Event::DeviceBound(bound) = event {
            bound.bars[0].start += 0x800;
        }
    });
    assert_eq!(verdict(&page), pass("wc-honoured"));
    let beyond_ram = with((0x800_0000, RAM.0 + RAM.1, 3, super::fixture::RAM_PAGE));
    found(&beyond_ram, Verdict::Fail, &["unknown region"]);
    let mut stranger = Story::after();
    stranger.cell.scenario.guests.get_mut("g0").unwrap().assign.clear();
    found(
        &stranger,
        Verdict::Fail,
        &["nic, which the guest was not given", "expected nothing mapped, found 1 leaves"],
    );
    // A table that points back.
    let looped = with((0xa0_0000_0000, 0x5000_0000, 1, 3));
    found(&looped, Verdict::Fail, &["tables at look stored", "met a second time"]);
}

#[test]
fn every_observation_must_be_there_once() {
    let missing = |what: fn(&Event) -> bool| Story::after().without(what);
    for (story, words) in [
        (missing(|e| matches!(e, Event::Stored { step: 0, width: 64, .. })), "step 0, store 64 B"),
        (missing(|e| matches!(e, Event::Stored { step: 3, .. })), "step 3, store 8 B"),
        (missing(|e| matches!(e, Event::Look(look) if look.name == "again")), "look again, guest g0"),
        (missing(|e| matches!(e, Event::Reset { .. })), "step 2, reset of nic"),
        (missing(|e| matches!(e, Event::Probed { .. })), "step 5, probe of nic"),
        (missing(|e| matches!(e, Event::HostUp { .. })), "the host's kernel"),
        (missing(|e| matches!(e, Event::GuestUp { .. })), "the kernel of guest g0"),
    ] {
        found(&story, Verdict::Miss, &[words, "found 0"]);
    }
    for event in &Story::after().events {
        if matches!(event, Event::Stored { .. } | Event::Look(_) | Event::Reset { .. } | Event::Probed { .. })
        {
            found(&Story::after().and(event.clone()), Verdict::Miss, &["one observation", "found 2"]);
        }
    }
    let unplanned = Story::after().and(Event::Reset { step: 9, device: "nic".into(), method: "bus".into() });
    found(&unplanned, Verdict::Miss, &["observations", "1 that no step asks for"]);
    let other: [fn(&mut Event); 3] = [
        |e| {
            if let Event::Stored { bytes, .. } = e {
                *bytes /= 2
            }
        },
        |e| {
            if let Event::Stored { map, .. } = e {
                *map = s2lab_protocol::MapKind::Device
            }
        },
        |e| {
            if let Event::Stored { guest, .. } = e {
                *guest = "g1".into()
            }
        },
    ];
    for change in other {
        found(
            &Story::after().edit(change),
            Verdict::Miss,
            &["step 0, store: expected 1M bytes by g0 to nic"],
        );
    }
    let probed = Story::after().edit(|e| {
        if let Event::Probed { map, .. } = e {
            *map = s2lab_protocol::MapKind::Device;
        }
    });
    found(&probed, Verdict::Miss, &["step 5, probe of nic", "found 0"]);
    let elsewhere = Story::after().edit(|e| {
        if let Event::Reset { step, .. } = e {
            *step = 0
        }
    });
    found(&elsewhere, Verdict::Miss, &["step 2, reset of nic", "found 0"]);
    let elsewhere = Story::after().edit(|e| {
        if let Event::Look(look) = e {
            look.step += 1
        }
    });
    found(&elsewhere, Verdict::Miss, &["look stored, guest g0", "found 0"]);
    let short = Story::after().edit(|event| {
        if let Event::Stored { result, .. } = event {
            result.stores -= 1;
        }
    });
    found(&short, Verdict::Miss, &["step 0, store", "131071 stores"]);
    found(&missing(|e| matches!(e, Event::HostRam { .. })), Verdict::Miss, &["the host's RAM", "found 0"]);
    // Without them no leaf can be put down to a region.
    for what in
        [|e: &Event| matches!(e, Event::HostRam { .. }), |e: &Event| matches!(e, Event::DeviceBound(_))]
    {
        found(&missing(what), Verdict::Miss, &["look stored", "did not tell where"]);
    }
    let mut unmapped = Machine::with(NC_BLOCK);
    unmapped.mapped = false;
    let story = Story::told(both(), &unmapped, true, ok()).without(|e| matches!(e, Event::DeviceBound(_)));
    found(&story, Verdict::Miss, &["the BAR of nic", "found 0"]);
}

#[test]
fn pages_must_be_there_and_be_what_they_are_called() {
    let mut story = Story::after();
    story.pages.clear();
    found(&story, Verdict::Miss, &["look stored, guest g0", "is not in raw/"]);
    let mut story = Story::after();
    story.pages.values_mut().for_each(|page| page[0] ^= 1);
    found(&story, Verdict::Miss, &["look stored, guest g0", "is not what its name says"]);
    let story = Story::after().edit(|event| {
        if let Event::Look(look) = event {
            look.pages.pop_first();
        }
    });
    found(&story, Verdict::Miss, &["look stored, guest g0", "was not recorded"]);
    for register in ["VTTBR_EL2", "VTCR_EL2", "HCR_EL2", "TTBR0_EL1", "TCR_EL1", "MAIR_EL1", "SCTLR_EL1"] {
        let story = Story::after().edit(|event| {
            if let Event::Look(look) = event {
                look.registers.remove(register);
            }
        });
        found(&story, Verdict::Miss, &["look stored, guest g0", register]);
    }
    for (register, bits) in [("VTTBR_EL2", 0xffff << 48), ("HCR_EL2", 0)] {
        let story = Story::after().edit(|event| {
            if let Event::Look(look) = event {
                let value = look.registers.get_mut(register).unwrap();
                *value = (*value & !bits) | if bits == 0 { 1 << 27 } else { 0 };
            }
        });
        found(&story, Verdict::Miss, &["not the registers of a running guest"]);
    }
}

#[test]
fn a_mapping_that_leads_elsewhere_is_seen() {
    let story = Story::after().edit(|event| {
        if let Event::Look(look) = event {
            look.mappings[0].va += 4096;
        }
    });
    found(
        &story,
        Verdict::Fail,
        &["the guest's mapping of nic", "leads to IPA 0x8080001000 instead of 0x8080000000"],
    );
}

#[test]
fn bytes_must_arrive() {
    let lost = |event: &mut Event| {
        if let Event::Stored { file_difference, .. } = event {
            *file_difference = Some(0x40);
        }
    };
    found(&Story::after().edit(lost), Verdict::Fail, &["BAR file after step 0", "differs from offset 0x40"]);
    let story = Story::after().edit(|event| {
        if let Event::Stored { result, .. } = event {
            result.first_difference = Some(8);
        }
    });
    found(&story, Verdict::Fail, &["read-back after step 0", "differs from offset 0x8"]);
    let wrong = ProbeOutcome::Answered(UnalignedOutcome::Wrong);
    found(
        &Story::after().edit(probe_ends(wrong)),
        Verdict::Fail,
        &["unaligned store by g0", "reads back wrong"],
    );
    // Whatever became of the cell later.
    found(&Story::after().edit(lost).stopped(StopCause::Timeout), Verdict::Fail, &["BAR file"]);
}

#[test]
fn alarms_fail_however_the_cell_ends() {
    use AlarmClass::*;
    for class in [Panic, Oops, HypPanic, Warn, Bug, Lockdep, Kasan, Stall, HungTask, UnsupportedFault] {
        found(
            &Story::after().and(alarm(class)),
            Verdict::Fail,
            &["console of host", "expected no alarm", "what it printed"],
        );
    }
    for cause in [StopCause::Timeout, StopCause::Lab, StopCause::Lacking, StopCause::Scenario] {
        found(&Story::after().and(alarm(Panic)).stopped(cause), Verdict::Fail, &["found panic"]);
    }
    let lost = Story::after().and(alarm(Panic)).without(|e| matches!(e, Event::CellEnded { .. }));
    found(&lost, Verdict::Fail, &["found panic"]);
}

#[test]
fn a_probe_on_device_memory_explains_one_unsupported_fault() {
    let fault = || alarm(AlarmClass::UnsupportedFault);
    assert_eq!(verdict(&Story::before().and(fault())), pass("before the series"));
    found(&Story::before().and(fault()).and(fault()), Verdict::Fail, &["unsupported fault of a guest"]);
    // The probe did not fault.
    assert_eq!(verdict(&Story::before().edit(probe_ends(ok())).and(fault())), Some(Verdict::Fail));
    // It faulted, but not on Device memory.
    assert_eq!(verdict(&Story::after().edit(probe_ends(signal())).and(fault())), Some(Verdict::Fail));
    // It faulted where nothing was seen to be mapped.
    let mut machine = Machine::with(DEVICE_BLOCK);
    machine.blocks = 0;
    let nowhere = Story::told(traits(&[]), &machine, false, signal()).and(fault());
    found(&nowhere, Verdict::Fail, &["unsupported fault of a guest"]);
    found(&Story::before().and(alarm(AlarmClass::Oops)), Verdict::Fail, &["oops"]);
}

#[test]
fn every_end_of_a_guest_is_a_fault() {
    let exited = GuestEnd::Exited { code: Some(1), signal: None, detail: String::new() };
    for outcome in [signal(), ProbeOutcome::GuestEnded(exited)] {
        assert_eq!(verdict(&Story::before().edit(probe_ends(outcome))), pass("before the series"));
    }
}

#[test]
fn ends_have_their_verdicts() {
    use crate::event::Stage::Steps;
    for (cause, wanted) in [
        (StopCause::Kernel, Some(Verdict::Fail)),
        (StopCause::Timeout, Some(Verdict::Timeout(Steps))),
        (StopCause::Scenario, Some(Verdict::Error)),
        (StopCause::Lab, Some(Verdict::Miss)),
        (StopCause::Lacking, Some(Verdict::Skip("what happened".into()))),
        (StopCause::Interrupted, None),
    ] {
        let story = Story::after().stopped(cause);
        assert_eq!(verdict(&story), wanted);
        let finding = &story.attempt().judgement.findings[0];
        assert_eq!((finding.what.as_str(), finding.found.as_str()), ("stage steps", "what happened"));
        assert_eq!(finding.detail, ["what to do"]);
    }
    assert_eq!(
        verdict(&Story::after().without(|e| matches!(e, Event::CellEnded { .. }))),
        Some(Verdict::Lost)
    );
}

#[test]
fn runs_exit_by_their_cells() {
    assert_eq!(Story::after().run().exit, 0);
    assert_eq!(Story::after().stopped(StopCause::Lab).run().exit, 3);
    assert_eq!(Story::after().stopped(StopCause::Scenario).run().exit, 2);
    assert_eq!(Story::after().and(alarm(AlarmClass::Panic)).run().exit, 1);
    assert_eq!(Story::after().stopped(StopCause::Lacking).run().exit, 3, "nothing was tested");
    let mut never_started = Story::after();
    never_started.events.clear();
    let run = never_started.run();
    assert_eq!((run.exit, run.cells[0].verdict.clone()), (3, Some(Verdict::Lost)));

    let judged = |story: &Story, change: &dyn Fn(&mut Vec<crate::event::Line>)| {
        let mut lines = story.lines();
        change(&mut lines);
        lines.iter_mut().zip(0..).for_each(|(line, seq)| line.seq = seq);
        super::judge_run(crate::record::Run::fold(lines).unwrap(), &|d: &str| story.pages.get(d).cloned())
    };
    let story = Story::after();
    let cut = judged(&story, &|lines| drop(lines.pop()));
    assert_eq!(
        (cut.exit, cut.cells[0].verdict.clone()),
        (3, pass("wc-honoured")),
        "the run was lost, not the cell"
    );

    let interrupted = judged(&story, &|lines| {
        let at = lines.len() - 2;
        lines[at].event = Event::Interrupted { signal: "SIGTERM".into() };
        lines[at].cell = None;
    });
    assert_eq!((interrupted.exit, interrupted.cells[0].verdict.clone()), (143, None));

    let twice = |second: Story| {
        let mut story = Story::after();
        story.events.extend(second.events);
        story.run()
    };
    assert_eq!(twice(Story::after()).exit, 0);
    let flaky = twice(Story::after().stopped(StopCause::Timeout));
    assert_eq!((flaky.exit, flaky.cells[0].verdict.clone()), (1, Some(Verdict::Flaky)));
    assert_eq!(flaky.cells[0].attempts.len(), 2);
}

#[test]
fn a_look_after_a_probe_does_not_wait_for_its_guest() {
    let mut story = Story::after();
    story.cell.scenario.steps.swap(4, 5);
    let story = story.without(|e| matches!(e, Event::Look(look) if look.name == "again")).edit(|event| {
        if let Event::Probed { step, .. } = event {
            *step = 4;
        }
    });
    assert!(matches!(story.cell.scenario.steps[4], Step::Probe(_)));
    found(&story, Verdict::Fail, &["nic at look again", "a running guest that has it", "none"]);
    assert!(story.attempt().judgement.findings.iter().all(|f| f.weight == Weight::Tables));
}
