use super::{Comparison, DETAIL, Difference, Outcome, ParseError, Report, compare};
use crate::escape;
use crate::event::{AlarmClass, Event, StopCause};
use crate::judge::fixture::{DEVICE_BLOCK, Machine, NC_BLOCK, Story, traits};
use crate::kernel::Trait;
use proptest::prelude::*;
use s2lab_protocol::UnalignedOutcome;
use std::collections::BTreeMap;

#[test]
fn reports_as_people_read_them() {
    insta::assert_snapshot!("after", Story::after().report());
    insta::assert_snapshot!("before", Story::before().report());
    let mut wrong = Story::before();
    wrong.cell.traits = traits(&[Trait::WcConveyed, Trait::WcHonoured]);
    let line = "[    1.5] kvm [7]: \x1b[31mUnsupported FSC\u{202e}".to_owned();
    let alarm = |class| Event::Alarm { console: "host".into(), class, line: line.clone() };
    wrong = wrong.and(alarm(AlarmClass::UnsupportedFault)).and(alarm(AlarmClass::Warn));
    insta::assert_snapshot!("fail", wrong.report());
    insta::assert_snapshot!("timeout", Story::after().stopped(StopCause::Timeout).report());
}

#[test]
fn ranges_are_told_relative_to_the_bar() {
    let mut machine = Machine::with(NC_BLOCK);
    (machine.blocks, machine.mapped) = (2, false);
    let bar = crate::judge::fixture::BAR_PA;
    let ipa = crate::judge::fixture::BAR_IPA;
    machine.more = vec![
        (ipa + (4 << 21), bar + (4 << 21), 2, DEVICE_BLOCK),
        (0x1000_0000, 0x1000_0000, 3, NC_BLOCK | 2),
    ];
    let outcome = crate::event::ProbeOutcome::Answered(UnalignedOutcome::Ok);
    let report = Story::told(traits(&[]), &machine, true, outcome).report();
    let shape: Vec<_> = report.shape.iter().filter(|line| line.starts_with("stored")).collect();
    assert_eq!(
        shape,
        [
            "stored g0  granule 4K, IPA 40 bits, start level 1",
            "stored g0  nic BAR 0 +0x0..0x1000  1 x 4K level 3  at IPA 0x10000000",
            "stored g0  nic +0x0..0x400000  2 x 2M level 2  at IPA 0x8080000000",
            "stored g0  nic +0x800000..0xa00000  1 x 2M level 2  at IPA 0x8080800000",
        ]
    );
    assert!(
        report.promised.contains(&"  nic  stage2 Device-nGnRE and Normal-NC  rw  never-exec".into()),
        "{report}"
    );
}

#[test]
fn what_varies_without_meaning_changes_nothing() {
    let accepted = Story::after().report();
    let mut machine = Machine::with(NC_BLOCK);
    // More RAM, elsewhere.
    machine.more = (0..40).map(|n| (0x4100_0000 + n * 4096, 0x7000_0000 + n * 4096, 3, 0x7db)).collect();
    let ok = crate::event::ProbeOutcome::Answered(UnalignedOutcome::Ok);
    let other =
        Story::told(traits(&[Trait::WcConveyed, Trait::WcHonoured]), &machine, true, ok).edit(|event| {
            match event {
                Event::Look(look) => (look.vcpu, look.stops, look.pause_us) = (0, 17, 99),
                Event::Stored { result, .. } => result.nanos *= 3,
                _ => {}
            }
        });
    let new = other.report();
    assert_ne!(accepted, new, "the numbers differ");
    assert_eq!(compare(&accepted, &new), Comparison { outcome: Outcome::Same, variables: vec![] });
}

fn with(report: &Report, name: &str, value: &str) -> Report {
    let mut report = report.clone();
    let map = if report.blocking.contains_key(name) { &mut report.blocking } else { &mut report.variable };
    map.insert(name.into(), value.into());
    report
}

