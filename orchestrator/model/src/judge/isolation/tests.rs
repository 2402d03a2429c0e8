//! Each rule broken once, each exception used once, and random tables with one leaf too many.

use super::Scene;
use crate::event::Event;
use crate::judge::fixture::{
    BAR_IPA, BAR_PA, BAR_SIZE, DEVICE_BLOCK, DEVICE_TREE, IOMEM, Machine, NC_BLOCK, RAM_PAGE, RESERVED,
    Story, host_memory,
};
use crate::record::{Run, beside::SeenBeside, kept::KeptMemory, look::decode, virt};
use crate::scenario::{Gic, Vmm};
use crate::steps::Observation;
use crate::verdict::Verdict;
use guest_tables::{BLOCK, GUEST_OFFSET, PAGE, STAGE1_ROOT, STAGE2_ROOT, stage2_root};
use proptest::prelude::*;
use s2lab_mmu::Stage2Leaf;
use s2lab_protocol::{Extent, ProbeEnd};
use std::ops::RangeInclusive;

/// A page and a block of RAM, without S2AP\[1\].
const READ_ONLY: u64 = RAM_PAGE & !(1 << 7);
const RAM_BLOCK: u64 = RAM_PAGE & !2;
/// A place in the guest's RAM that has no leaf yet, and RAM of the host that nobody has.
const FREE_IPA: u64 = 0x4100_0000;
const FREE_PA: u64 = 0x7000_0000;
const CODE: u64 = 0x4100_0000;
/// A page in the kernel's data, where its zero page is.
const ZERO_PAGE: u64 = 0x4210_0000;
const LEVEL_3: u64 = 3;
const DEVICE_PAGE: u64 = DEVICE_BLOCK | 2;
/// The device's BAR 0.
const OTHER_BAR: u64 = 0x1000_0000;

pub(super) fn machine() -> Machine {
    Machine::with(NC_BLOCK)
}

pub(super) fn with(leaves: &[(u64, u64, u64, u64)]) -> Machine {
    Machine { more: leaves.to_vec(), ..machine() }
}

pub(super) fn story(machine: &Machine) -> Story {
    let traits = Story::after().cell.resolved.traits;
    Story::of(traits, machine, true, crate::steps::ProbeOutcome::Answered(ProbeEnd::Ok))
}

fn texts(story: &Story) -> (Option<Verdict>, Vec<String>) {
    let judgement = story.attempt().judgement;
    let texts = judgement.findings.iter();
    let texts = texts.map(|f| format!("{}: expected {}, found {}", f.what, f.expected, f.found)).collect();
    (judgement.verdict, texts)
}

#[track_caller]
pub(super) fn passes(story: &Story) {
    let (verdict, texts) = texts(story);
    assert!(matches!(verdict, Some(Verdict::Pass { .. })), "{texts:#?}");
}

#[track_caller]
pub(super) fn fails(story: &Story, words: &str) {
    let (verdict, texts) = texts(story);
    assert_eq!(verdict, Some(Verdict::Fail), "{texts:#?}");
    assert!(texts.iter().any(|text| text.contains(words)), "{words:?} in {texts:#?}");
}

/// A guest has two pages of a GICv2.
#[test]
fn a_page_behind_the_cpu_interface_is_foreign() {
    let page = |number: u64| (0x801_0000 + (number << 12), 0x804_0000 + (number << 12), LEVEL_3, DEVICE_PAGE);
    let with_gic = |pages: u64| {
        let leaves: Vec<_> = (0..pages).map(page).collect();
        let mut story = story(&with(&leaves));
        story.cell.resolved.host.gic = Gic::V2;
        story
    };
    passes(&with_gic(2));
    fails(&with_gic(3), "1 leaves in neither RAM nor a BAR");
    let mut twice = story(&with(&[page(0), (0x801_1000, 0x804_0000, LEVEL_3, DEVICE_PAGE)]));
    twice.cell.resolved.host.gic = Gic::V2;
    fails(&twice, "IPA 0x8011000 -> PA 0x8040000: a writable page at a second IPA");
}

