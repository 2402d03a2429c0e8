use super::{Comparison, Difference, Outcome, ParseError, Report, comparable, compare};
use crate::event::{AlarmClass, Event, StopCause};
use crate::judge::fixture::{BAR_IPA, BAR_PA, DEVICE_BLOCK, Machine, NC_BLOCK, RAM_PAGE, Story, traits};
use crate::kernel::Trait;
use crate::lines::tests::{finding, further, number, promise, promised, shape, table, text, witness};
use crate::lines::{FindingLine, LineError, Number, Part, Table, Testimony, Text};
use crate::steps::{Observation, Reset};
use guest_tables::BLOCK;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use s2lab_protocol::ProbeEnd;
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

#[test]
fn reports_as_people_read_them() {
    insta::assert_snapshot!("after", Story::after().report());
    insta::assert_snapshot!("before", Story::before().report());
    let mut wrong = Story::before();
    wrong.cell.resolved.traits = traits(&[Trait::WcConveyed, Trait::WcHonoured]);
    let line = "[    1.5] kvm [7]: \x1b[31mUnsupported FSC\u{202e}".to_owned();
    let alarm = |class| Event::Alarm { console: "host".into(), class, line: line.clone() };
    wrong = wrong.and(alarm(AlarmClass::UnsupportedFault)).and(alarm(AlarmClass::Warn));
    insta::assert_snapshot!("fail", wrong.report());
    insta::assert_snapshot!("timeout", Story::after().stopped(StopCause::Timeout).report());
    insta::assert_snapshot!("miss", Story::after().stopped(StopCause::Lab).report());
}

fn report_of(machine: &Machine) -> Report {
    let ok = crate::steps::ProbeOutcome::Answered(ProbeEnd::Ok);
    Story::of(traits(&[Trait::WcConveyed, Trait::WcHonoured]), machine, true, ok).report()
}

fn texts<L: Display>(part: &Part<L>) -> Vec<String> {
    part.lines.iter().map(ToString::to_string).collect()
}

/// The lines of the tables of the first look.
fn first_look(report: &Report) -> Vec<String> {
    let lines = texts(&report.tables).into_iter().skip(1);
    lines.take_while(|line| line.starts_with("  ")).collect()
}

#[test]
fn ranges_are_relative_to_the_bar() {
    let mut machine = Machine::with(NC_BLOCK);
    (machine.blocks, machine.mapped) = (2, false);
    machine.more = vec![
        (BAR_IPA + (4 << 21), BAR_PA + (4 << 21), 2, DEVICE_BLOCK),
        (0x1000_0000, 0x1000_0000, 3, NC_BLOCK | 2 | 1 << 55),
    ];
    let report = report_of(&machine);
    let attributes = "rw  never-exec  SH inner  AF";
    let bits = "bits 0x400000000007d4";
    assert_eq!(texts(&report.shape)[0], "stored g0  granule 4K, IPA 40 bits, start level 1");
    assert_eq!(
        first_look(&report),
        [
            format!(
                "  nic BAR 0 +0x0..0x1000  1 x 4K level 3  at IPA 0x10000000..0x10001000  bits 0xc00000000007d4  \
                 stage2 Normal-NC  {attributes}  software 0x1"
            ),
            format!(
                "  nic +0x0..0x400000  2 x 2M level 2  at IPA 0x8080000000..0x8080400000  {bits}  \
                 stage2 Normal-NC  {attributes}"
            ),
            format!(
                "  nic +0x800000..0xa00000  1 x 2M level 2  at IPA 0x8080800000..0x8080a00000  \
                 bits 0x400000000007c4  stage2 Device-nGnRE  {attributes}"
            ),
            "  ram varies  64 x 4K level 3  bits 0x7d8  stage2 Normal-WB  rw  exec  SH inner  AF".to_owned(),
        ]
    );
    let regions: Vec<_> =
        texts(&report.promised).into_iter().filter(|line| line.contains("stage2")).collect();
    assert_eq!(
        regions[..3],
        [
            format!("  nic  stage2 Device-nGnRE  {attributes}"),
            format!("  nic  stage2 Normal-NC  {attributes}"),
            "  ram  stage2 Normal-WB  SH inner".to_owned(),
        ]
    );
}