#[test]
fn the_promised_part_compares_exactly() {
    let accepted = Story::after().report();
    let changed = |change: fn(&mut Report)| {
        let mut new = with(&accepted, "kernel image", "sha256:bb");
        change(&mut new);
        compare(&accepted, &new).outcome
    };
    for change in [
        (|r| r.verdict = "FAIL".into()) as fn(&mut Report),
        |r| r.promises.clear(),
        |r| r.findings.push("something".into()),
        |r| r.promised[0].push('x'),
        |r| r.witnesses[0].push('x'),
    ] {
        assert!(matches!(changed(change), Outcome::Changed { .. }));
    }
    assert_eq!(changed(|r| r.findings.push(format!("{DETAIL}0x1234"))), Outcome::Same, "evidence");
    assert_eq!(changed(|r| r.numbers.clear()), Outcome::Same);
}

#[test]
fn a_change_shows_what_may_have_caused_it() {
    let (accepted, new) = (Story::before().report(), Story::after().report());
    let new = with(&with(&new, "kernel image", "sha256:bb"), "qemu", "10.2.2");
    insta::assert_snapshot!(
        "changed",
        match compare(&accepted, &new).outcome {
            Outcome::Changed { diff } => diff,
            other => format!("{other:?}"),
        }
    );
}

#[test]
fn a_shape_moves_with_the_kernel_only() {
    let accepted = with(&Story::after().report(), "kernel", "6.1.176");
    let mut moved = with(&accepted, "kernel", "6.1.192");
    moved.shape[1] = "stored g0  nic +0x0..0x100000  256 x 4K level 3  at IPA 0x8080000000".into();
    // The same image: red, whatever it calls itself.
    assert!(matches!(compare(&accepted, &moved).outcome, Outcome::Changed { .. }));
    let another = with(&moved, "kernel image", "sha256:bb");
    let Outcome::ShapeMoved { note, diff } = compare(&accepted, &another).outcome else { panic!() };
    assert_eq!(note, "shape moved with 6.1.176 -> 6.1.192");
    assert!(
        diff.contains("-stored g0  nic +0x0..0x200000") && diff.contains("+stored g0  nic +0x0..0x100000"),
        "{diff}"
    );
    let rebuilt = with(&another, "kernel", "6.1.176");
    let Outcome::ShapeMoved { note, .. } = compare(&accepted, &rebuilt).outcome else { panic!() };
    assert_eq!(note, "shape moved with another image of 6.1.176");
    // An unknown image is not the same one.
    let mut unknown = [accepted.clone(), moved];
    unknown.iter_mut().for_each(|report| drop(report.variable.remove("kernel image")));
    assert!(matches!(compare(&unknown[0], &unknown[1]).outcome, Outcome::ShapeMoved { .. }));
    let same_shape = with(&accepted, "kernel image", "sha256:bb");
    assert_eq!(compare(&accepted, &same_shape).outcome, Outcome::Same);
    assert_eq!(
        compare(&accepted, &same_shape).variables[0].to_string(),
        "kernel image: sha256:aa -> sha256:bb"
    );
}

#[test]
fn blocking_facts_forbid_to_compare() {
    let accepted = Story::after().report();
    for name in ["scenario", "page size", "cpu", "accelerator", "host mode"] {
        let mut new = with(&accepted, name, "other");
        new.promised.clear();
        let Outcome::NotComparable(facts) = compare(&accepted, &new).outcome else { panic!("{name}") };
        let difference = Difference {
            name: name.into(),
            accepted: accepted.blocking.get(name).cloned(),
            new: Some("other".into()),
        };
        assert_eq!(facts, [difference]);
        new.blocking.remove(name);
        let Outcome::NotComparable(facts) = compare(&accepted, &new).outcome else { panic!("{name}") };
        assert!(facts[0].to_string().ends_with("-> (not stated)"));
    }
    let mut other = accepted.clone();
    other.key = "other@test".into();
    assert!(matches!(compare(&accepted, &other).outcome, Outcome::NotComparable(_)));
}