#[test]
fn what_a_guest_was_not_given_is_named() {
    let first = "isolation at look stored, guest g0: expected only what the guest was given, found ";
    let cases = [
        ((FREE_IPA, CODE, 3, RAM_PAGE), "IPA 0x41000000 -> PA 0x41000000: the host's kernel code"),
        ((FREE_IPA, CODE, 3, READ_ONLY), "the host's kernel code"),
        ((FREE_IPA, ZERO_PAGE, 3, RAM_PAGE), "the host's kernel data"),
        ((FREE_IPA, DEVICE_TREE.0, 3, RAM_PAGE), "the host's device tree"),
        ((FREE_IPA, RESERVED.0, 3, RAM_PAGE), "memory that the host's kernel has reserved"),
        ((FREE_IPA, STAGE2_ROOT, 3, RAM_PAGE), "a stage-2 table of g0"),
        ((FREE_IPA, STAGE2_ROOT, 3, READ_ONLY), "a stage-2 table of g0"),
        ((FREE_IPA, STAGE2_ROOT, 2, RAM_BLOCK), "a stage-2 table of g0"),
        ((FREE_IPA, STAGE1_ROOT + GUEST_OFFSET, 3, RAM_PAGE), "a writable page at a second IPA"),
        ((FREE_IPA, STAGE1_ROOT + GUEST_OFFSET, 3, READ_ONLY), "a writable page at a second IPA"),
        ((BAR_IPA + BAR_SIZE, BAR_PA, 2, NC_BLOCK), "the BAR of nic at a second IPA"),
        ((BAR_IPA + BAR_SIZE, BAR_PA, 2, NC_BLOCK & !(1 << 7)), "the BAR of nic at a second IPA"),
        ((BAR_IPA + BAR_SIZE, BAR_PA + BLOCK, 2, NC_BLOCK), "the BAR of nic at a second IPA"),
        ((BAR_IPA + BAR_SIZE, FREE_PA, 3, RAM_PAGE), "RAM of the host where the guest has none"),
        // The leaves lead to another BAR of the device, in place of RAM, of the flash, at the end
        // of the window below RAM.
        ((FREE_IPA, OTHER_BAR, 3, NC_BLOCK), "a BAR of nic where the guest has no PCI memory"),
        ((0, OTHER_BAR, 3, NC_BLOCK), "a BAR of nic where the guest has no PCI memory"),
        ((0x3eff_0000, OTHER_BAR, 3, NC_BLOCK), "a BAR of nic where the guest has no PCI memory"),
        ((0x5000_0000, FREE_PA, 3, RAM_PAGE), "RAM of the host where the guest has none"),
        ((0x4000_0000 - PAGE, FREE_PA, 3, RAM_PAGE), "RAM of the host where the guest has none"),
        ((0x090a_1000, FREE_PA, 3, RAM_PAGE), "RAM of the host where the guest has none"),
        ((0x0010_0000, FREE_PA, 3, RAM_PAGE), "RAM of the host where the guest has none"),
        ((0x0010_0000, FREE_PA, 3, READ_ONLY), "RAM of the host where the guest has none"),
    ];
    for (leaf, words) in cases {
        let (_, texts) = texts(&story(&with(&[leaf])));
        fails(&story(&with(&[leaf])), words);
        assert!(texts[0].starts_with(first), "{texts:#?}");
    }
}

#[test]
fn the_gravest_comes_first_and_the_rest_is_counted() {
    let leaves = [0, 1, 2].map(|n| (0x6000_0000 + n * BLOCK, 0x4000_0000 + n * BLOCK, 2, RAM_BLOCK));
    fails(
        &story(&with(&leaves)),
        "found IPA 0x60200000 -> PA 0x40200000: the host's kernel code; 2 more leaves",
    );
}