#[test]
fn the_tables_of_a_look_have_at_most_64_lines() {
    let mut machine = Machine::with(NC_BLOCK);
    let page = |n: u64| (BAR_IPA + BLOCK + n * 0x2000, BAR_PA + BLOCK + n * 0x2000, 3, NC_BLOCK | 2);
    let ram = |n: u64| (0x4100_0000 + n * 4096, 0x7000_0000 + n * 4096, 3, RAM_PAGE | n << 55);
    machine.more = (0..100).map(page).chain((0..16).map(ram)).collect();
    let lines = first_look(&report_of(&machine));
    assert!(lines.len() < 64, "{lines:#?}");
    let counted: Vec<_> = lines.iter().filter(|line| line.contains("and ")).map(|line| line.trim()).collect();
    assert_eq!(counted, ["and 55 more ranges", "ram varies  and 1 more kinds"]);
}

/// A device's attributes are promised; what is not promised of its leaves is shape.
#[test]
fn a_device_with_another_attribute_is_another_device() {
    let accepted = report_of(&Machine::with(NC_BLOCK));
    let against = |bar: u64, image: &str| {
        let new = with(&report_of(&Machine::with(bar)), "kernel image", image);
        (compare(&accepted, &new).outcome, new)
    };
    for (bar, words) in [
        (NC_BLOCK & !(0b11 << 8), "SH non"),
        (NC_BLOCK & !(0b01 << 8), "SH outer"),
        (NC_BLOCK & !(1 << 10), "no AF"),
        (NC_BLOCK & !(1 << 7), "r-"),
        (NC_BLOCK & !(1 << 54), "exec"),
        (NC_BLOCK ^ 0b100 << 2, "Device-nGnRE"),
    ] {
        // Whatever the kernel.
        for image in ["sha256:aa", "sha256:bb"] {
            let (outcome, new) = against(bar, image);
            let Outcome::Changed { diff, .. } = outcome else { panic!("{words}") };
            let line = diff.lines().find(|line| line.starts_with("+    nic  stage2 ")).unwrap();
            assert!(line.contains(words), "{words}: {new}");
            assert!(!diff.contains("shape moved"), "{diff}");
        }
    }
    let software = NC_BLOCK | 1 << 55;
    assert!(matches!(against(software, "sha256:aa").0, Outcome::Changed { .. }));
    let Outcome::ShapeMoved { diff, .. } = against(software, "sha256:bb").0 else { panic!() };
    assert!(diff.contains("software 0x1"), "{diff}");
}

