//! junitparser, kcidb_io, jsonschema and the kernel's parser of KTAP themselves: they read a
//! document, and refuse one that is wrong.

use crate::{Check, document, refused};
use readers::{JunitTest, Kunit, KunitTest, Python};
use serde_json::{Value, json};

pub(crate) const PYTHON: [Check<Python>; 4] = [
    ("junitparser_finds_every_test", junit),
    ("kcidb_io_holds_a_document_against_its_schema", kcidb),
    ("jsonschema_holds_documents_against_a_schema", json_schema),
    ("actionlint_holds_the_workflow_that_is_offered", actionlint),
];

pub(crate) const KUNIT: [Check<Kunit>; 2] = [
    ("the_kernels_parser_finds_every_test", ktap),
    ("the_kernels_parser_counts_errors_of_form", ktap_errors),
];

fn junit(python: &Python) {
    let text = "<testsuites><testsuite name='s'><properties><property name='of' value='suite'/></properties>\
         <testcase classname='c' name='a'/>\
         <testcase classname='c' name='b'><properties><property name='p' value='1'/></properties><failure/></testcase>\
         <testcase classname='c' name='d'><flakyFailure type='t'><stackTrace>x</stackTrace></flakyFailure></testcase>\
         <testcase classname='c' name='e'><skipped/></testcase></testsuite></testsuites>";
    let test = |name: &str, results: &[&str], properties: &[&str]| JunitTest {
        suite: "s".to_owned(),
        classname: "c".to_owned(),
        name: name.to_owned(),
        results: results.iter().map(|&result| result.to_owned()).collect(),
        properties: properties.iter().map(|&property| property.to_owned()).collect(),
    };
    let due = vec![
        test("a", &[], &[]),
        test("b", &["failure"], &["p=1"]),
        test("d", &["flakyFailure"], &[]),
        test("e", &["skipped"], &[]),
    ];
    let (_folder, file) = document("junit.xml", text);
    assert_eq!(python.junit(&file).unwrap(), due);
    for (wrong, why) in [("<testsuites><testsuite>", "no element found"), ("<html/>", "Invalid format")] {
        let (_folder, file) = document("junit.xml", wrong);
        refused(python.junit(&file), why);
    }
}

fn kcidb(python: &Python) {
    let text = json!({
        "version": { "major": 5, "minor": 3 },
        "checkouts": [{ "id": "o:c", "origin": "o" }],
        "builds": [{ "id": "o:b", "origin": "o", "checkout_id": "o:c" }],
        "tests": [{ "id": "o:t", "origin": "o", "build_id": "o:b", "path": "s2lab.bar", "status": "PASS" }],
    });
    let read = |document_of: &Value| {
        let (_folder, file) = document("kcidb.json", &document_of.to_string());
        python.kcidb(&file)
    };
    assert_eq!(read(&text).unwrap(), 1);
    for (at, wrong, why) in [
        ("/tests/0/path", json!("s2lab.bar@debian-6.12"), "does not match"),
        ("/tests/0/status", json!("FLAKY"), "is not one of"),
        ("/tests/0/status", Value::Null, "None is not"),
        ("/version/major", json!(9), "9"),
    ] {
        let mut text = text.clone();
        *text.pointer_mut(at).unwrap() = wrong;
        refused(read(&text), why);
    }
    let (_folder, file) = document("kcidb.json", "{");
    refused(python.kcidb(&file), "JSONDecodeError");
}

fn json_schema(python: &Python) {
    let schema =
        "{\"type\": \"object\", \"properties\": {\"n\": {\"minimum\": 1}}, \"additionalProperties\": false}";
    let (folder, schema) = document("schema.json", schema);
    let read = |text: &str| {
        let file = folder.path().join("document.json");
        std::fs::write(&file, text).unwrap();
        python.json_schema(&file, &schema)
    };
    assert_eq!(read("{\n\"n\": 1\n}\n").unwrap(), 1);
    assert_eq!(read("{\"n\": 1}\n{}\n{\"n\": 3}\n").unwrap(), 3);
    refused(read("{\"n\": 0}"), "minimum");
    refused(read("{\"n\": 1}\n{\"m\": 1}\n"), "Additional properties");
    refused(read("{\"n\": 1}\n{\"n\":"), "JSONDecodeError");
    let (_folder, wrong) = document("schema.json", "{\"type\": \"missing\"}");
    let (_other, file) = document("document.json", "{}");
    assert!(!python.json_schema(&file, &wrong).unwrap_err().is_refusal());
}

/// `docs/ci/github.yml` is right, and is wrong after a small change.
fn actionlint(python: &Python) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ci/github.yml");
    let text = std::fs::read_to_string(path).unwrap();
    python.actionlint(std::path::Path::new(path)).unwrap();
    for (from, to, why) in [
        ("needs: build", "needs: built", "needs job \"built\" which does not exist"),
        ("matrix.shard }}", "matrix.shards }}", "property \"shards\" is not defined"),
        ("fail-fast: false", "fail-fast: no way", "fail-fast"),
        ("runs-on: ubuntu-24.04", "runs_on: ubuntu-24.04", "runs_on"),
    ] {
        assert!(text.contains(from), "{from}");
        let (_folder, file) = document("github.yml", &text.replace(from, to));
        refused(python.actionlint(&file), why);
    }
}

const KTAP: &str = "KTAP version 1\n1..2\n\
    \x20 KTAP version 1\n  1..2\n  ok 1 first\n  not ok 2 second\nnot ok 1 outer\nok 2 last # SKIP no reason\n";

fn ktap(kunit: &Kunit) {
    let test = |name: &str, status: &str, tests: Vec<KunitTest>| KunitTest {
        name: name.to_owned(),
        status: status.to_owned(),
        tests,
    };
    let (_folder, file) = document("run.ktap", KTAP);
    let answer = kunit.parse(&file).unwrap();
    let inner = vec![test("first", "SUCCESS", vec![]), test("second", "FAILURE", vec![])];
    let due = vec![test("outer", "FAILURE", inner), test("last", "SKIPPED", vec![])];
    assert_eq!((answer.tests, answer.errors), (due, 0), "{}", answer.said);
}

fn ktap_errors(kunit: &Kunit) {
    for (wrong, why) in [
        (KTAP.replace("1..2\n ", "1..3\n "), "missing expected subtest"),
        (KTAP.replace("not ok 1 outer", "not ok 7 outer"), "Expected test number 1 but found 7"),
        ("all is well\n".to_owned(), "Could not find any KTAP output"),
    ] {
        let (_folder, file) = document("run.ktap", &wrong);
        let answer = kunit.parse(&file).unwrap();
        assert!(answer.errors > 0 && answer.said.contains(why), "{wrong}\n{}", answer.said);
    }
}