#[test]
fn what_a_guest_may_have_is_no_alarm() {
    passes(&story(&machine()));
    // KVM's page of stolen time, RAM that was the initramfs, and former init sections.
    passes(&story(&with(&[(0x090a_0000, FREE_PA, 3, RAM_PAGE)])));
    // Another BAR of its device, in either window of PCI memory.
    for ipa in [0x1000_0000, 0x3efe_f000, 0x5000_0000, BAR_IPA + BAR_SIZE] {
        passes(&story(&with(&[(ipa, OTHER_BAR, 3, NC_BLOCK)])));
    }
    passes(&story(&with(&[(FREE_IPA, 0x4900_0000, 3, RAM_PAGE)])));
    passes(&story(&with(&[(FREE_IPA, 0x41a7_0000, 3, RAM_PAGE)])));
    // The zero page at many IPAs, also of the flash, and RAM that both can only read.
    let zeros =
        [FREE_IPA, FREE_IPA + PAGE, FREE_IPA + 7 * PAGE, 0x10_0000].map(|ipa| (ipa, ZERO_PAGE, 3, READ_ONLY));
    let content = vec![(ZERO_PAGE, vec![0; PAGE as usize])];
    passes(&story(&Machine { content: content.clone(), ..with(&zeros) }));
    passes(&story(&with(&[FREE_IPA, FREE_IPA + PAGE].map(|ipa| (ipa, FREE_PA, 3, READ_ONLY)))));
    // The same page is foreign if it can be written to, if it is not all zeroes, or if that is not
    // known.
    let writable = [(FREE_IPA, ZERO_PAGE, 3, RAM_PAGE)];
    fails(&story(&Machine { content: content.clone(), ..with(&writable) }), "the host's kernel data");
    let mut other = content;
    other[0].1[4095] = 1;
    fails(&story(&Machine { content: other, ..with(&zeros) }), "the host's kernel data");
    fails(&story(&with(&zeros)), "the host's kernel data");
}

#[test]
fn a_leaf_that_hardware_makes_writable_is_writable() {
    let dirty = (FREE_IPA, STAGE1_ROOT + GUEST_OFFSET, 3, READ_ONLY | 1 << 51);
    let of = |registers| {
        story(&Machine { registers, ..with(&[dirty, (FREE_IPA + PAGE, FREE_PA, 3, READ_ONLY | 1 << 51)]) })
    };
    fails(&of(vec![("VTCR_EL2", 1 << 31 | 2 << 16 | 1 << 6 | 24 | 1 << 22)]), "VTCR_EL2.HD is 1");
}

