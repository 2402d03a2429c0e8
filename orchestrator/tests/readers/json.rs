//! JSON documents, in jq and against their schemas.

use crate::{Check, document, outputs, outputs::Cell, refused};
use readers::{Jq, Python};
use serde_json::json;

pub(crate) const JQ: [Check<Jq>; 1] = [("a_script_finds_every_cell", cells)];
pub(crate) const PYTHON: [Check<Python>; 1] = [("documents_are_valid_by_their_schemas", schemas)];

fn cells(jq: &Jq) {
    for output in outputs::all() {
        let file = output.print(&["report", "--format", "json"]);
        let found = jq.ask(&file, ".cells[] | {key, verdict, attempts}").unwrap();
        let found: Vec<Cell> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!found.is_empty());
        assert_eq!(found, output.cells());
        assert_eq!(jq.ask(&file, ".whole").unwrap(), output.is_whole().to_string());
    }
}

/// Each verb with a document of its own: its arguments, and the name of its schema.
const DOCUMENTS: [(&[&str], &str); 5] = [
    (&["report"], "run"),
    (&["check"], "run"),
    (&["review"], "review"),
    (&["diff", "latest", "latest"], "diff"),
    (&["list"], "answers"),
];

fn schemas(python: &Python) {
    for output in outputs::all() {
        for (verb, schema) in DOCUMENTS {
            let file = output.print(&[verb, &["--format", "json"]].concat());
            let schema = output.print(&["schema", schema]);
            assert_eq!(python.json_schema(&file, &schema).unwrap(), 1, "{verb:?}");
        }
    }
    let output = outputs::flaky();
    let mut wrong = output.run.clone();
    *wrong.pointer_mut("/cells/0/verdict").unwrap() = json!(5);
    let (_folder, wrong) = document("run.json", &wrong.to_string());
    refused(python.json_schema(&wrong, &output.print(&["schema", "run"])), "5 is not of type");
}
