//! The forms of a run for other programs, in these programs: JUnit XML, KTAP, KCIDB.

use crate::{Check, document, outputs, outputs::Output, refused};
use readers::{JunitTest, Kunit, Python, XmlLint};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

pub(crate) const XMLLINT: [Check<XmlLint>; 1] = [("junit_is_valid_by_its_schema", junit_schema)];
pub(crate) const PYTHON: [Check<Python>; 2] =
    [("junitparser_finds_every_cell", junit), ("kcidb_io_takes_every_cell", kcidb)];
pub(crate) const KUNIT: [Check<Kunit>; 1] = [("the_kernels_parser_finds_every_cell", ktap)];

/// Returns a run in a form.
fn printed(output: &Output, form: &str) -> PathBuf {
    output.print(&["report", "--format", form])
}

fn junit_schema(xmllint: &XmlLint) {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/junit.xsd");
    let outputs = outputs::all();
    for output in &outputs {
        xmllint.validate(&printed(output, "junit"), &schema).unwrap();
    }
    let text = fs::read_to_string(printed(&outputs[0], "junit")).unwrap();
    for (right, wrong) in [
        ("<testcase classname=", "<testcase class="),
        (" tests=\"", " tests=\"x"),
        ("<properties>", "<other/><properties>"),
    ] {
        let (_folder, file) = document("junit.xml", &text.replacen(right, wrong, 1));
        refused(xmllint.validate(&file, &schema), "fails to validate");
    }
}

/// Returns the result elements of a cell's testcase: that of its verdict, then those of earlier
/// attempts.
fn due(verdict: Option<&str>, attempts: &[Option<&str>]) -> Vec<String> {
    let of = |verdict: Option<&str>| match verdict {
        Some("PASS") => "",
        Some("SKIP") => "skipped",
        Some("FAIL" | "FLAKY") => "failure",
        _ => "error",
    };
    let end = of(verdict);
    // Attempts at a cell that is FLAKY count alike; else the last one is the cell's own end.
    let earlier = match verdict {
        Some("FLAKY" | "PASS") => attempts,
        _ => attempts.split_last().map_or(&[][..], |(_, earlier)| earlier),
    };
    let kind = if end.is_empty() { "flaky" } else { "rerun" };
    let earlier = earlier.iter().filter_map(|attempt| match of(*attempt) {
        "failure" => Some(format!("{kind}Failure")),
        "error" => Some(format!("{kind}Error")),
        _ => None,
    });
    [end.to_owned()].into_iter().filter(|end| !end.is_empty()).chain(earlier).collect()
}

fn junit(python: &Python) {
    let mut kinds = BTreeSet::new();
    for output in outputs::all() {
        let tests = python.junit(&printed(&output, "junit")).unwrap();
        let names: BTreeSet<_> = tests.iter().map(|test| (&test.classname, &test.name)).collect();
        assert_eq!(names.len(), tests.len(), "{names:?}");
        let is_of_the_log = |test: &&JunitTest| test.classname == "s2lab";
        let of_the_log: Vec<_> =
            tests.iter().filter(is_of_the_log).map(|test| test.results.clone()).collect();
        assert_eq!(of_the_log, vec![vec!["error".to_owned()]; usize::from(!output.is_whole())]);
        let cells = output.cells();
        assert_eq!(cells.len() + of_the_log.len(), tests.len());
        for cell in cells {
            let (scenario, kernel) = cell.key.split_once('@').unwrap();
            let classname = format!("s2lab.{scenario}");
            let test = tests.iter().find(|test| (&*test.classname, &*test.name) == (&*classname, kernel));
            let attempts: Vec<_> = cell.attempts.iter().map(Option::as_deref).collect();
            let due = match cell.tolerated {
                Some(_) => vec!["skipped".to_owned()],
                None => due(cell.verdict.as_deref(), &attempts),
            };
            assert_eq!(test.unwrap().results, due, "{} {:?} {attempts:?}", cell.key, cell.verdict);
            kinds.extend(due);
        }
    }
    let all = ["error", "failure", "flakyError", "rerunFailure", "skipped"];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

fn ktap(kunit: &Kunit) {
    for output in outputs::all() {
        let answer = kunit.parse(&printed(&output, "ktap")).unwrap();
        assert_eq!(answer.errors, 0, "{}", answer.said);
        let found: Vec<_> = answer.tests.iter().map(|test| (&*test.name, &*test.status)).collect();
        let cells = output.cells();
        let due = cells.iter().map(|cell| {
            let status = match cell.verdict.as_deref() {
                Some("PASS") => "SUCCESS",
                Some("SKIP") => "SKIPPED",
                _ if cell.tolerated.is_some() => "SKIPPED",
                _ => "FAILURE",
            };
            (&*cell.key, status)
        });
        let log = (!output.is_whole()).then_some(("s2lab-event-log", "FAILURE"));
        assert_eq!(found, due.chain(log).collect::<Vec<_>>(), "{}", answer.said);
        assert!(answer.tests.iter().all(|test| test.tests.is_empty()));
    }
}

fn kcidb(python: &Python) {
    for output in outputs::all() {
        let file = printed(&output, "kcidb");
        assert_eq!(python.kcidb(&file).unwrap(), output.cells().len());
        if output.is_whole() {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let (_folder, file) =
            document("kcidb.json", &text.replacen("\"status\": \"PASS\"", "\"status\": \"FLAKY\"", 1));
        refused(python.kcidb(&file), "'FLAKY' is not one of");
    }
}
