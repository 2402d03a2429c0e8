//! `--format json` of the verbs that are not about a run, against the schema that s2lab prints.

use crate::harness::{Home, RUN};
use crate::story::Story;
use s2lab_model::event::StopCause;
use serde_json::{Value, json};
use std::process::Output;

/// Checks a value by the parts of JSON Schema (draft 7) that s2lab's schemas use.
fn valid(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let at = name.strip_prefix('#').and_then(|at| root.pointer(at));
        valid(value, at.ok_or(format!("no {name}"))?, root)?;
    }
    let list = |key: &str| schema[key].as_array().cloned().unwrap_or_default();
    for all in list("allOf") {
        valid(value, &all, root)?;
    }
    for any in ["anyOf", "oneOf"].map(list).iter().filter(|any| !any.is_empty()) {
        let fits = any.iter().filter(|one| valid(value, one, root).is_ok()).count();
        if fits == 0 {
            return Err(format!("none fits {value}"));
        }
    }
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::Null => vec![is.into()],
        one => vec![one.clone()],
    };
    if !types.contains(&is.into()) {
        return Err(format!("{value} is not {types:?}"));
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        return Err(format!("{value} is not {}", schema["const"]));
    }
    for required in list("required") {
        if value[required.as_str().unwrap()].is_null() && value.get(required.as_str().unwrap()).is_none() {
            return Err(format!("{required} is missing in {value}"));
        }
    }
    for (key, of) in schema["properties"].as_object().into_iter().flatten() {
        value.get(key).map_or(Ok(()), |inner| valid(inner, of, root))?;
    }
    if let (Value::Array(items), of @ Value::Object(_)) = (value, &schema["items"]) {
        items.iter().try_for_each(|item| valid(item, of, root))?;
    }
    Ok(())
}

/// Returns the document of a command, which must fit the schema and be all of stdout.
fn document(home: &Home, output: &Output) -> Value {
    let schema = home.command(&["schema", "answers"]).output().unwrap().stdout;
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    valid(&value, &schema, &schema).unwrap_or_else(|why| panic!("{why}\n{text}"));
    assert_eq!(value["version"], 1);
    value
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    let home = Home::new();
    let schema = home.command(&["schema", "answers"]).output().unwrap().stdout;
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    let good = serde_json::json!({"version": 1, "answer": "new", "file": "x"});
    valid(&good, &schema, &schema).unwrap();
    for (key, wrong) in [("version", "1".into()), ("answer", "old".into()), ("file", 1.into())] {
        let mut bad = good.clone();
        bad[key] = wrong;
        assert!(valid(&bad, &schema, &schema).is_err(), "{key}");
        bad.as_object_mut().unwrap().remove(key);
        assert!(valid(&bad, &schema, &schema).is_err(), "{key}");
    }
}

#[test]
fn every_verb_answers_in_json() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle@debian-6.1"])));
    let mut session = home.session();
    for (name, arguments, exit) in [
        ("list", &["list", "idle"][..], 0),
        ("list-kernels", &["list", "--kernels"], 0),
        ("list-promises", &["list", "--promises"], 0),
        ("mutants-list", &["mutants", "--list"], 0),
        ("run-dry-run", &["run", "--dry-run", "idle@debian-6.1"], 0),
        ("explain", &["explain", "idle@debian-6.1"], 0),
        ("lint", &["lint"], 0),
        ("cache-list", &["cache", "list"], 0),
        ("cache-verify", &["cache", "verify"], 0),
        ("cache-gc", &["cache", "gc", "--dry-run"], 0),
        ("cache-refresh", &["cache", "refresh"], 0),
        ("init", &["init", "../mine"], 0),
        ("new", &["new", "fresh"], 0),
        ("accept", &["accept", "idle*"], 0),
        ("error", &["new", "fresh"], 2),
        ("error", &["list", "nothing"], 2),
        ("error", &["cache", "path", "qemu"], 3),
        ("error", &["report", "nonsense"], 2),
        ("error", &["list", "nothing", "--format", "human"], 2),
        ("error", &["lits"], 2),
    ] {
        let human = arguments.contains(&"--format");
        let arguments = if human { arguments.to_vec() } else { [arguments, &["--format", "json"]].concat() };
        let output = session.s2lab(&arguments);
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}");
        match human {
            true => assert!(output.stdout.is_empty(), "only where JSON is wanted"),
            false => assert_eq!(document(&home, &output)["answer"], name, "{arguments:?}"),
        }
    }
    session.check("answers");
}