/// The host may call free what Linux frees, but no more.
#[test]
fn a_host_that_lies_of_its_kernel_is_not_believed() {
    let reported = |iomem: &str, reserved: Option<Vec<Extent>>| {
        let (iomem, leaf) = (iomem.to_owned(), (FREE_IPA, CODE, 3, RAM_PAGE));
        story(&with(&[leaf])).edit(move |event| {
            if let Event::HostMemory(memory) = event {
                (memory.iomem, memory.reserved) = (iomem.clone(), reserved.clone());
            }
        })
    };
    let reserved = host_memory().reserved;
    // No kernel, a small one, one elsewhere, one that was freed.
    for iomem in [
        "",
        &IOMEM.replace("-41a6ffff", "-4020ffff"),
        // Two fifths of the image are between code and data.
        &IOMEM.replace("-41a6ffff", "-412cffff"),
        &IOMEM.replace("  40200000-41a6ffff", "  60200000-61a6ffff"),
        // The head is a page too large.
        &IOMEM.replace("  40200000-41a6ffff", "  40211000-41a6ffff"),
    ] {
        let (verdict, texts) = texts(&reported(iomem, reserved.clone()));
        assert_eq!(verdict, Some(Verdict::Fail));
        assert!(texts[0].contains("found IPA 0x41000000 -> PA 0x41000000: the host's kernel"), "{texts:#?}");
        assert!(texts.iter().any(|text| text.starts_with("the host's account of its kernel")), "{texts:#?}");
    }
    let (_, texts) = texts(&reported(IOMEM, Some(vec![])));
    assert!(texts.iter().any(|text| text.contains("0x1870000 bytes of code and 0x3b0000 of data are free")));
    // One page of code is free: Linux frees none.
    let code_freed = [
        (0x4020_0000, CODE - 0x4020_0000),
        (CODE + PAGE, 0x41a7_0000 - CODE - PAGE),
        (0x4208_0000, 0x3b_0000),
    ];
    let code_freed = code_freed.map(|(start, size)| Extent { start, size });
    fails(&reported(IOMEM, Some(code_freed.into())), "the host's kernel code");
    // One page of data may have been freed; then a guest may have it.
    let data_freed = [
        (0x4020_0000, 0x187_0000),
        (0x4208_0000, ZERO_PAGE - 0x4208_0000),
        (ZERO_PAGE + PAGE, 0x4243_0000 - ZERO_PAGE - PAGE),
    ];
    let data_freed = data_freed.map(|(start, size)| Extent { start, size });
    let plain = story(&with(&[(FREE_IPA, ZERO_PAGE, 3, RAM_PAGE)]));
    fails(&plain, "the host's kernel data");
    passes(&plain.edit(|event| {
        if let Event::HostMemory(memory) = event {
            memory.reserved = Some(data_freed.into());
        }
    }));
    // Linux 6.1 frees the head of its image, but does not call it code.
    let head = story(&with(&[(FREE_IPA, 0x4020_a000, 3, RAM_PAGE)]));
    fails(&head, "the host's kernel code");
    let head_freed = [(0x4021_0000, 0x186_0000), (0x4208_0000, 0x3b_0000)];
    let head_freed = head_freed.map(|(start, size)| Extent { start, size });
    for reserved in [Some(head_freed.to_vec()), None] {
        passes(&head.clone().edit(|event| {
            if let Event::HostMemory(memory) = event {
                memory.iomem = IOMEM.replace("  40200000-41a6ffff", "  40210000-41a6ffff");
                memory.reserved = reserved.clone();
            }
        }));
    }
    // Without flags of pages, the ranges reserved at boot count, except for the initramfs and the
    // init sections.
    fails(&reported(IOMEM, None), "the host's kernel code");
    let plain =
        story(&with(&[(FREE_IPA, 0x4900_0000, 3, RAM_PAGE), (FREE_IPA + PAGE, 0x41a7_0000, 3, RAM_PAGE)]));
    passes(&plain.edit(|event| {
        if let Event::HostMemory(memory) = event {
            memory.reserved = None;
        }
    }));
}

/// The leaf of the interface is that of `attributes.rs`. A guest of the built-in VMM has no GIC.
#[test]
fn the_interface_of_a_gicv2_is_given_to_guests_of_qemu() {
    let interface = (0x0801_0000, virt::GICV.start, 3, DEVICE_BLOCK | 0b10);
    let mut story = story(&with(&[interface]));
    story.cell.resolved.host.gic = Gic::V2;
    passes(&story);
    story.cell.resolved.guests.get_mut("g0").unwrap().vmm = Vmm::Builtin;
    fails(
        &story,
        "gicv, which the guest was not given, at look stored, guest g0: expected nothing mapped, found 1 leaves",
    );
    let text = story.report().text();
    assert!(text.lines().any(|line| line.trim() == "maps what is not its own"), "{text}");
}

pub(super) fn beside(second: &Machine) -> Story {
    Story::after().beside(&machine(), second)
}

