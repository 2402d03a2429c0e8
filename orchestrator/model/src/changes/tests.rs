//! Sentences from real reports, and from any report.

use super::{Change, ChangeKind, changes};
use crate::lines::tests as line;
use crate::lines::{FindingLine, Further, Part, Promised, Table};
use crate::report::{Outcome, Report, compare};
use proptest::collection::vec;
use proptest::prelude::*;

/// A real report, of a guest with one device that is looked at twice.
const REPORT: &str = include_str!("../../tests/reports/vfio-pci-bar.txt");

fn parse(text: &str) -> Report {
    Report::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Returns the real report with each `from`, of which there must be one, as `to`.
fn with(edits: &[(&str, &str)]) -> Report {
    let text = edits.iter().fold(REPORT.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    parse(&text)
}

/// Returns the sentences from the real report to the edited one, with their kinds.
fn sentences(edits: &[(&str, &str)]) -> Vec<String> {
    said(&parse(REPORT), &with(edits))
}

fn said(old: &Report, new: &Report) -> Vec<String> {
    changes(old, new).into_iter().map(|Change { kind, what }| format!("{kind:?} {what}")).collect()
}

const STORED: &str = "  look stored, guest g0\n";
const NIC: &str = "    nic  stage2 Normal-NC  rw  never-exec  SH inner  AF\n";
const RANGE: &str = "    nic +0x0..0x200000  1 x 2M level 2  at IPA 0x8000000000..0x8000200000  bits 0x400000000007d4  \
                     stage2 Normal-NC  rw  never-exec  SH inner  AF\n";
/// The image of the other report's kernel.
const IMAGE: (&str, &str) = ("variable kernel image = ", "variable kernel image = 00");

#[test]
fn the_type_in_the_tables_of_a_hypervisor_is_a_subject_of_its_own() {
    let question = |of: &str| {
        let lines = format!("{NIC}    nic  hypervisor {of}  stage2 is a question, not judged\n");
        with(&[(NIC, &lines)])
    };
    let told = said(&question("Device-nGnRE"), &question("Normal-NC"));
    assert_eq!(told, ["Promised hypervisor of nic: Device-nGnRE became Normal-NC"]);
    assert_eq!(said(&parse(REPORT), &question("Normal-WB")), ["Promised hypervisor of nic: new, Normal-WB"]);
}

#[test]
fn a_type_is_named_once_for_all_looks() {
    assert_eq!(sentences(&[]), Vec::<String>::new());
    let device = NIC.replace("Normal-NC", "Device-nGnRE");
    assert_eq!(
        sentences(&[
            (NIC, &device),
            IMAGE,
            ("    nic  mapped wc  effective Normal-NC", "    nic  mapped wc  effective Device-nGnRE")
        ]),
        [
            "Promised nic mapped wc: effective Normal-NC became Device-nGnRE",
            "Promised nic: Normal-NC became Device-nGnRE",
        ]
    );
    let at_one = format!("{STORED}{NIC}");
    let device = at_one.replace("Normal-NC", "Device-nGnRE");
    assert_eq!(
        sentences(&[(&at_one, &device)]),
        ["Promised nic at look stored: Normal-NC became Device-nGnRE"]
    );
}

#[test]
fn each_attribute_of_a_region_has_its_sentence() {
    for (from, to, sentence) in [
        ("rw", "r-", "nic: rw became r-"),
        ("never-exec", "exec", "nic: never-exec became exec"),
        ("SH inner", "SH non", "nic: SH inner became SH non"),
        ("  AF", "  no AF", "nic: AF became no AF"),
    ] {
        assert_eq!(sentences(&[(NIC, &NIC.replace(from, to))]), [format!("Promised {sentence}")]);
    }
    let both = format!("{}{NIC}", NIC.replace("Normal-NC", "Device-nGnRE"));
    assert_eq!(sentences(&[(NIC, &both)]), ["Promised nic: Normal-NC became Device-nGnRE and Normal-NC"]);
    let nothing = "    nic  nothing mapped\n";
    assert_eq!(sentences(&[(NIC, nothing)]), ["Promised nic: Normal-NC became nothing mapped"]);
    assert_eq!(sentences(&[(NIC, "")]), ["Promised nic: gone"]);
    let unknown = format!("{NIC}{}", NIC.replace("nic", "unknown region"));
    assert_eq!(
        sentences(&[(NIC, &unknown)]),
        ["Promised unknown region: new, Normal-NC, rw, never-exec, SH inner, AF"]
    );
    let ram = "    ram  stage2 Normal-WB  SH inner\n";
    assert_eq!(sentences(&[(ram, &ram.replace("inner", "non"))]), ["Promised ram: SH inner became SH non"]);
}

#[test]
fn steps_and_what_they_saw() {
    for (from, to, sentence) in [
        (
            "8 B: 131072 stores, BAR file equal",
            "8 B: 131072 stores, BAR file DIFFERS",
            "store g0 nic wc 8 B: BAR file equal became DIFFERS",
        ),
        ("64 B: 65536", "64 B: 32768", "store g0 nic wc 64 B: 65536 stores became 32768 stores"),
        ("wc: ok", "wc: fault", "unaligned store g0 nic wc: ok became fault"),
        ("  unaligned store g0 nic wc: ok\n", "", "unaligned store g0 nic wc: gone"),
        (
            "  reset nic\n  store g0 nic wc 8 B: 131072 stores, BAR file equal, read-back equal\n",
            "  reset nic\n  store g0 nic wc 8 B: 131072 stores, BAR file equal, read-back DIFFERS\n",
            "store g0 nic wc 8 B (number 2): read-back equal became DIFFERS",
        ),
        ("  reset nic\n", "  reset nic\n  reset nic\n", "reset nic (number 2): new"),
        (
            "    maps only its own: 256M of RAM at 0x40000000, nic\n",
            "    maps what is not its own\n",
            "isolation: maps only its own became maps what is not its own",
        ),
    ] {
        assert_eq!(sentences(&[(from, to)]), [format!("Promised {sentence}")]);
    }
    let moved = "  reset nic\n  unaligned store g0 nic wc: ok\n";
    assert_eq!(
        sentences(&[("  unaligned store g0 nic wc: ok\n", ""), ("  reset nic\n", moved)]),
        ["Promised the steps are in another order"]
    );
    let (_, looked) = REPORT.split_once(STORED).unwrap();
    let (looked, _) = looked.split_once("  reset nic\n").unwrap();
    let unreadable = format!("{STORED}    not readable\n");
    assert_eq!(
        sentences(&[(&format!("{STORED}{looked}  reset"), &format!("{unreadable}  reset"))]),
        ["Promised tables: readable became not readable"]
    );
}

#[test]
fn verdict_promises_and_witnesses() {
    assert_eq!(
        sentences(&[("PASS as wc-honoured", "FAIL")]),
        ["Verdict verdict: PASS as wc-honoured became FAIL"]
    );
    assert_eq!(
        sentences(&[("I1 I4 I6", "I1 I2 I6")]),
        ["Promised I2 is checked now", "Promised I4 is no longer checked"]
    );
    assert_eq!(
        sentences(&[("  smaps  agrees", "  smaps  contradicts")]),
        ["Witness witness smaps: agrees became contradicts"]
    );
    assert_eq!(
        sentences(&[("  smaps  agrees", "  smaps  silent: no look")]),
        ["Witness witness smaps: agrees became silent: no look"]
    );
    assert_eq!(sentences(&[("  vmid  agrees\n", "")]), ["Witness witness vmid: gone"]);
    assert_eq!(
        sentences(&[("  vmid  agrees\n", "  vmid  agrees\n  new  contradicts\n")]),
        Vec::<String>::new()
    );
    assert_eq!(
        sentences(&[("  walk  agrees\n  placement  agrees\n", "  placement  agrees\n  walk  agrees\n")]),
        ["Witness the witnesses are in another order"]
    );
}

#[test]
fn findings_of_the_lab_and_of_the_kernel() {
    let kernel = "stage2 of nic at look stored, guest g0  I1\n    expected Normal-NC\n    found    Device-nGnRE\n    | 0x1\n";
    let lab = "look again, guest g0  lab\n    expected one observation\n    found    0\n";
    let found = |text: &str| with(&[("[promised]\n", &format!("[findings]\n{text}[promised]\n"))]);
    let line = |text: &str| format!("  {text}");
    assert_eq!(
        said(&parse(REPORT), &found(&(line(lab) + &line(kernel)))),
        [
            "Lab new: look again, guest g0: expected one observation, found 0",
            "Kernel new: stage2 of nic at look stored, guest g0: expected Normal-NC, found Device-nGnRE (I1)",
        ]
    );
    let (old, new) = (found(&line(kernel)), found(&line(&kernel.replace("Device-nGnRE", "Normal-WB"))));
    assert_eq!(
        said(&old, &new),
        ["Kernel stage2 of nic at look stored, guest g0: found Device-nGnRE became Normal-WB"]
    );
    assert_eq!(said(&new, &parse(REPORT)), ["Kernel gone: stage2 of nic at look stored, guest g0"]);
    let evidence = found(&line(&kernel.replace("| 0x1", "| 0x2")));
    assert_eq!(said(&old, &evidence), Vec::<String>::new());
    let whose = found(&line(&kernel.replace("  I1\n", "  lab\n")));
    assert_eq!(
        said(&old, &whose),
        [
            "Lab stage2 of nic at look stored, guest g0: breaks I1 became no promise",
            "Lab stage2 of nic at look stored, guest g0: is about the kernel became the lab",
        ]
    );
    let reordered = (found(&(line(lab) + &line(kernel))), found(&(line(kernel) + &line(lab))));
    assert_eq!(said(&reordered.0, &reordered.1), ["Kernel the findings are in another order"]);
}

/// Returns the sentences if the range of the BAR is replaced at both looks.
fn reshaped(to: &str) -> Vec<String> {
    sentences(&[(RANGE, to)])
}

fn range(from: u64, to: u64, size: &str, level: u8, rest: &str) -> String {
    let bytes = match size {
        "2M" => 2 << 20,
        "1M" => 1 << 20,
        _ => 4096,
    };
    let (count, ipa) = ((to - from) / bytes, 0x80_0000_0000_u64);
    format!(
        "    nic +{from:#x}..{to:#x}  {count} x {size} level {level}  at IPA {:#x}..{:#x}  bits 0x400000000007d4  \
         stage2 Normal-NC  rw  never-exec  SH inner  AF{rest}\n",
        ipa + from,
        ipa + to
    )
}

#[test]
fn the_shape_of_leaves() {
    const M: u64 = 1 << 20;
    assert_eq!(range(0, 2 * M, "2M", 2, ""), RANGE);
    assert_eq!(reshaped(&range(0, 2 * M, "4K", 3, "")), ["Shape nic's leaves went from 2M to 4K (shape)"]);
    let three = range(0, 6 * M, "2M", 2, "");
    let split =
        range(0, 2 * M, "2M", 2, "") + &range(2 * M, 4 * M, "4K", 3, "") + &range(4 * M, 6 * M, "2M", 2, "");
    let (three, split) = (with(&[(RANGE, &three)]), with(&[(RANGE, &split)]));
    assert_eq!(said(&three, &split), ["Shape nic: the 2 MiB block at +0x200000 became 512 pages (shape)"]);
    assert_eq!(said(&split, &three), ["Shape nic: the 512 pages at +0x200000 became a 2 MiB block (shape)"]);
    let mixed = range(0, M, "1M", 2, "") + &range(M, 2 * M, "4K", 3, "");
    assert_eq!(
        reshaped(&mixed),
        [
            "Shape nic: the 2 MiB block at +0x0 became a 1 MiB block (shape)",
            "Shape nic: the 2 MiB block at +0x100000 became 256 pages (shape)",
        ]
    );
    assert_eq!(
        reshaped(&range(0, 4 * M, "2M", 2, "")),
        ["Shape nic: mapped now in +0x200000..0x400000 (shape)"]
    );
    assert_eq!(said(&three, &parse(REPORT)), ["Shape nic: no longer mapped in +0x200000..0x600000 (shape)"]);
    let at_one = REPORT.replacen(RANGE, &range(0, 2 * M, "4K", 3, ""), 1);
    assert_eq!(
        said(&parse(REPORT), &parse(&at_one)),
        ["Shape nic's leaves at look stored went from 2M to 4K (shape)"]
    );
    // Pages in place of many blocks.
    let many = |size, level| -> String {
        let one = |n: u64| {
            let (size, level) = if n.is_multiple_of(2) { (size, level) } else { ("1M", 2) };
            range(n * 2 * M, (n * 2 + 2) * M, size, level, "")
        };
        (0..12).map(one).collect()
    };
    let (blocks, pages) = (with(&[(RANGE, &many("2M", 2))]), with(&[(RANGE, &many("4K", 3))]));
    assert_eq!(said(&blocks, &pages), ["Shape nic: 6 ranges, the first at +0x0, went from 2M to 4K (shape)"]);
}

#[test]
fn other_properties_of_leaves() {
    const M: u64 = 1 << 20;
    let bits =
        |from: &str, to: &str, rest: &str| RANGE.replace(from, to).replace("AF\n", &format!("AF{rest}\n"));
    for (to, sentence) in [
        (bits("bits 0x4", "bits 0x5", "  contiguous"), "not contiguous became contiguous"),
        (bits("bits 0x40", "bits 0x48", "  DBM"), "no DBM became DBM"),
        (bits("bits 0x4", "bits 0xc", "  software 0x1"), "software bits 0x0 became 0x1"),
        (bits("7d4", "fd4", ""), "other bits 0x0 became 0x800"),
        (RANGE.replace("0x80000", "0x80800"), "IPA 0x8000000000 became 0x8080000000"),
    ] {
        assert_eq!(reshaped(&to), [format!("Shape nic: {sentence} (shape)")]);
    }
    let half = range(0, M, "2M", 2, "") + &range(M, 2 * M, "2M", 2, "  contiguous");
    assert_eq!(
        reshaped(&half),
        ["Shape nic: not contiguous became contiguous in +0x100000..0x200000 (shape)"]
    );
    // The promised part has the same set of types.
    let types = |one: &str, other: &str| {
        let (a, b) = (range(0, 2 * M, "2M", 2, ""), range(2 * M, 4 * M, "2M", 2, ""));
        with(&[(RANGE, &(a.replace("Normal-NC", one) + &b.replace("Normal-NC", other)))])
    };
    let (old, new) = (types("Normal-NC", "Device-nGnRE"), types("Device-nGnRE", "Normal-NC"));
    let found = said(&old, &new);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("Shape nic: stage2 Device-nGnRE, rw, "), "{found:?}");
    assert!(found[0].contains(" in +0x200000..0x400000 (shape)"), "{found:?}");
    assert_eq!(
        sentences(&[("granule 4K, IPA 40 bits, start level 1", "granule 16K, IPA 40 bits, start level 2")]),
        ["Shape tables: granule 4K became 16K (shape)", "Shape tables: start level 1 became 2 (shape)"]
    );
    assert_eq!(
        sentences(&[("method bus", "method flr")]),
        ["Shape reset nic: method bus became flr (shape)"]
    );
}

#[test]
fn another_kernel_may_shape_its_tables_otherwise() {
    let pages = range(0, 2 << 20, "4K", 3, "");
    let same_kernel = with(&[(RANGE, &pages)]);
    let another = with(&[(RANGE, &pages), IMAGE]);
    let sentence = ["Shape nic's leaves went from 2M to 4K (shape)".to_owned()];
    let old = parse(REPORT);
    assert_eq!((said(&old, &same_kernel), said(&old, &another)), (sentence.to_vec(), sentence.to_vec()));
    let Outcome::Changed { changes: of_changed, .. } = compare(&old, &same_kernel).outcome else { panic!() };
    let Outcome::ShapeMoved { changes: of_moved, .. } = compare(&old, &another).outcome else { panic!() };
    assert_eq!((&of_changed, &of_moved), (&changes(&old, &another), &changes(&old, &another)));
    let ram = with(&[("    ram varies  31 x 2M", "    ram varies  30 x 2M")]);
    assert_eq!(said(&old, &ram), Vec::<String>::new());
}

/// A look that only one side has is named once.
#[test]
fn a_cell_that_stopped_early() {
    let cut = |text: &str, from: &str, to: &str| {
        let (before, rest) = text.split_once(from).unwrap();
        let (_, after) = rest.split_once(to).unwrap();
        format!("{before}{to}{after}")
    };
    let text = cut(REPORT, "  look again, guest g0\n", "  unaligned");
    let text = cut(&text, "  again g0", "  reset nic  method");
    let text = cut(&text, "  look again, guest g0\n", "[numbers]");
    assert_eq!(said(&parse(REPORT), &parse(&text)), ["Promised look again, guest g0: gone"]);
    assert_eq!(said(&parse(&text), &parse(REPORT)), ["Promised look again, guest g0: new"]);
}

#[test]
fn lines_beyond_the_bound_are_not_lost() {
    let old = parse(REPORT);
    let further = |count, of: &str| Some(Further { count, sha256: crate::hash::digest(of.as_bytes()) });
    let mut new = old.clone();
    new.promised.further = further(3, "a");
    assert_eq!(said(&old, &new), ["Promised lines beyond the bound of [promised]: 0 became 3"]);
    let mut other = new.clone();
    other.promised.further = further(3, "b");
    assert_eq!(said(&new, &other), ["Promised the 3 lines beyond the bound of [promised] differ"]);
    for part in ["findings", "witnesses", "shape", "tables"] {
        let mut new = old.clone();
        match part {
            "findings" => new.findings.further = further(1, "a"),
            "witnesses" => new.witnesses.further = further(1, "a"),
            "shape" => new.shape.further = further(1, "a"),
            _ => new.tables.further = further(1, "a"),
        }
        let found = said(&old, &new);
        assert!(found.len() == 1 && found[0].contains(&format!("beyond the bound of [{part}]")), "{found:?}");
    }
}

#[test]
fn further_changes_are_counted() {
    let mut old = parse(REPORT);
    let reset = |n: usize| format!("reset {n}").parse::<Promised>().unwrap();
    old.promised.lines.extend((0..600).map(reset));
    let found = changes(&old, &parse(REPORT));
    assert_eq!(found.len(), 501);
    assert!(found[0].what.starts_with("and 100 more, sha256 "), "{found:?}");
    old.promised.lines.pop();
    old.promised.lines.push(reset(1000));
    assert_ne!(changes(&old, &parse(REPORT)), found);
}

#[test]
fn a_part_of_very_many_lines_is_one_change() {
    let (mut old, new) = (parse(REPORT), parse(REPORT));
    let reset = |n: usize| format!("reset {n}").parse::<Promised>().unwrap();
    let lines = new.promised.lines.len();
    old.promised.lines.extend((0..30_000).map(reset));
    let found = said(&old, &new);
    let begin =
        format!("Promised the lines of [promised] differ: {} became {lines}, sha256 ", lines + 30_000);
    assert!(found.len() == 1 && found[0].starts_with(&begin), "{found:?}");
    assert_eq!(said(&old, &old), Vec::<String>::new());
    old.promised.lines.pop();
    old.promised.lines.push(reset(40_000));
    assert_ne!(said(&old, &new), found);
}

fn part<L: std::fmt::Debug>(line: impl Strategy<Value = L>) -> impl Strategy<Value = Part<L>> {
    (vec(line, 0..5), proptest::option::weighted(0.1, line::further()))
        .prop_map(|(lines, further)| Part { lines, further })
}

/// What an edit of a report does.
#[derive(Debug, Clone)]
enum Edit {
    Nothing,
    Promised(usize, Promised),
    Tables(usize, Table),
    Findings(usize, FindingLine),
    Remove(usize, usize),
    Swap(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || 0usize..40;
    prop_oneof![
        Just(Edit::Nothing),
        (at(), line::promised()).prop_map(|(at, line)| Edit::Promised(at, line)),
        (at(), line::table()).prop_map(|(at, line)| Edit::Tables(at, line)),
        (at(), line::finding()).prop_map(|(at, line)| Edit::Findings(at, line)),
        (0usize..4, at()).prop_map(|(part, at)| Edit::Remove(part, at)),
        (0usize..4, at()).prop_map(|(part, at)| Edit::Swap(part, at)),
    ]
}

fn insert<L>(part: &mut Part<L>, at: usize, line: L) {
    let at = at % (part.lines.len() + 1);
    part.lines.insert(at, line);
}

fn remove<L>(part: &mut Part<L>, at: usize) {
    if !part.lines.is_empty() {
        let at = at % part.lines.len();
        part.lines.remove(at);
    }
}

fn swap<L>(part: &mut Part<L>, at: usize) {
    if part.lines.len() > 1 {
        let at = at % (part.lines.len() - 1);
        part.lines.swap(at, at + 1);
    }
}

fn edited(mut report: Report, edit: Edit) -> Report {
    match edit {
        Edit::Nothing => {}
        Edit::Promised(at, line) => insert(&mut report.promised, at, line),
        Edit::Tables(at, line) => insert(&mut report.tables, at, line),
        Edit::Findings(at, line) => insert(&mut report.findings, at, line),
        Edit::Remove(0, at) => remove(&mut report.promised, at),
        Edit::Remove(1, at) => remove(&mut report.tables, at),
        Edit::Remove(2, at) => remove(&mut report.witnesses, at),
        Edit::Remove(_, at) => remove(&mut report.shape, at),
        Edit::Swap(0, at) => swap(&mut report.promised, at),
        Edit::Swap(1, at) => swap(&mut report.tables, at),
        Edit::Swap(2, at) => swap(&mut report.witnesses, at),
        Edit::Swap(_, at) => swap(&mut report.shape, at),
    }
    report
}

prop_compose! {
    fn report()(
        image in 0u8..3,
        verdict in line::text(),
        findings in part(line::finding()),
        promised in part(line::promised()),
        witnesses in part(line::witness()),
        shape in part(line::shape()),
        tables in part(line::table()),
    ) -> Report {
        let mut report = Report {
            findings, promised, witnesses, shape, tables,
            ..Report::empty("a@k".parse().unwrap(), verdict)
        };
        if image > 0 {
            let name = crate::lines::Text::new(crate::record::environment::KERNEL_IMAGE);
            report.variable.insert(name, crate::lines::Text::new(&image.to_string()));
        }
        report
    }
}

/// There are changes exactly if the comparison by its rules finds a difference.
fn agrees_with_the_comparison(old: &Report, new: &Report) -> Result<(), TestCaseError> {
    let found = changes(old, new);
    for Change { what, .. } in &found {
        prop_assert!(what.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{what:?}");
    }
    prop_assert!(found.is_sorted() && found.windows(2).all(|pair| pair[0] != pair[1]), "{found:?}");
    match compare(old, new).outcome {
        Outcome::Same | Outcome::NewWitness { .. } => prop_assert_eq!(found, vec![]),
        Outcome::ShapeMoved { changes, diff, .. } => {
            prop_assert!(!diff.is_empty() && !found.is_empty());
            prop_assert!(found.iter().all(|change| change.kind == ChangeKind::Shape), "{found:?}");
            prop_assert_eq!(found, changes);
        }
        Outcome::Changed { changes, diff } => {
            prop_assert!(diff.contains("--- accepted") && !found.is_empty(), "{diff}");
            prop_assert_eq!(found, changes);
        }
        Outcome::NotComparable(facts) => prop_assert!(false, "{facts:?}"),
    }
    Ok(())
}

proptest! {
    #[test]
    fn there_are_changes_exactly_if_the_compared_parts_differ(old in report(), new in report()) {
        agrees_with_the_comparison(&old, &new)?;
        agrees_with_the_comparison(&old, &old)?;
    }

    #[test]
    fn each_edit_of_a_report_is_a_change_or_does_not_compare(
        old in report(),
        edits in vec(edit(), 0..3),
        image in any::<bool>(),
    ) {
        for report in [old, parse(REPORT)] {
            let mut new = edits.iter().cloned().fold(report.clone(), edited);
            if image {
                new.variable.clear();
            }
            agrees_with_the_comparison(&report, &new)?;
            agrees_with_the_comparison(&new, &report)?;
        }
    }
}
