//! Contradictions to the tables, or to the walk.

use super::*;
use crate::judge::fixture::BAR_SIZE;
use crate::record::look::decode;
use crate::scenario::{AssignDriver, Vmm};
use crate::witnesses::{ALL, Scene};
use s2lab_protocol::{Bar, HypervisorType, ModuleVma, Pgprot, StoreResult, Vma, VmaKind};

/// No type of the leaf is judged, because the right one is an open question. The report has both types.
#[test]
fn the_type_of_a_guest_hypervisors_bar_has_no_verdict() {
    let story_of = |bar, flag, outcome, hypervisor| {
        let mut story = Story::of(both(), &Machine::with(bar), flag, outcome).edit(|event| {
            if let Event::Observed { data: Observation::Look(look), .. } = event {
                look.mappings.iter_mut().for_each(|mapping| mapping.hypervisor = hypervisor);
            }
        });
        let cell = &mut story.cell.resolved;
        cell.expect.retain(|expectation| expectation.of == crate::scenario::RAM);
        cell.guests.get_mut("g0").unwrap().hypervisor = hypervisor;
        story
    };
    let hypervisor = Some(HypervisorType::DeviceNGnRE);
    for (bar, outcome, of) in [(NC_BLOCK, ok(), "Normal-NC"), (DEVICE_BLOCK, signal(), "Device-nGnRE")] {
        let attempt = story_of(bar, true, outcome, hypervisor).attempt();
        assert_eq!(attempt.judgement.verdict, Some(Verdict::Pass { as_: None }), "{of}");
        let lines: Vec<_> = attempt.account.promised.lines.iter().map(ToString::to_string).collect();
        let at = lines.iter().position(|line| line.starts_with(&format!("  nic  stage2 {of}"))).unwrap();
        assert_eq!(lines[at + 1], "  nic  hypervisor Device-nGnRE  stage2 is a question, not judged");
    }
    let contradiction = "the kernel's own account contradicts the tables";
    found(&story_of(DEVICE_BLOCK, true, signal(), None), Verdict::Fail, &[contradiction]);
    // That vfio-pci marks its VMAs is no question.
    let unmarked = story_of(DEVICE_BLOCK, false, signal(), hypervisor);
    found(&unmarked, Verdict::Fail, &["by the kernel's traits", "expected flag `??`, found no flag"]);
}

