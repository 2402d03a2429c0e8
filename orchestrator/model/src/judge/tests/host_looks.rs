//! Looks at the host's own stage 2, on made-up tables that the walk's code did not write.

use super::*;
use crate::judge::fixture::{HYPERVISOR, LINEAR, host_tables};
use crate::scenario::Promise;
use guest_tables::HostTables;
use s2lab_protocol::Extent;

/// A page of the hypervisor's code in the kernel's image, and one of a stack.
const CODE: u64 = 0x4020_1000;
const STACK: u64 = 0x4500_0000;
/// AP\[2\] of stage 1.
const READ_ONLY: u64 = 1 << 7;

/// Returns tables in which everything is as it should be, but for the range that the log names.
fn tables() -> HostTables {
    let mut tables = host_tables();
    tables.own(LINEAR + CODE, CODE, READ_ONLY);
    tables.withhold(CODE, 3);
    tables
}

fn well() -> HostTables {
    let mut tables = tables();
    tables.withhold(HYPERVISOR.start, 2);
    tables
}

/// Returns a story that looks at a host with these tables.
fn story(tables: &HostTables, expect: &[serde_json::Value]) -> Story {
    let mut story = Story::after().looking_at_host(tables);
    let expect = expect.iter().cloned().map(|one| serde_json::from_value::<Expectation>(one).unwrap());
    story.cell.resolved.expect.extend(expect);
    story
}

/// Returns the verdict and the first finding.
fn first(story: &Story) -> (Verdict, String) {
    let judgement = story.attempt().judgement;
    let finding = judgement.findings.first();
    let text = finding.map(|of| format!("{}: expected {}, found {}", of.what, of.expected, of.found));
    (judgement.verdict.unwrap(), text.unwrap_or_default())
}

fn expected(of: &str, stage2: &str) -> serde_json::Value {
    serde_json::json!({"at": ["own"], "of": of, "stage2": stage2})
}

#[test]
fn a_host_without_the_hypervisors_pages_passes() {
    let expect = [
        expected("ram", "Normal-WB"),
        expected("mmio", "Normal-WB"),
        expected("hypervisor", "none"),
        expected("stacks", "none"),
    ];
    let mut with_stack = well();
    with_stack.own(0x7000_0000_1000, STACK, 0);
    with_stack.withhold(STACK, 3);
    let story = story(&with_stack, &expect);
    assert!(matches!(first(&story).0, Verdict::Pass { .. }), "{:?}", first(&story));
    let report = story.report().to_string();
    let line = "\n  look own of host: ram Normal-WB rw exec, mmio Normal-WB rw never-exec, hypervisor withheld, \
                stacks withheld\n";
    assert!(report.contains(line), "{report}");
    let sizes =
        "step 6  look own of host  ram 1 leaves  mmio 1 leaves  hypervisor 513 pages  stacks 1 pages\n";
    assert!(report.contains(sizes), "{report}");
}

#[test]
fn a_page_of_the_hypervisor_that_the_host_may_reach_fails() {
    let all = "512 of 513 pages are open to the host";
    let due = format!("stage2 of hypervisor at look own: expected none, found {all}");
    let mut mapped = tables();
    mapped.back(HYPERVISOR.start, 2, HYPERVISOR.start, 0);
    // An invalid descriptor without a mark is filled at the next access.
    for tables in [mapped, tables()] {
        let story = story(&tables, &[]);
        assert_eq!(first(&story), (Verdict::Fail, due.clone()));
        let finding = &story.attempt().judgement.findings[0];
        assert_eq!(finding.promise, Some(Promise::ISOLATION));
        assert!(story.report().to_string().contains("hypervisor open to the host"));
    }
    // So is its code, which the log does not name.
    let mut code = well();
    code.back(CODE, 3, CODE, 0);
    let due = "stage2 of hypervisor at look own: expected none, found 1 of 513 pages are open to the host";
    assert_eq!(first(&story(&code, &[])), (Verdict::Fail, due.to_owned()));
}

#[test]
fn stacks_are_what_a_scenario_expects() {
    let mut stack = well();
    stack.own(0x7000_0000_1000, STACK, 0);
    stack.back(STACK, 2, STACK, 0);
    assert!(matches!(first(&story(&stack, &[])).0, Verdict::Pass { .. }));
    let due = "stage2 of stacks at look own: expected none, found 1 of 1 pages are open to the host";
    assert_eq!(first(&story(&stack, &[expected("stacks", "none")])), (Verdict::Fail, due.to_owned()));
}

#[test]
fn an_address_leads_to_itself_and_has_its_type() {
    let mut moved = well();
    moved.back(0x8000_0000, 2, 0x8020_0000, 0);
    let due = "addresses at look own: expected each address leads to itself, found 1 leaves lead elsewhere";
    assert_eq!(first(&story(&moved, &[])), (Verdict::Fail, due.to_owned()));
    let due = "stage2 of mmio at look own: expected Device-nGnRE, found Normal-WB";
    assert_eq!(first(&story(&well(), &[expected("mmio", "Device-nGnRE")])), (Verdict::Fail, due.to_owned()));
}

#[test]
fn a_log_and_tables_that_differ_put_the_look_in_doubt() {
    let story = story(&well(), &[]).edit(|event| {
        if let Event::HostMemory(memory) = event {
            memory.hypervisor = Some(Extent { start: 0x9100_0000, ..HYPERVISOR });
        }
    });
    let (verdict, text) = first(&story);
    assert_eq!(verdict, Verdict::Miss);
    assert!(text.contains("found 512 of its pages are not mapped, the first 0x91000000"), "{text}");
}

#[test]
fn a_look_that_is_missing_or_cannot_be_read_is_the_labs() {
    let whole = story(&well(), &[]);
    let is_look = |event: &Event| matches!(event, Event::Observed { data: Observation::HostLook(_), .. });
    let (verdict, text) = first(&whole.clone().without(is_look));
    assert_eq!((verdict, text.as_str()), (Verdict::Miss, "look own: expected one observation, found 0"));
    let unread = |register: &str, value: u64| {
        whole.clone().edit(|event| {
            if let Event::Observed { data: Observation::HostLook(look), .. } = event {
                look.registers.insert(register.to_owned(), value);
            }
        })
    };
    for (register, value) in [("VTTBR_EL2", 3 << 48), ("HCR_EL2", 1 << 27 | 1), ("TCR_EL2", 63)] {
        let (verdict, text) = first(&unread(register, value));
        assert_eq!(verdict, Verdict::Miss, "{register}");
        assert!(text.starts_with("look own: expected tables that can be read"), "{text}");
    }
    let silent = whole.edit(|event| {
        if let Event::HostMemory(memory) = event {
            memory.hypervisor = None;
        }
    });
    let (verdict, text) = first(&silent);
    assert_eq!(verdict, Verdict::Miss);
    assert!(text.contains("the host did not report the place of the hypervisor's memory"), "{text}");
}