#[test]
fn guests_have_nothing_in_common() {
    let second =
        |leaves: &[(u64, u64, u64, u64)]| Machine { guest: 1, blocks: 0, mapped: false, ..with(leaves) };
    let ram_of_first = STAGE1_ROOT + GUEST_OFFSET;
    passes(&beside(&second(&[])));
    fails(
        &beside(&second(&[(FREE_IPA, ram_of_first, 3, RAM_PAGE)])),
        "guest g1: expected only what the guest was given, found IPA 0x41000000 -> PA 0x58100000: RAM of g0",
    );
    fails(&beside(&second(&[(FREE_IPA, ram_of_first, 3, READ_ONLY)])), "RAM of g0");
    fails(&beside(&second(&[(FREE_IPA, STAGE2_ROOT, 3, READ_ONLY)])), "a stage-2 table of g0");
    // Both guests have one table.
    let same = Machine { registers: vec![("VTTBR_EL2", STAGE2_ROOT | 4 << 48)], ..second(&[]) };
    let same = Machine { guest: 0, ..same };
    let story = beside(&same);
    fails(&story, "start table at look stored, guest g1: expected one of its own, found that of g0");
    fails(&story, "RAM of g0");
}

#[test]
fn a_table_in_reach_of_another_guest_is_found() {
    // The first guest has a leaf over the second one's tables, and is seen beside it.
    let second = Machine { guest: 1, blocks: 0, mapped: false, ..machine() };
    let (first, pages) = with(&[(FREE_IPA, stage2_root(1), 3, RAM_PAGE)]).look("stored");
    let mut story = beside(&second).edit(|event| {
        if let Event::Observed { data: Observation::Look(look), .. } = event
            && look.guest == "g1"
        {
            look.pages.extend(first.pages.clone());
        }
    });
    story.pages.extend(pages);
    fails(&story, "a stage-2 table of this guest, mapped by g0");
}

#[test]
fn a_report_says_what_is_promised() {
    let lines = |machine: &Machine| story(machine).report();
    let good = lines(&machine());
    assert_eq!(good.promises.iter().map(ToString::to_string).collect::<Vec<_>>(), ["I1", "I4", "I6", "I17"]);
    let own = "  maps only its own: 256M of RAM at 0x40000000, nic";
    assert!(good.text().lines().any(|line| line.trim() == own.trim()), "{good}");
    let bad = lines(&with(&[(FREE_IPA, CODE, 3, RAM_PAGE)]));
    assert!(bad.text().lines().any(|line| line.trim() == "maps what is not its own"), "{bad}");
    assert!(bad.text().contains("\n  isolation at look stored, guest g0  I17\n"), "{bad}");
    let run = story(&with(&[(FREE_IPA, CODE, 3, RAM_PAGE)])).run();
    let finding = &run.cells[0].attempts[0].judgement.findings[0];
    assert_eq!(finding.promise, Some(crate::scenario::Promise::ISOLATION));
    assert!(finding.found.ends_with("the host's kernel code"), "{finding:?}");
    let mut named = Story::after();
    named.cell.resolved.promises.insert(crate::scenario::Promise::ISOLATION);
    assert_eq!(named.report().promises, good.promises);
}

/// The leaves map a GiB in pages, beside a guest with as many: a quadratic rule would not come to
/// its end.
#[test]
fn a_quarter_of_a_million_leaves_are_judged() {
    let story = Story::after();
    let run = Run::fold(story.lines()).unwrap();
    let record = &run.cells[0].attempts[0];
    let looks = decode(record, &|digest: &str| story.pages.get(digest).cloned());
    let look = &looks[0];
    let mut seen = look.seen.clone().unwrap();
    let leaf = seen.ram[0];
    let leaves = |pa: u64| {
        let leaf = move |n| Stage2Leaf { ipa: 0x8000_0000 + n * PAGE, pa: pa + n * PAGE, ..leaf };
        (0..1 << 18).map(leaf).collect::<Vec<_>>()
    };
    seen.ram = leaves(0x1_0000_0000);
    let granule = seen.granule;
    let other = SeenBeside {
        granule,
        tables: (0..1 << 12).map(|n| n * PAGE).collect(),
        leaves: leaves(0x3_0000_0000),
    };
    seen.beside.insert("g1".into(), other);
    let kept = KeptMemory::of(&record.session.around);
    let foreign = Scene::of(record, look, &seen, &kept).foreign();
    assert_eq!(foreign.len(), 1 << 18, "all of them are beyond the guest's memory");
}