#[test]
fn the_flag_and_the_tables_go_together() {
    let story_of = |declared, machine: &Machine, flag, outcome| Story::of(declared, machine, flag, outcome);
    let (nc, device) = (Machine::with(NC_BLOCK), Machine::with(DEVICE_BLOCK));
    found(
        &story_of(open(), &nc, false, ok()),
        Verdict::Fail,
        &["no flag `??` on the VMA", "expected not Normal-NC, found Normal-NC"],
    );
    found(
        &story_of(open(), &device, true, signal()),
        Verdict::Fail,
        &["flag `??` on the VMA", "expected Normal-NC, found Device"],
    );
    found(
        &story_of(both(), &nc, false, ok()),
        Verdict::Fail,
        &["by the kernel's traits", "expected flag `??`, found no flag"],
    );
    found(
        &story_of(traits(&[]), &device, true, signal()),
        Verdict::Fail,
        &["by the kernel's traits", "expected no flag"],
    );
    let contradicts = ("smaps", Testimony::Contradicts);
    assert!(story_of(open(), &nc, false, ok()).attempt().judgement.witnesses.contains(&contradicts));

    // VMAs that were read after the last look do not count for it.
    let vmas = Story::before()
        .events
        .into_iter()
        .find(|e| matches!(e, Event::Observed { data: Observation::VmaFlags(_), .. }))
        .unwrap();
    let later = Story::after().and(vmas).edit(|event| {
        if let Event::Observed { step, data: Observation::VmaFlags(VmaFlags { vmas, .. }) } = event
            && vmas[0].flags.last().unwrap() != "??"
        {
            *step = 5;
        }
    });
    assert_eq!(verdict(&later), pass("wc-honoured"));

    let other_region = Story::after().edit(|event| {
        if let Event::Observed { data: Observation::VmaFlags(VmaFlags { vmas, .. }), .. } = event {
            vmas[0].offset = 0;
        }
    });
    found(&other_region, Verdict::Miss, &["VMAs over nic", "none"]);
    // Linux 6.1 shows the physical address instead of the region.
    let by_address = Story::before().edit(|event| {
        if let Event::Observed { data: Observation::VmaFlags(VmaFlags { vmas, .. }), .. } = event {
            vmas[0].offset = BAR_PA;
        }
    });
    assert_eq!(verdict(&by_address), pass("before the series"));
    let mixed = Story::after().edit(|event| {
        if let Event::Observed { data: Observation::VmaFlags(VmaFlags { vmas, .. }), .. } = event {
            vmas.push(vmas[0].clone());
            vmas[1].flags.pop();
        }
    });
    found(&mixed, Verdict::Fail, &["VMAs over nic", "flag `??` on 1 of 2"]);
    found(
        &Story::after().without(|e| matches!(e, Event::Observed { data: Observation::VmaFlags(_), .. })),
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
    // Findings that do not depend on the walk are more severe than the doubt.
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
    story.cell.resolved.traits = both();
    assert_eq!(verdict(&story), Some(Verdict::Fail));
    // If both stages are Normal a fault is a contradiction on any QEMU.
    assert_eq!(verdict(&Story::after().edit(probe_ends(signal())).edit(old)), Some(Verdict::Miss));
}

#[test]
fn a_mapping_that_stage_1_makes_device_predicts_nothing() {
    let mut machine = Machine::with(NC_BLOCK);
    machine.index = 4;
    for outcome in [ok(), signal()] {
        let mut story = Story::of(both(), &machine, true, outcome);
        story.cell.resolved.expect.retain(|e| e.effective.is_none() && e.unaligned.is_none());
        assert_eq!(verdict(&story), pass("wc-honoured"));
        let witnesses = story.attempt().judgement.witnesses;
        assert!(matches!(&witnesses[4], ("behaviour", Testimony::Silent(why)) if why.contains("stage 1")));
    }
    let story = Story::of(both(), &machine, true, ok());
    found(&story, Verdict::Fail, &["effective type of nic", "expected Normal-NC, found Device-nGnRE"]);
}

#[test]
fn device_in_both_stages_predicts_a_fault() {
    let mut machine = Machine::with(DEVICE_BLOCK);
    machine.index = 4;
    assert_eq!(verdict(&Story::of(traits(&[]), &machine, false, signal())), pass("before the series"));
    let story = Story::of(traits(&[]), &machine, false, ok());
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
    let what = "place of nic: the kernel's own account contradicts QEMU";
    found(&smaller, Verdict::Fail, &[what, "0x800000 bytes", "0x1000000 bytes"]);
    found(&elsewhere, Verdict::Fail, &[what, "0x8000001000", "0x8000000000"]);
    found(
        &Story::after().without(|e| matches!(e, Event::BarPlaced { .. })),
        Verdict::Miss,
        &["place of nic", "nothing"],
    );
    let bars = |change: fn(&mut Vec<Bar>)| {
        Story::after().edit(move |event| {
            if let Event::DeviceBound(bound) = event {
                change(&mut bound.bars);
            }
        })
    };
    let unnamed = bars(|bars| bars.truncate(1));
    found(&unnamed, Verdict::Fail, &[what, "BAR 2 at 0x8000000000", "the host's kernel has no such BAR"]);
    let small = bars(|bars| bars[0].size = 4096);
    found(&small, Verdict::Fail, &[what, "0x100 bytes", "0x1000 bytes"]);
}

#[test]
fn a_bar_that_only_the_host_names_is_no_region() {
    let mut machine = Machine::with(NC_BLOCK);
    machine.more = vec![(0x800_0000, 0x800_0000, 3, NC_BLOCK | 2)];
    let invented = Bar { index: 4, start: 0x800_0000, size: 2 << 20, prefetchable: false };
    let story = Story::of(both(), &machine, true, ok()).edit(|event| {
        if let Event::DeviceBound(bound) = event {
            bound.bars.push(invented);
        }
    });
    found(&story, Verdict::Fail, &["unknown region at look stored", "PA 0x8000000"]);
    found(&story, Verdict::Fail, &["expected no BAR 4, found BAR 4 at 0x8000000"]);
}

#[test]
fn what_a_guests_agent_says_of_a_bar_is_held_against_it() {
    let mapping = |change: fn(&mut Bar)| {
        Story::after().edit(move |event| {
            if let Event::Observed { data: Observation::Look(look), .. } = event {
                change(&mut look.mappings[0].bar);
            }
        })
    };
    let what = "BAR of g0's mapping of nic at look stored: the agent's account contradicts QEMU";
    found(&mapping(|bar| bar.size = 4096), Verdict::Fail, &[what, "0x1000 bytes"]);
    found(&mapping(|bar| bar.index = 0), Verdict::Fail, &[what, "BAR 0 at"]);
    let elsewhere = "BAR of g0's mapping of nic at look stored: the agent's account contradicts the tables";
    found(&mapping(|bar| bar.start += BAR_SIZE), Verdict::Fail, &[elsewhere]);
    let stored = |change: fn(&mut StoreResult)| {
        Story::after().edit(move |event| {
            if let Event::Observed { data: Observation::Stored(Stored { result, .. }), .. } = event {
                change(result);
            }
        })
    };
    let what = "BAR of g0's store to nic in step 0: the agent's account contradicts QEMU";
    found(&stored(|result| result.bar.index = 7), Verdict::Fail, &[what]);
    found(&stored(|result| result.bar.size = 1), Verdict::Fail, &[what]);
    found(&stored(|result| result.stores = u64::MAX), Verdict::Miss, &["step 0, store"]);
    found(&stored(|result| result.nanos = 0), Verdict::Miss, &["step 0, store"]);
}

#[test]
fn vmas_must_be_pages_of_the_whole_bar() {
    let vmas = |change: fn(&mut Vec<Vma>)| {
        Story::after().edit(move |event| {
            if let Event::Observed { data: Observation::VmaFlags(VmaFlags { vmas, .. }), .. } = event {
                change(vmas);
            }
        })
    };
    let what = "VMAs over nic at look stored, guest g0: the kernel's own account contradicts the BAR";
    let wrong = |change| found(&vmas(change), Verdict::Fail, &[what]);
    wrong(|vmas| (vmas[0].start, vmas[0].end) = (0, 1));
    wrong(|vmas| (vmas[0].start, vmas[0].end) = (vmas[0].end, vmas[0].start));
    wrong(|vmas| vmas[0].end -= 4096);
    wrong(|vmas| vmas[0].offset += 4096);
    wrong(|vmas| vmas[0].offset = BAR_PA + 4096);
    // Two VMAs together are the BAR.
    let two = vmas(|vmas| {
        let mut second = vmas[0].clone();
        vmas[0].end -= 4096;
        second.start = vmas[0].end;
        second.offset += BAR_SIZE - 4096;
        vmas.insert(0, second);
    });
    assert_eq!(verdict(&two), pass("wc-honoured"));
    wrong(|vmas| {
        let mut second = vmas[0].clone();
        vmas[0].end -= 8192;
        second.start = vmas[0].end + 4096;
        second.offset += BAR_SIZE - 4096;
        vmas.push(second);
    });
}

/// Returns the story with the BAR assigned through sysfs, and a VMA of that.
fn through_sysfs(leaf: u64, flags: &'static [&'static str]) -> Story {
    let mut story = Story::of(both(), &Machine::with(leaf), true, ok()).edit(move |event| {
        if let Event::Observed { data: Observation::VmaFlags(VmaFlags { vmas, .. }), .. } = event {
            let mut vma = vmas[0].clone();
            vma.name = "/sys/devices/pci0000:00/0000:00:02.0/0000:01:00.0/resource2_wc".into();
            vma.offset = BAR_PA;
            vma.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            vmas.push(vma);
        }
    });
    let guest = story.cell.resolved.guests.get_mut("g0").unwrap();
    guest.vmm = Vmm::Builtin;
    guest.assign.insert("nic".into(), AssignDriver::SysfsWc);
    story
}

