//! The witness on made-up tables of a VMM, which the walk's code did not write.

use crate::event::Event;
use crate::finding::Weight;
use crate::hash::digest;
use crate::judge::Judgement;
use crate::judge::fixture::{BAR_IPA, BAR_PA, BAR_SIZE, Machine, NC_BLOCK, Story};
use crate::kernel::{Trait, Traits};
use crate::lines::Testimony;
use crate::scenario::{AssignDriver, Promise};
use crate::steps::{Observation, ProbeOutcome};
use crate::verdict::Verdict;
use guest_tables::{BLOCK, HCR_E2H, PAGE, VmmTables};
use s2lab_protocol::{ModuleVma, Pgprot, ProbeEnd, Vma, VmaKind};

/// The address of the BAR in the VMM, by its VMA.
const VA: u64 = 0xffff_0000_0000;

/// Returns a story of a kernel with all traits, at whose looks the VMM has these tables.
fn story(machine: &Machine, vmm: &VmmTables) -> Story {
    let traits = Traits::Exactly(Trait::ALL.into());
    let mut story = Story::of(traits, machine, true, ProbeOutcome::Answered(ProbeEnd::Ok));
    let pages = vmm.pages();
    story.pages.extend(pages.values().map(|page| (digest(page), page.clone())));
    story.edit(|event| {
        if let Event::Observed { data: Observation::Look(look), .. } = event {
            *look.registers.get_mut("HCR_EL2").unwrap() |= HCR_E2H;
            look.registers.extend(vmm.registers().map(|(name, value)| (name.to_owned(), value)));
            look.pages.extend(pages.iter().map(|(at, page)| (*at, digest(page))));
        }
    })
}

/// Returns the tables of a VMM that maps the whole BAR by leaves of `level`.
fn whole(level: u64) -> VmmTables {
    let mut vmm = VmmTables::of(0);
    let span = if level == 3 { PAGE } else { BLOCK };
    (0..BAR_SIZE).step_by(span as usize).for_each(|offset| vmm.map(VA + offset, level, BAR_PA + offset));
    vmm
}

fn blocks() -> Machine {
    Machine::with(NC_BLOCK)
}

/// The first MiB of the BAR, which the story stores to, by pages.
fn pages() -> Machine {
    let page = |n: u64| (BAR_IPA + n * PAGE, BAR_PA + n * PAGE, 3, NC_BLOCK);
    Machine { blocks: 0, more: (0..256).map(page).collect(), ..Machine::with(NC_BLOCK) }
}

fn agrees(story: &Story) -> bool {
    let Judgement { verdict, variable, .. } = story.attempt().judgement;
    matches!(verdict, Some(Verdict::Pass { .. })) && variable == [("vmm", Testimony::Agrees)]
}

/// Returns what the findings of the first look found.
#[track_caller]
fn found(story: &Story) -> (String, Vec<String>) {
    let judgement = story.attempt().judgement;
    assert_eq!(judgement.verdict, Some(Verdict::Fail));
    assert!(judgement.witnesses.contains(&("vmm", Testimony::Contradicts)) && judgement.variable.is_empty());
    let finding = &judgement.findings[0];
    let what = "leaves of nic at look stored, guest g0, beside those of the VMM's stage 1";
    assert_eq!(finding.what, what);
    assert_eq!(finding.expected, "each within a leaf of the VMM (pfnmap-stage1-leaf)");
    (finding.found.clone(), finding.detail.clone())
}

#[test]
fn leaves_within_those_of_the_vmm_agree() {
    assert!(agrees(&story(&blocks(), &whole(2))));
    assert!(agrees(&story(&pages(), &whole(2))), "smaller leaves");
    assert!(agrees(&story(&pages(), &whole(3))));
}

#[test]
fn a_block_where_the_vmm_has_pages_contradicts() {
    let (found, detail) = found(&story(&blocks(), &whole(3)));
    assert_eq!(found, "1 of 1 are not: 2M where the VMM's leaf has 4K");
    let due =
        "IPA 0x8080000000 -> PA 0x8000000000, level 2, VMM's address 0xffff00000000: the VMM's leaf has 4K";
    assert_eq!(detail, [due]);
}

#[test]
fn a_leaf_that_the_vmm_does_not_have_contradicts() {
    let (found, _) = found(&story(&pages(), &VmmTables::of(0)));
    assert!(found.starts_with("256 of 256 are not: 4K where the VMM has none: "), "{found}");
}

#[test]
fn a_leaf_that_leads_elsewhere_contradicts() {
    let mut vmm = VmmTables::of(0);
    vmm.map(VA, 2, BAR_PA + BLOCK);
    let (found, _) = found(&story(&blocks(), &vmm));
    assert_eq!(found, "1 of 1 are not: 2M where the VMM's leaf leads to PA 0x8000200000");
}

/// Two devices have BARs of the same size and the same region, so each report has the VMAs of both. The first is the
/// other device's: nothing is mapped there yet, or its own BAR is.
#[test]
fn the_vma_of_another_device_is_not_taken_for_the_devices_own() {
    let other = VA - 2 * BAR_SIZE;
    let with = |vmm: &VmmTables| {
        story(&blocks(), vmm).edit(|event| {
            if let Event::Observed { data: Observation::VmaFlags(flags), .. } = event {
                let vma = flags.vmas[0].clone();
                flags.vmas.insert(0, Vma { start: other, end: other + BAR_SIZE, ..vma });
            }
        })
    };
    assert!(agrees(&with(&whole(2))));
    let mut elsewhere = whole(2);
    elsewhere.map(other, 2, BAR_PA + BAR_SIZE);
    assert!(agrees(&with(&elsewhere)));
    let (found, _) = found(&with(&VmmTables::of(0)));
    assert!(found.starts_with("1 of 1 are not: 2M where the VMM has none: "), "{found}");
}

