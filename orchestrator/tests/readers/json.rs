//! JSON documents, in jq and against their schemas.

use crate::{Check, document, outputs, outputs::Cell, refused};
use readers::{Jq, Python};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

pub(crate) const JQ: [Check<Jq>; 1] = [("a_script_finds_every_cell", cells)];
pub(crate) const PYTHON: [Check<Python>; 1] = [("documents_are_valid_by_their_schemas", schemas)];

fn cells(jq: &Jq) {
    for output in outputs::all() {
        let file = output.print(&["report", "--format", "json"]);
        let found = jq.ask(&file, ".cells[] | {key, verdict, attempts, tolerated}").unwrap();
        let found: Vec<Cell> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!found.is_empty());
        assert_eq!(found, output.cells());
        assert_eq!(jq.ask(&file, ".whole").unwrap(), output.is_whole().to_string());
    }
}

/// In arguments: a cell of the run that has looks.
const KEY: &str = "KEY";
/// Each verb with a document of its own: its arguments, and the name of its schema. `accept` writes
/// reports, so it is the last.
const DOCUMENTS: [(&[&str], &str); 8] = [
    (&["report"], "run"),
    (&["check"], "run"),
    (&["review"], "review"),
    (&["diff", "latest", "latest"], "diff"),
    (&["list"], "answers"),
    (&["tables", KEY], "tables"),
    (&["tables", KEY, KEY], "tables"),
    (&["accept"], "answers"),
];

fn schemas(python: &Python) {
    let (mut printed, mut of_schema) = (BTreeSet::new(), BTreeMap::<&str, Vec<String>>::new());
    for output in outputs::all() {
        let key = output.key_with_looks();
        for (verb, schema) in DOCUMENTS {
            if verb.contains(&KEY) && key.is_none() {
                continue;
            }
            let named =
                |word: &&'static str| if *word == KEY { key.as_deref().unwrap_or_default() } else { word };
            let words: Vec<&str> = verb.iter().map(named).chain(["--format", "json"]).collect();
            let text = fs::read(output.print(&words)).unwrap();
            let value: Value = serde_json::from_slice(&text).unwrap();
            of_schema.entry(schema).or_default().push(value.to_string());
            printed.insert(verb);
        }
    }
    assert_eq!(printed.len(), DOCUMENTS.len(), "{printed:?}");
    let output = outputs::flaky();
    for (schema, documents) in of_schema {
        let (_folder, lines) = document("documents.jsonl", &documents.join("\n"));
        let schema_file = output.print(&["schema", schema]);
        assert_eq!(python.json_schema(&lines, &schema_file).unwrap(), documents.len(), "{schema}");
    }
    let mut wrong = output.run.clone();
    *wrong.pointer_mut("/cells/0/verdict").unwrap() = json!(5);
    let (_folder, wrong) = document("run.json", &wrong.to_string());
    refused(python.json_schema(&wrong, &output.print(&["schema", "run"])), "5 is not of type");
}