/// Their content is that of the machine, or varies with the place of the test.
#[test]
fn machines_and_bundles_answer_in_json_too() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle@debian-6.1"])));
    let output = home.command(&["doctor", "--format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "there is no cargo");
    let doctor = document(&home, &output);
    let subjects = doctor["subjects"].as_array().unwrap();
    let of = |name: &str| subjects.iter().find(|subject| subject["subject"] == name).unwrap();
    assert_eq!((&of("cargo")["state"], &of("KVM")["state"]), (&"missing".into(), &"note".into()));
    let lines = String::from_utf8(home.command(&["doctor"]).output().unwrap().stdout).unwrap();
    assert_eq!(subjects.len(), lines.lines().count());
    let cargo = of("cargo")["text"].as_str().unwrap();
    assert!(cargo.starts_with("not on PATH") && lines.contains(cargo), "{cargo}: {lines}");

    let output = home.command(&["bundle", "--out", "../x.gz", "--format", "json"]).output().unwrap();
    let bundle = document(&home, &output);
    let written = std::fs::read(home.path("x.gz")).unwrap();
    assert_eq!(bundle["bytes"], written.len());
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(written.as_slice()));
    let files = archive.entries().unwrap();
    assert_eq!(bundle["files"], files.count());
    assert_eq!(bundle["file"], "../x.gz");
    assert_eq!(bundle["sha256"], s2lab_model::hash::digest(&written));
    assert_eq!(bundle["cells"], serde_json::json!(["idle@debian-6.1"]));
}

/// Its lines and its document say the same, and both write the same files.
#[test]
fn accept_names_each_cell_and_its_changes() {
    let accepted = |arguments: &[&str]| {
        let home = Home::new();
        home.add_run(&Story::well(&home.plan(&["*"])).stopped(
            "idle@debian-6.12",
            StopCause::Lab,
            "QEMU ended (signal 9)",
            None,
        ));
        home.command(&["accept", "idle@debian-6.1"]).output().unwrap();
        let output = home.command(&[&["accept"], arguments].concat()).output().unwrap();
        (home.tree("lab/reports"), output, home)
    };
    let (tree, lines, _) = accepted(&[]);
    let (tree_of_json, output, home) = accepted(&["--format", "json"]);
    assert_eq!((tree_of_json, output.status.code()), (tree, Some(3)));
    assert_eq!(output.status, lines.status);
    let accept = document(&home, &output);
    let refused = "the lab failed (MISS): nothing to compare";
    let cell = |key: &str, result: &str, file: Option<&str>, why: Option<&str>| json!({"key": key, "result": result, "file": file, "why": why});
    assert_eq!(
        accept["cells"],
        json!([
            cell("bar@debian-6.1", "accepted", Some("reports/bar/debian-6.1.txt"), None),
            cell("bar@debian-6.12", "accepted", Some("reports/bar/debian-6.12.txt"), None),
            cell("idle@debian-6.1", "as-accepted", None, None),
            cell("idle@debian-6.12", "refused", None, Some(refused)),
        ])
    );
    let keys: Vec<_> = accept["groups"].as_array().unwrap().iter().map(|group| &group["keys"]).collect();
    assert_eq!(keys, [&json!(["bar@debian-6.1", "bar@debian-6.12"])], "they are alike");
    // The lines have the same sentences.
    let lines = String::from_utf8(lines.stdout).unwrap();
    for change in
        accept["groups"].as_array().unwrap().iter().flat_map(|group| group["changes"].as_array().unwrap())
    {
        assert!(lines.contains(change.as_str().unwrap()), "{change}: {lines}");
    }
    let (_, output, home) = accepted(&["--shape", "--format", "json"]);
    assert_eq!(
        document(&home, &output),
        json!({"version": 1, "answer": "accept", "groups": [], "cells": []})
    );
    let (_, output, home) = accepted(&["nothing", "--format", "json"]);
    assert_eq!((&document(&home, &output)["answer"], output.status.code()), (&json!("error"), Some(2)));
}

/// Sizes and folders vary with the place of the test.
#[test]
fn past_runs_answer_in_json_too() {
    let home = Home::new();
    home.add_run(&Story::well(&home.plan(&["idle@debian-6.1"])));
    for (name, arguments) in [
        ("runs", &["runs"][..]),
        ("runs", &["runs", "list"]),
        ("history-add", &["history", "add", RUN]),
        ("history", &["history"]),
        ("trend", &["trend", "idle@debian-6.1"]),
        ("runs-rm", &["runs", "rm", RUN, "--yes"]),
    ] {
        let output = home.command(&[arguments, &["--format", "json"]].concat()).output().unwrap();
        assert_eq!(document(&home, &output)["answer"], name, "{arguments:?}");
    }
}

#[test]
fn a_mistake_has_its_place() {
    let home = Home::new();
    home.write("lab/scenarios/idle.yaml", "scenario: idle\nhots: {}\n");
    let output = home.command(&["lint", "--format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let lint = document(&home, &output);
    let mistakes = lint["mistakes"].as_array().unwrap();
    let found = mistakes.iter().find(|mistake| mistake["message"].as_str().unwrap().contains("hots"));
    let found = found.unwrap_or_else(|| panic!("{lint}"));
    let place = (&found["file"], &found["line"], &found["column"]);
    assert_eq!(place, (&"scenarios/idle.yaml".into(), &2.into(), &1.into()));
    let text = home.command(&["lint"]).output().unwrap().stderr;
    assert_eq!(mistakes.len(), String::from_utf8(text).unwrap().matches("error:").count());
}
