use super::*;
use crate::show::fixture;
use proptest::prelude::*;
use quick_xml::{Reader, XmlVersion};
use std::collections::BTreeSet;

/// An element of a document: its name with those above it, and its attributes.
type Element = (String, BTreeMap<String, String>);

/// Reads a document. It panics at what is not well-formed, or has a character that XML 1.0 does not
/// have.
fn read(text: &str) -> Vec<Element> {
    let allowed = |c: char| matches!(c, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}');
    assert!(text.chars().all(allowed), "{text:?}");
    let mut reader = Reader::from_str(text);
    let (mut elements, mut open): (Vec<Element>, Vec<String>) = (vec![], vec![]);
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => {
                open.push(name_of(&start));
                elements.push((open.join("/"), attributes(&start)));
            }
            Event::Empty(start) => {
                elements.push((format!("{}/{}", open.join("/"), name_of(&start)), attributes(&start)));
            }
            Event::End(_) => drop(open.pop()),
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(open.is_empty());
    elements
}

fn name_of(start: &quick_xml::events::BytesStart<'_>) -> String {
    start.name().as_ref().to_owned()
}

fn attributes(start: &quick_xml::events::BytesStart<'_>) -> BTreeMap<String, String> {
    let pair = |attribute: quick_xml::events::attributes::Attribute<'_>| {
        let value = attribute.normalized_value(XmlVersion::Explicit1_0).unwrap().into_owned();
        (attribute.key.as_ref().to_owned(), value)
    };
    start.attributes().map(|attribute| pair(attribute.unwrap())).collect()
}

fn of<'a>(elements: &'a [Element], end: &'a str) -> impl Iterator<Item = &'a BTreeMap<String, String>> {
    elements.iter().filter(move |(name, _)| name.rsplit('/').next() == Some(end)).map(|(_, found)| found)
}

#[test]
fn a_run() {
    insta::assert_snapshot!(document(&fixture::run()));
}

#[test]
fn names_are_unique_and_counts_are_right() {
    let run = RunSummary { whole: false, ..fixture::run() };
    let elements = read(&document(&run));
    let names: BTreeSet<_> =
        of(&elements, "testcase").map(|test| (test["classname"].clone(), test["name"].clone())).collect();
    assert_eq!(names.len(), run.cells.len() + 1);
    assert!(names.contains(&("s2lab".to_owned(), "event log".to_owned())), "LOST is visible");
    let root = &elements[0].1;
    for (count, element) in
        [("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")]
    {
        let found = of(&elements, element).count();
        assert_eq!(root[count], found.to_string(), "{count}");
        let suites: usize =
            of(&elements, "testsuite").map(|suite| suite[count].parse::<usize>().unwrap()).sum();
        assert_eq!(suites, found, "{count} of the suites");
    }
    let suites: Vec<_> = of(&elements, "testsuite").map(|suite| suite["name"].clone()).collect();
    assert_eq!(suites.len(), suites.iter().collect::<BTreeSet<_>>().len());
}

/// Surefire 3: what passes at last is flaky, what fails at last was run again.
#[test]
fn attempts_are_those_of_surefire() {
    let attempts = |verdict: Verdict, attempts: &[Option<&Verdict>]| {
        let attempts = attempts.iter().map(|verdict| verdict.cloned()).collect();
        let cell = CellSummary { verdict: Some(verdict), attempts, ..fixture::cell("bar@debian-6.12") };
        let elements = read(&document(&fixture::run_of(vec![cell])));
        ["failure", "error", "flakyFailure", "flakyError", "rerunFailure", "rerunError"]
            .map(|name| of(&elements, name).count())
    };
    let (pass, fail, miss) = (Some(&Verdict::PASS), Some(&Verdict::Fail), Some(&Verdict::Miss));
    assert_eq!(attempts(Verdict::PASS, &[pass]), [0; 6]);
    assert_eq!(attempts(Verdict::PASS, &[miss, miss, pass]), [0, 0, 0, 2, 0, 0]);
    assert_eq!(attempts(Verdict::Fail, &[fail]), [1, 0, 0, 0, 0, 0]);
    assert_eq!(attempts(Verdict::Fail, &[miss, fail]), [1, 0, 0, 0, 0, 1]);
    assert_eq!(attempts(Verdict::Miss, &[miss, miss]), [0, 1, 0, 0, 0, 1]);
    assert_eq!(attempts(Verdict::Flaky, &[pass, fail]), [1, 0, 0, 0, 1, 0]);
    assert_eq!(attempts(Verdict::Flaky, &[fail, None, pass]), [1, 0, 0, 0, 1, 1]);
}

#[test]
fn a_tolerated_failure_is_skipped() {
    let mut cell = fixture::tolerated("bar@debian-6.12");
    let of_cell = |cell: &CellSummary| read(&document(&fixture::run_of(vec![cell.clone()])));
    let elements = of_cell(&cell);
    let skipped: Vec<_> = of(&elements, "skipped").map(|skipped| &*skipped["message"]).collect();
    assert_eq!(skipped, ["known: vfio-pci lost its mark. (https://example.org/bug/7, until 2026-12-24)"]);
    let counts = ["tests", "failures", "errors", "skipped"].map(|count| &*elements[0].1[count]);
    assert_eq!(counts, ["1", "0", "0", "1"]);
    let verdict = of(&elements, "property").find(|property| property["name"] == "verdict").unwrap();
    assert_eq!(verdict["value"], "FAIL");
    let text = document(&fixture::run_of(vec![cell.clone()]));
    assert!(text.contains("found    Device-nGnRE\n"), "{text}");
    (cell.verdict, cell.attempts) = (Some(Verdict::Flaky), vec![Some(Verdict::Fail), Some(Verdict::PASS)]);
    let names: Vec<_> = of_cell(&cell).into_iter().map(|(name, _)| name).collect();
    assert!(!names.iter().any(|name| name.contains("Failure") || name.contains("Error")), "{names:?}");
}

#[test]
fn a_guests_text_is_no_markup() {
    let texts = ["]]>", "<script>", "\u{1b}[31m\u{0}\u{ffff}", "</failure>", "&amp;", "\"'", "a\r\nb", "é"];
    let hostile = texts.join(" ") + &"x".repeat(100_000);
    let mut run = fixture::run_of(vec![fixture::failed("bar@debian-6.12", fixture::changed(vec![]))]);
    let cell = &mut run.cells[0];
    let promise = cell.findings[0].promise;
    (cell.findings[0].what, cell.findings[0].found) = (hostile.clone(), hostile.clone());
    cell.label = Some(hostile.clone());
    cell.kernel.about = Some(hostile.clone());
    cell.repeat = vec!["run".into(), hostile.clone()];
    cell.logs = hostile.clone().into();
    (run.s2lab, run.started) = (hostile.clone(), hostile);
    let shown = document(&run);
    let elements = read(&shown);
    assert!(shown.len() < 50_000, "{}", shown.len());
    assert!(shown.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')));
    assert_eq!(of(&elements, "script").count(), 0);
    assert!(of(&elements, "testsuite").all(|suite| !suite.contains_key("timestamp")));
    assert!(promise.is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_guest_writes(run in fixture::any_run()) {
        let elements = read(&document(&run));
        prop_assert_eq!(of(&elements, "testcase").count(), run.cells.len());
    }
}