/// KVM maps and ages RAM as the guest runs, but its type and shareability are promised.
#[test]
fn of_ram_type_and_shareability_are_promised() {
    let accepted = report_of(&Machine::with(NC_BLOCK));
    let with_ram = |ram| report_of(&Machine { ram, ..Machine::with(NC_BLOCK) });
    for (ram, fine) in [
        (RAM_PAGE & !(1 << 10), true),
        (RAM_PAGE & !(1 << 7), true),
        (RAM_PAGE | 1 << 54, true),
        (RAM_PAGE | 1 << 55, true),
        (RAM_PAGE & !(0b11 << 8), false),
    ] {
        let new = with_ram(ram);
        assert_ne!(new.tables, accepted.tables);
        match compare(&accepted, &new).outcome {
            Outcome::Same => assert!(fine, "{ram:#x}"),
            Outcome::Changed { diff, .. } => {
                assert!(!fine && diff.contains("+    ram  stage2 Normal-WB  SH non"))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_new_witness_is_no_change_and_a_missing_one_is() {
    let new = Story::after().report();
    let mut accepted = new.clone();
    accepted.witnesses.lines.retain(|witness| &*witness.name != "taint");
    let note = "new witness: taint".to_owned();
    assert_eq!(compare(&accepted, &new).outcome, Outcome::NewWitness { note });
    accepted.witnesses.lines.retain(|witness| &*witness.name != "walk");
    let note = "new witnesses: walk, taint".to_owned();
    assert_eq!(compare(&accepted, &new).outcome, Outcome::NewWitness { note });
    let another = with(&new, "kernel image", "sha256:bb");
    let mut moved = another.clone();
    moved.shape.lines.remove(0);
    let Outcome::ShapeMoved { note, .. } = compare(&accepted, &moved).outcome else { panic!() };
    assert!(
        note.starts_with("shape moved with ") && note.ends_with("; new witnesses: walk, taint"),
        "{note}"
    );
    let Outcome::Changed { diff, .. } = compare(&new, &accepted).outcome else { panic!() };
    assert!(diff.contains("-  taint  agrees"), "{diff}");
}

#[test]
fn every_witness_of_an_attempt_that_stopped_is_silent() {
    let report = Story::after().stopped(StopCause::Timeout).report();
    let said = texts(&report.witnesses);
    assert_eq!(said.len(), texts(&Story::after().report().witnesses).len());
    assert!(said.iter().all(|line| line.ends_with("  silent: the cell did not complete")), "{said:?}");
}

#[test]
fn numbers_are_of_measures_and_of_all_attempts() {
    let mut cell = Story::measuring(&[9, 1, 2, 3]).run().cells.remove(0);
    cell.attempts.push(Story::measuring(&[9, 30, 10, 20]).attempt());
    let report = Report::of_cell(&cell).unwrap();
    assert_eq!(
        texts(&report.numbers),
        [
            "emulated, never decide",
            "step 0  measure x  boot 1  n 3  median 2 ns  95 % unknown  min 1  max 3",
            "step 0  measure x  boot 2  n 3  median 20 ns  95 % unknown  min 10  max 30",
        ]
    );
    let accepted = Report::of(&cell.attempts[0]);
    let slower = Story::measuring(&[9, 1_000, 2_000, 3_000]).report();
    assert_ne!(accepted.numbers, slower.numbers);
    assert_eq!(compare(&accepted, &slower), Comparison { outcome: Outcome::Same, variables: vec![] });
}

/// Reports that were accepted when each store had a throughput are read, and compare as before.
#[test]
fn an_accepted_report_with_throughputs_is_the_same() {
    let new = Story::after().report();
    assert!(new.numbers.is_empty() && new.text().contains("\n[numbers]\n[environment]\n"), "{new}");
    for lines in [
        "  emulated, never decide\n  step 0  store g0 nic wc 8 B  n 1  median 833 MB/s  min 833  max 833\n",
        "  emulated, never decide\n",
    ] {
        let before = new.text().replacen("[numbers]\n", &format!("[numbers]\n{lines}"), 1);
        let accepted = Report::parse(&before).unwrap();
        assert_eq!(accepted.text(), before);
        for (old, new) in [(&accepted, &new), (&new, &accepted)] {
            assert_eq!(compare(old, new), Comparison { outcome: Outcome::Same, variables: vec![] });
        }
        assert_eq!(comparable(&accepted), comparable(&new));
    }
}

#[test]
fn what_varies_without_meaning_changes_nothing() {
    let accepted = Story::after().report();
    let mut machine = Machine::with(NC_BLOCK);
    // The guest has more RAM, elsewhere.
    machine.more = (0..40).map(|n| (0x4100_0000 + n * 4096, 0x7000_0000 + n * 4096, 3, 0x7db)).collect();
    let ok = crate::steps::ProbeOutcome::Answered(ProbeEnd::Ok);
    let other =
        Story::of(traits(&[Trait::WcConveyed, Trait::WcHonoured]), &machine, true, ok).edit(|event| {
            if let Event::Observed { data: Observation::Look(look), .. } = event {
                (look.vcpu, look.stops, look.pause_us) = (0, 17, 99);
            }
        });
    let new = other.report();
    assert_ne!(accepted, new, "the RAM differs");
    assert_eq!(compare(&accepted, &new), Comparison { outcome: Outcome::Same, variables: vec![] });
}

fn with(report: &Report, name: &str, value: &str) -> Report {
    let mut report = report.clone();
    let map = if report.blocking.contains_key(&Text::new(name)) {
        &mut report.blocking
    } else {
        &mut report.variable
    };
    map.insert(Text::new(name), Text::new(value));
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
        (|r| r.verdict = Text::new("FAIL")) as fn(&mut Report),
        |r| r.promises.clear(),
        |r| r.findings.lines.push(FindingLine::Expected(Text::new("something"))),
        |r| drop(r.promised.lines.remove(0)),
        |r| r.witnesses.lines[0].testimony = Testimony::Contradicts,
    ] {
        assert!(matches!(changed(change), Outcome::Changed { .. }));
    }
    let evidence = |r: &mut Report| r.findings.lines.push(FindingLine::Evidence(Text::new("0x1234")));
    assert_eq!(changed(evidence), Outcome::Same, "evidence");
    let number = |r: &mut Report| r.numbers.lines.push(Number::Head { emulated: false });
    assert_eq!(changed(number), Outcome::Same, "numbers");
}

#[test]
fn a_change_shows_what_may_have_caused_it() {
    // Declared traits are a part of the cell, and would forbid to compare.
    let (accepted, new) = (Story::before().undeclared().report(), Story::after().undeclared().report());
    let new = with(&with(&new, "kernel image", "sha256:bb"), "qemu", "10.2.2");
    insta::assert_snapshot!(
        "changed",
        match compare(&accepted, &new).outcome {
            Outcome::Changed { diff, .. } => diff,
            other => format!("{other:?}"),
        }
    );
}

#[test]
fn a_shape_moves_with_the_kernel_only() {
    let accepted = with(&Story::after().report(), "kernel", "6.1.176");
    let mut moved = with(&accepted, "kernel", "6.1.192");
    let range = moved.tables.lines.iter_mut().find_map(|line| match line {
        Table::Range(range) => Some(range),
        _ => None,
    });
    range.unwrap().leaves.level = 3;
    // The image is the same, so it is changed, whatever its release.
    assert!(matches!(compare(&accepted, &moved).outcome, Outcome::Changed { .. }));
    let another = with(&moved, "kernel image", "sha256:bb");
    let Outcome::ShapeMoved { note, diff, .. } = compare(&accepted, &another).outcome else { panic!() };
    assert_eq!(note, "shape moved with 6.1.176 -> 6.1.192");
    assert!(
        diff.contains("-  nic +0x0..0x200000  1 x 2M level 2")
            && diff.contains("+  nic +0x0..0x200000  1 x 2M level 3"),
        "{diff}"
    );
    let rebuilt = with(&another, "kernel", "6.1.176");
    let Outcome::ShapeMoved { note, .. } = compare(&accepted, &rebuilt).outcome else { panic!() };
    assert_eq!(note, "shape moved with another image of 6.1.176");
    // An unknown image is never the same one.
    let mut unknown = [accepted.clone(), moved];
    unknown.iter_mut().for_each(|report| drop(report.variable.remove(&Text::new("kernel image"))));
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
    for name in ["cell", "traits", "page size", "cpu", "accelerator", "host mode"] {
        let mut new = with(&accepted, name, "other");
        new.promised.lines.clear();
        let Outcome::NotComparable(facts) = compare(&accepted, &new).outcome else { panic!("{name}") };
        let difference = Difference {
            name: name.into(),
            accepted: accepted.blocking.get(&Text::new(name)).map(ToString::to_string),
            new: Some("other".into()),
        };
        assert_eq!(facts, [difference]);
        new.blocking.remove(&Text::new(name));
        let Outcome::NotComparable(facts) = compare(&accepted, &new).outcome else { panic!("{name}") };
        assert!(facts[0].to_string().ends_with("-> (not stated)"));
    }
    let mut other = accepted.clone();
    other.key = "other@test".parse().unwrap();
    assert!(matches!(compare(&accepted, &other).outcome, Outcome::NotComparable(_)));
}

#[test]
fn what_is_no_report_is_refused() {
    let text = Story::after().report().text();
    let parse = |from: &str, to: &str| Report::parse(&text.replacen(from, to, 1)).unwrap_err();
    let line = |of: &str| 1 + text.lines().position(|line| line.contains(of)).unwrap();
    assert_eq!(Report::parse(""), Err(ParseError::NoReport));
    assert_eq!(Report::parse("<<<<<<< HEAD\n"), Err(ParseError::NoReport));
    assert_eq!(parse("report 2 ", "report 3 "), ParseError::Version { found: "3".into() });
    let old = parse("report 2 ", "report 1 ");
    assert_eq!(old, ParseError::Version { found: "1".into() });
    let words =
        "line 1: report version `1`; this s2lab reads version 2: run the cell again and accept its report";
    assert_eq!(old.to_string(), words);
    assert_eq!(parse("    PASS", " PASS"), ParseError::Header);
    assert_eq!(parse("    vfio", " vfio"), ParseError::Version { found: "2 vfio-pci-bar@test".into() });
    assert_eq!(parse("    I1", "    I1    "), ParseError::Header);
    assert_eq!(parse("[promised]\n", ""), ParseError::NoSection { line: 2 });
    assert_eq!(
        parse("[shape]", "[shapes]"),
        ParseError::UnknownSection { line: line("[shape]"), name: "[shapes]".into() }
    );
    assert_eq!(
        parse("[shape]", "<<<<<<< HEAD"),
        ParseError::UnknownSection { line: line("[shape]"), name: "<<<<<<< HEAD".into() }
    );
    for (from, to) in [("blocking cpu = ", "blocking cpu: "), ("blocking cpu", "blocked cpu")] {
        let form = "blocking NAME = VALUE` or `variable NAME = VALUE";
        let wrong = ParseError::Line {
            line: line("blocking cpu"),
            section: "[environment]",
            source: LineError { form },
        };
        assert_eq!(parse(from, to), wrong);
    }
    assert_eq!(
        parse("131072 stores", "many stores").to_string(),
        "line 3: not a line of [promised]; expected \
         `store GUEST DEVICE MAP WIDTH B MANNER: N stores, BAR file equal, read-back equal`"
    );
    assert!(
        parse("  walk  agrees", "  walk: agrees")
            .to_string()
            .starts_with("line 19: not a line of [witnesses]")
    );
    assert!(parse("1 x 2M", "1x2M").to_string().contains("not a line of [tables]"));
    assert_eq!(
        parse("[shape]\n", "[shape]\n[shape]\n"),
        ParseError::NotCanonical { line: 1 + line("[shape]") }
    );
    assert_eq!(parse("I17\n", "I17\r\n"), ParseError::NotCanonical { line: 1 });
    assert_eq!(Report::parse(text.trim_end()), Err(ParseError::NotCanonical { line: text.lines().count() }));
    let swapped = text.replacen("blocking cpu = neoverse-v1\n", "", 1) + "  blocking cpu = neoverse-v1\n";
    assert!(Report::parse(&swapped).is_err());
    assert_eq!(Report::parse(&" ".repeat(5 << 20)), Err(ParseError::TooLong(5 << 20)));
}

fn part<L: Debug + Display>(line: impl Strategy<Value = L>) -> impl Strategy<Value = Part<L>> {
    (vec(line, 0..6), option::weighted(0.1, further())).prop_map(|(lines, further)| Part { lines, further })
}

fn facts() -> impl Strategy<Value = BTreeMap<Text, Text>> {
    proptest::collection::btree_map("[a-z ]{1,9}[a-z]".prop_map(|name| Text::new(&name)), text(), 0..5)
}

prop_compose! {
    fn report()(
        key in "[a-z][a-z0-9-]{0,9}@[a-z0-9][a-z0-9.~-]{0,9}(\\+a=[0-9]{1,3})?",
        verdict in text(),
        promises in proptest::collection::btree_set(promise(), 0..4),
        findings in part(finding()),
        promised in part(promised()),
        witnesses in part(witness()),
        shape in part(shape()),
        tables in part(table()),
        numbers in part(number()),
        facts in (facts(), facts()),
    ) -> Report {
        let (key, (blocking, variable)) = (key.parse().unwrap(), facts);
        Report { key, verdict, promises, findings, promised, witnesses, shape, tables, numbers, blocking, variable }
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
        let text = format!("s2lab report 2    s@k    v\n{}", String::from_utf8_lossy(&bytes));
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
            Event::Observed { data: Observation::Reset(Reset { method, .. }), .. } => *method = said.clone(),
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