/// Whether or not the kernel declares the trait.
#[test]
fn a_bar_that_the_vmm_has_cacheable_contradicts() {
    let mut vmm = VmmTables::of(0);
    vmm.map_cached(VA, 2, BAR_PA);
    let with = story(&blocks(), &vmm);
    let mut old = with.clone();
    old.cell.resolved.traits = Traits::Exactly([Trait::WcConveyed, Trait::WcHonoured].into());
    for story in [with, old] {
        let judgement = story.attempt().judgement;
        assert_eq!(judgement.verdict, Some(Verdict::Fail));
        let finding = &judgement.findings[0];
        assert_eq!(finding.what, "type of nic at look stored, guest g0 in the VMM's stage 1");
        assert_eq!(finding.found, "Normal-WB at the VMM's address 0xffff00000000");
    }
}

/// The module is a part of the lab.
#[test]
fn under_a_vma_of_the_module_the_type_is_the_one_that_was_asked_for() {
    let with = |pgprot, cached: bool| {
        let mut vmm = VmmTables::of(0);
        let map = if cached { VmmTables::map_cached } else { VmmTables::map };
        map(&mut vmm, VA, 2, BAR_PA);
        let mut story = story(&blocks(), &vmm).edit(|event| {
            if let Event::Observed { data: Observation::VmaFlags(flags), .. } = event {
                flags.vmas[0].name = "/dev/s2lab-memory".into();
                flags.vmas[0].offset = BAR_PA;
            }
        });
        let guest = story.cell.resolved.guests.get_mut("g0").unwrap();
        guest.assign.insert("nic".into(), AssignDriver::Module);
        let vma = ModuleVma { kind: VmaKind::Pfnmap, pgprot, marked: true, private: false };
        guest.vmas.insert("nic".into(), vma);
        let findings = story.attempt().judgement.findings;
        let own = findings.into_iter().find(|finding| finding.what.contains("VMM's stage 1"));
        own.map(|finding| (finding.weight, finding.expected))
    };
    assert_eq!(with(Pgprot::Noncached, false), None);
    assert_eq!(with(Pgprot::WriteBack, true), None);
    assert_eq!(with(Pgprot::WriteCombine, false), Some((Weight::Lab, "Normal-NC".into())));
    assert_eq!(with(Pgprot::Device, true), Some((Weight::Lab, "Device-nGnRE".into())));
}

#[test]
fn the_first_and_the_last_leaf_are_compared() {
    let mut vmm = VmmTables::of(0);
    (0..3).for_each(|n| vmm.map(VA + n * BLOCK, 2, BAR_PA + n * BLOCK));
    // The last of four blocks is pages.
    for offset in (3 * BLOCK..4 * BLOCK).step_by(PAGE as usize) {
        vmm.map(VA + offset, 3, BAR_PA + offset);
    }
    let (found, detail) = found(&story(&Machine { blocks: 4, ..blocks() }, &vmm));
    assert_eq!(found, "1 of 4 are not: 2M where the VMM's leaf has 4K");
    assert!(detail[0].starts_with("IPA 0x8080600000 "), "{detail:?}");
}

#[test]
fn without_the_trait_or_vhe_it_is_silent() {
    let silent = |story: &Story| match story.attempt().judgement.variable.as_slice() {
        [("vmm", Testimony::Silent(why))] => why.to_string(),
        other => panic!("{other:?}"),
    };
    let mut old = story(&blocks(), &whole(3));
    old.cell.resolved.traits = Traits::Exactly([Trait::WcConveyed, Trait::WcHonoured].into());
    let undeclared = "the kernel does not declare pfnmap-stage1-leaf";
    assert_eq!(silent(&old), undeclared);
    assert_eq!(silent(&old.clone().undeclared()), undeclared);
    let nvhe = story(&blocks(), &whole(3)).edit(|event| {
        if let Event::Observed { data: Observation::Look(look), .. } = event {
            *look.registers.get_mut("HCR_EL2").unwrap() &= !HCR_E2H;
        }
    });
    let no_vhe = "the host has no VHE, and a guest has its TTBR0_EL1";
    assert_eq!(silent(&nvhe), no_vhe);
    // KVM's own code at EL2 with HCR_EL2.E2H has no tables at TTBR1_EL2.
    let hvhe = story(&blocks(), &whole(3)).edit(|event| {
        if let Event::Observed { data: Observation::Look(look), .. } = event {
            *look.registers.get_mut("TCR_EL2").unwrap() |= 1 << 23;
        }
    });
    assert_eq!(silent(&hvhe), no_vhe);
    let torn = story(&blocks(), &whole(3)).edit(|event| {
        if let Event::Observed { data: Observation::Look(look), .. } = event {
            look.registers.remove("TCR_EL2");
        }
    });
    assert_eq!(silent(&torn), "register TCR_EL2 is not in the log");
    // Logs before 2.4.
    assert_eq!(Story::after().attempt().judgement.variable, []);
}

#[test]
fn the_promise_is_that_of_neighbours() {
    let mut story = story(&blocks(), &whole(3));
    story.cell.resolved.promises.insert(Promise::NEIGHBOURS);
    assert_eq!(story.attempt().judgement.findings[0].promise, Some(Promise::NEIGHBOURS));
}
