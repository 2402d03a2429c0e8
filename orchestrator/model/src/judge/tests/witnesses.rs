//! What contradicts the tables, or the walk.

use super::*;

#[test]
fn the_flag_and_the_tables_go_together() {
    let told = |declared, machine: &Machine, flag, outcome| Story::told(declared, machine, flag, outcome);
    let (nc, device) = (Machine::with(NC_BLOCK), Machine::with(DEVICE_BLOCK));
    found(
        &told(open(), &nc, false, ok()),
        Verdict::Fail,
        &["no flag `??` on the VMA", "expected not Normal-NC, found Normal-NC"],
    );
    found(
        &told(open(), &device, true, signal()),
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
    assert!(told(open(), &nc, false, ok()).attempt().judgement.witnesses.contains(&contradicts));

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
    // As Linux 6.1 shows it: the physical address instead of the region.
    let by_address = Story::before().edit(|event| {
        if let Event::VmaFlags { vmas, .. } = event {
            vmas[0].offset = BAR_PA;
        }
    });
    assert_eq!(verdict(&by_address), pass("before the series"));
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
    let beyond_ram = with((0x800_0000, RAM.0 + RAM.1, 3, crate::judge::fixture::RAM_PAGE));
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