#[test]
fn a_bar_through_sysfs_has_no_flag_and_is_device_on_each_kernel() {
    // VFIO's VMA, whose region has the same number, is another device's.
    let device = through_sysfs(DEVICE_BLOCK, &["rd", "wr", "sh", "pf", "io"]);
    let smaps = |story: &Story| {
        let run = Run::fold(story.lines()).unwrap();
        let record = &run.cells[0].attempts[0];
        let looks = decode(record, &|digest: &str| story.pages.get(digest).cloned());
        let witness = ALL.iter().find(|witness| witness.name() == "smaps").unwrap();
        let findings = witness.hear(&Scene { record, looks: &looks }).findings;
        findings.iter().map(|finding| finding.what.clone()).collect::<Vec<_>>()
    };
    assert_eq!(smaps(&device), Vec::<String>::new());
    let flagged = smaps(&through_sysfs(DEVICE_BLOCK, &["rd", "wr", "??"]));
    assert!(flagged.iter().any(|line| line.contains("by the kernel's traits")), "{flagged:?}");
    let combined = smaps(&through_sysfs(NC_BLOCK, &["rd", "wr"]));
    assert!(combined.iter().any(|line| line.contains("contradicts the tables")), "{combined:?}");
}

/// Returns the story with the BAR in a VMA of s2lab's module, which has these flags.
fn through_the_module(traits: Traits, leaf: u64, marked: bool, flags: &'static [&'static str]) -> Story {
    let mut story = Story::of(traits, &Machine::with(leaf), true, ok()).edit(move |event| {
        if let Event::Observed { data: Observation::VmaFlags(VmaFlags { vmas, .. }), .. } = event {
            vmas[0].name = "/dev/s2lab-memory".into();
            vmas[0].offset = BAR_PA;
            vmas[0].flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        }
    });
    let guest = story.cell.resolved.guests.get_mut("g0").unwrap();
    guest.vmm = Vmm::Builtin;
    guest.assign.insert("nic".into(), AssignDriver::Module);
    let vma = ModuleVma { kind: VmaKind::Pfnmap, pgprot: Pgprot::Device, marked, private: false };
    guest.vmas.insert("nic".into(), vma);
    story
}