/// RAM of the host that a guest may have: pages from [`FREE_PA`] on.
const FREE: RangeInclusive<u64> = 0..=0x1000;

fn healthy() -> impl Strategy<Value = Vec<(u64, u64, u64, u64)>> {
    // The places are distinct, because the maps' keys are.
    let places = proptest::collection::btree_set(FREE, 1..40);
    (places, any::<u64>()).prop_map(|(places, seed)| {
        let leaf = |(n, place): (u64, u64)| {
            let bits = if (seed >> (n % 64)) & 1 == 0 { RAM_PAGE } else { READ_ONLY };
            (FREE_IPA + place * PAGE, FREE_PA + place.wrapping_mul(0x9e5) % 0x1fff * PAGE, LEVEL_3, bits)
        };
        (0..).zip(places).map(leaf).collect()
    })
}

/// Returns one leaf that no guest may have, at a free IPA.
fn foreign() -> impl Strategy<Value = (u64, u64, u64, u64)> {
    let inside = (0x200u64..0x1000).prop_map(|page| 0x4300_0000 + page * PAGE);
    let keeps = prop_oneof![
        (0x4020_0000u64 / PAGE..0x41a7_0000 / PAGE),
        (0x4208_0000u64 / PAGE..0x4243_0000 / PAGE),
        (DEVICE_TREE.0 / PAGE..(DEVICE_TREE.0 + DEVICE_TREE.1) / PAGE),
        (RESERVED.0 / PAGE..(RESERVED.0 + RESERVED.1) / PAGE),
        (STAGE2_ROOT / PAGE..STAGE2_ROOT / PAGE + 4),
        (0u64..64).prop_map(|page| (STAGE1_ROOT + GUEST_OFFSET) / PAGE + page),
    ];
    let kept = (inside, keeps.prop_map(|page| page * PAGE), any::<bool>())
        .prop_map(|(ipa, pa, writable)| (ipa, pa, LEVEL_3, if writable { RAM_PAGE } else { READ_ONLY }));
    let nowhere = prop_oneof![(0u64..0x8000), (0x90b0..0x4_0000u64), (0x5_0000..0x800_0000u64)];
    let outside = nowhere.prop_map(|page| (page * PAGE, 0x8000_0000, LEVEL_3, RAM_PAGE));
    let bar = (1u64..512).prop_map(|n| (BAR_IPA + BAR_SIZE + n * BLOCK, BAR_PA, 2, NC_BLOCK));
    prop_oneof![kept, outside, bar]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn healthy_tables_are_never_foreign(leaves in healthy()) {
        let (verdict, texts) = texts(&story(&with(&leaves)));
        prop_assert!(matches!(verdict, Some(Verdict::Pass { .. })), "{:#?}", texts);
    }

    #[test]
    fn one_foreign_leaf_is_always_found(mut leaves in healthy(), foreign in foreign()) {
        leaves.push(foreign);
        let (verdict, texts) = texts(&story(&with(&leaves)));
        prop_assert_eq!(verdict, Some(Verdict::Fail));
        let place = format!("found IPA {:#x} -> PA {:#x}: ", foreign.0, foreign.1);
        // Of two leaves over one page either is the second one.
        let twice = texts[0].contains("at a second IPA");
        prop_assert!(twice || texts[0].contains(&place), "{} in {:#?}", place, texts);
        prop_assert!(!texts[0].contains("more leaves"), "{:#?}", texts);
    }
}
