//! JSON documents, in jq and against their schemas.

use crate::{Check, document, outputs, refused};
use readers::{Jq, Python};
use serde_json::json;

pub(crate) const JQ: [Check<Jq>; 1] = [("a_script_finds_every_cell", cells)];
pub(crate) const PYTHON: [Check<Python>; 1] = [("documents_are_valid_by_their_schemas", schemas)];

fn cells(jq: &Jq) {
    for output in outputs::all() {
        let file = output.print(&["report", "--format", "json"]);
        let found = jq.ask(&file, ".cells[] | [.key, .verdict]").unwrap();
        let found: Vec<(String, String)> =
            found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(found.len() > 1);
        assert_eq!(found, output.verdicts());
    }
}

fn schemas(python: &Python) {
    for output in outputs::all() {
        let schema = output.print(&["schema", "run"]);
        for verb in ["report", "check"] {
            let file = output.print(&[verb, "--format", "json"]);
            assert_eq!(python.json_schema(&file, &schema).unwrap(), 1);
        }
        if output.verdicts().iter().any(|(_, verdict)| verdict == "FLAKY") {
            let mut wrong = output.run.clone();
            *wrong.pointer_mut("/cells/0/verdict").unwrap() = json!(5);
            let (_folder, wrong) = document("run.json", &wrong.to_string());
            refused(python.json_schema(&wrong, &schema), "5 is not of type");
        }
    }
}