#[test]
fn a_vma_of_the_module_has_the_flag_that_the_scenario_asks_for() {
    let smaps = |traits: &[Trait], leaf, marked, flags| {
        let story =
            through_the_module(Traits::Exactly(traits.iter().copied().collect()), leaf, marked, flags);
        let run = Run::fold(story.lines()).unwrap();
        let record = &run.cells[0].attempts[0];
        let looks = decode(record, &|digest: &str| story.pages.get(digest).cloned());
        let witness = ALL.iter().find(|witness| witness.name() == "smaps").unwrap();
        let findings = witness.hear(&Scene { record, looks: &looks }).findings;
        findings.iter().map(|finding| finding.what.clone()).collect::<Vec<_>>()
    };
    let honoured = &[Trait::WcHonoured][..];
    // vfio-pci conveys nothing on such a kernel.
    assert_eq!(smaps(honoured, NC_BLOCK, true, &["rd", "??"]), [""; 0]);
    assert_eq!(smaps(honoured, DEVICE_BLOCK, false, &["rd"]), [""; 0]);
    assert_eq!(smaps(&[], DEVICE_BLOCK, true, &["rd", "??"]), [""; 0]);
    let lost = smaps(honoured, DEVICE_BLOCK, true, &["rd"]);
    assert!(lost.iter().any(|line| line.ends_with("by the scenario")), "{lost:?}");
    for (traits, leaf, marked, flags) in
        [(&[][..], NC_BLOCK, true, &["rd", "??"][..]), (honoured, NC_BLOCK, false, &["rd"])]
    {
        let found = smaps(traits, leaf, marked, flags);
        assert!(found.iter().any(|line| line.contains("contradicts the tables")), "{found:?}");
    }
}

#[test]
fn a_reset_has_a_method_of_the_kernels() {
    let method = |method: &'static str| {
        Story::after().edit(move |event| {
            if let Event::Observed { data: Observation::Reset(Reset { method: said, .. }), .. } = event {
                *said = method.into();
            }
        })
    };
    assert_eq!(verdict(&method("flr bus")), pass("wc-honoured"));
    for unknown in ["none", "", "bus none"] {
        found(&method(unknown), Verdict::Fail, &["step 2, reset of nic", "a method of the kernel's"]);
    }
}

#[test]
fn leaves_must_lie_where_something_is() {
    let with = |leaf| {
        let mut machine = Machine::with(NC_BLOCK);
        machine.more = vec![leaf];
        Story::of(both(), &machine, true, ok())
    };
    let unknown = with((0x800_0000, 0x900_0000, 3, NC_BLOCK | 2));
    found(&unknown, Verdict::Fail, &["unknown region", "expected nothing, found 1 leaves", "PA 0x9000000"]);
    // Half of the leaf is beyond the BAR's end.
    let beyond = with((0x90_0000_0000, BAR_PA, 1, NC_BLOCK));
    found(&beyond, Verdict::Fail, &["unknown region"]);
    // A BAR that begins inside a page takes the page.
    let page = with((0x1000_0000, 0x1000_0000, 3, NC_BLOCK | 2)).edit(|event| match event {
        Event::DeviceBound(bound) => bound.bars[0].start += 0x800,
        Event::BarPlaced { bar, .. } if bar.index == 0 => bar.start += 0x800,
        _ => {}
    });
    assert_eq!(verdict(&page), pass("wc-honoured"));
    let beyond_ram = with((0x800_0000, RAM.0 + RAM.1, 3, crate::judge::fixture::RAM_PAGE));
    found(&beyond_ram, Verdict::Fail, &["unknown region"]);
    let mut stranger = Story::after();
    stranger.cell.resolved.guests.get_mut("g0").unwrap().assign.clear();
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
        if let Event::Observed { data: Observation::Look(look), .. } = event {
            look.mappings[0].va += 4096;
        }
    });
    found(
        &story,
        Verdict::Fail,
        &["the guest's mapping of nic", "leads to IPA 0x8080001000 instead of 0x8080000000"],
    );
}