#[test]
fn what_is_no_report_is_refused() {
    let text = Story::after().report().text();
    let parse = |from: &str, to: &str| Report::parse(&text.replacen(from, to, 1)).unwrap_err();
    assert_eq!(Report::parse(""), Err(ParseError::NoReport));
    assert_eq!(Report::parse("<<<<<<< HEAD\n"), Err(ParseError::NoReport));
    assert_eq!(parse("report 1 ", "report 2 "), ParseError::Version { found: "2".into() });
    assert_eq!(parse("    PASS", " PASS"), ParseError::Header);
    assert_eq!(parse("    vfio", " vfio"), ParseError::Version { found: "1 vfio-pci-bar@test".into() });
    assert_eq!(parse("    I1", "    I1    "), ParseError::Header);
    assert_eq!(parse("[promised]\n", ""), ParseError::NoSection { line: 2 });
    assert_eq!(
        parse("[shape]", "[shapes]"),
        ParseError::UnknownSection { line: 20, name: "[shapes]".into() }
    );
    assert_eq!(
        parse("[shape]", "<<<<<<< HEAD"),
        ParseError::UnknownSection { line: 20, name: "<<<<<<< HEAD".into() }
    );
    assert_eq!(parse("blocking cpu = ", "blocking cpu: "), ParseError::Fact { line: 32 });
    assert_eq!(parse("blocking cpu", "blocked cpu"), ParseError::Fact { line: 32 });
    assert_eq!(parse("[shape]\n", "[shape]\n[shape]\n"), ParseError::NotCanonical { line: 21 });
    assert_eq!(parse("I17\n", "I17\r\n"), ParseError::NotCanonical { line: 1 });
    assert_eq!(Report::parse(text.trim_end()), Err(ParseError::NotCanonical { line: text.lines().count() }));
    let swapped = text.replacen("blocking cpu = neoverse-v1\n", "", 1) + "  blocking cpu = neoverse-v1\n";
    assert!(Report::parse(&swapped).is_err());
    assert_eq!(Report::parse(&" ".repeat(5 << 20)), Err(ParseError::TooLong(5 << 20)));
}

fn line() -> impl Strategy<Value = String> {
    (0usize..3, any::<String>()).prop_map(|(indent, text)| "  ".repeat(indent) + &escape::line(&text))
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(line(), 0..6)
}

fn facts() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("[a-z ]{1,9}[a-z]", any::<String>().prop_map(|s| escape::line(&s)), 0..5)
        .prop_map(|facts| facts.into_iter().map(|(name, value)| (escape::line(&name), value)).collect())
}

prop_compose! {
    fn report()(
        key in "[a-z0-9.@+=-]{1,30}",
        verdict in any::<String>(),
        promises in proptest::collection::vec("I[0-9]{1,2}", 0..4),
        findings in lines(),
        promised in lines(),
        witnesses in lines(),
        shape in lines(),
        numbers in lines(),
        blocking in facts(),
        variable in facts(),
    ) -> Report {
        let verdict = escape::line(&verdict);
        Report { key, verdict, promises, findings, promised, witnesses, shape, numbers, blocking, variable }
    }
}

proptest! {
    #[test]
    fn parse_reads_what_text_wrote(report in report()) {
        prop_assert_eq!(Report::parse(&report.text()), Ok(report.clone()));
        prop_assert_eq!(compare(&report, &report).outcome, Outcome::Same);
    }

    #[test]
    fn bytes_never_panic_and_what_is_read_is_written_again(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let text = format!("s2lab report 1    k    v\n{}", String::from_utf8_lossy(&bytes));
        for text in [text.as_str(), &String::from_utf8_lossy(&bytes)] {
            if let Ok(report) = Report::parse(text) {
                prop_assert_eq!(report.text(), text);
            }
        }
    }

    #[test]
    fn a_damaged_report_is_refused_or_read_as_it_is(at in 0usize..1000, byte in any::<u8>(), cut: bool) {
        let mut bytes = Story::after().report().text().into_bytes();
        let at = at % bytes.len();
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(report) = Report::parse(&text) {
            prop_assert_eq!(report.text(), text);
        }
    }

    #[test]
    fn nothing_that_a_guest_says_breaks_a_report(said in any::<String>()) {
        let story = Story::after().edit(|event| match event {
            Event::GuestUp { release, .. } | Event::HostUp { release, .. } => *release = said.clone(),
            Event::Reset { method, .. } => *method = said.clone(),
            Event::Environment { variable, .. } => drop(variable.insert(said.clone(), said.clone())),
            _ => {}
        });
        let alarm = Event::Alarm { console: said.clone(), class: AlarmClass::Oops, line: said.clone() };
        let report = story.and(alarm).report();
        let text = report.text();
        prop_assert!(text.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)));
        prop_assert_eq!(Report::parse(&text), Ok(report));
    }
}
