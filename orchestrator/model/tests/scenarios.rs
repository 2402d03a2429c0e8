//! Scenario files: the committed ones, a corpus of valid and invalid ones, and random mutations of
//! them.

#![cfg(test)]

use proptest::prelude::*;
use s2lab_model::cell::ResolvedCell;
use s2lab_model::kernel::Traits;
use s2lab_model::scenario::{ProgramError, Scenario, SetValue, load, load_at, load_with, schema};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the YAML files of a folder of the repository, sorted; at least one.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut found: Vec<_> = fs::read_dir(repository().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{folder}");
    found
}

const VALID: [&str; 3] =
    ["scenarios", "orchestrator/tests/e2e/scenarios", "orchestrator/model/tests/scenarios/valid"];

#[test]
fn right_files_load() {
    for (file, text) in VALID.into_iter().flat_map(files) {
        let scenario = load(&file, &text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(format!("{}.yaml", scenario.scenario), file);
    }
}

/// The log stores the resolved cell as JSON.
#[test]
fn the_cell_of_a_loaded_scenario_survives_the_log() {
    for (file, text) in VALID.into_iter().flat_map(files) {
        let scenario = load(&file, &text).unwrap();
        let points: Vec<_> = match scenario.matrix.points.is_empty() {
            true => vec![&scenario],
            false => scenario.matrix.points.iter().map(|point| &point.scenario).collect(),
        };
        for point in points {
            let cell = ResolvedCell::of(point, Traits::Exactly([].into()));
            let json = serde_json::to_string(&cell).unwrap();
            assert_eq!(serde_json::from_str::<ResolvedCell>(&json).unwrap(), cell, "{json}");
            let again = load(&file, &serde_json::to_string(&cell.written(&scenario.scenario, "")).unwrap());
            assert_eq!(ResolvedCell::of(&again.unwrap(), cell.traits.clone()), cell, "{json}");
        }
    }
}

/// A point that does not run has the values of the file. No program is read twice.
#[test]
fn each_point_has_the_programs_of_its_steps() {
    let text = "scenario: s\nabout: x\naxes:\n\x20 steps.0.exec.file: {as: of, values: {one: bin/1, two: bin/2, three: bin/3}}\n\
        exclude: [{at: {of: three}, reason: x}]\nhost: {cpu: neoverse-v1}\nsteps: [exec: {in: host, file: bin/1}]\n";
    let mut was_read = vec![];
    let mut read = |file: &str| {
        was_read.push(file.to_owned());
        Ok(file.to_uppercase())
    };
    let scenario = load_with("s.yaml", text, &mut read).unwrap();
    let set = SetValue::parse("steps.0.exec.file=two").unwrap();
    let at_two = load_at("s.yaml", text, &[set], &mut read).unwrap();
    let programs = |scenario: &Scenario| -> Vec<_> {
        let points = scenario.matrix.points.iter().map(|point| point.scenario.programs.clone());
        points.map(|of| of.into_iter().collect::<Vec<_>>()).collect()
    };
    let due = |file: &str| vec![(file.to_owned(), file.to_uppercase())];
    assert_eq!(programs(&scenario), [due("bin/1"), due("bin/2"), due("bin/1")]);
    assert_eq!(programs(&at_two), [due("bin/2")]);
    assert_eq!(was_read, ["bin/1", "bin/2", "bin/1", "bin/2"]);

    let lacking = |file: &str| match file {
        "bin/2" => Err(ProgramError { message: "no such file".into(), hint: None }),
        file => Ok(file.to_owned()),
    };
    let mistakes = load_with("s.yaml", text, &mut { lacking }).unwrap_err().to_string();
    assert!(mistakes.contains("s.yaml:4:57: error: program `bin/2`: no such file"), "{mistakes}");
}

#[test]
fn committed_files_name_the_schema_in_their_first_line() {
    for (file, text) in files("scenarios") {
        assert_eq!(text.lines().next(), Some("# yaml-language-server: $schema=schema.json"), "{file}");
    }
}

/// Blocks ```` ```yaml ```` of `docs/scenarios.md` load, or the block ```` ```text ```` after them
/// shows their mistakes.
#[test]
fn the_documents_examples_are_true() {
    let text = fs::read_to_string(repository().join("docs/scenarios.md")).unwrap();
    let block = |after: &str| after.split_once("\n```").map(|(block, _)| format!("{block}\n"));
    let mut loaded = 0;
    for part in text.split("```yaml\n").skip(1) {
        let yaml = block(part).unwrap();
        let name = yaml.lines().find_map(|l| l.strip_prefix("scenario: ")).unwrap();
        match load(&format!("scenarios/{name}.yaml"), &yaml) {
            Ok(_) => loaded += 1,
            Err(mistakes) => {
                let shown =
                    part.split_once("```text\n").and_then(|(_, after)| block(after)).unwrap_or_default();
                assert_eq!(mistakes.to_string(), shown, "what is wrong with\n{yaml}");
            }
        }
    }
    assert!(loaded >= 2, "{loaded}");
}

/// Each shipped scenario without the argument that a part of it needs: the part is shown, and the argument.
#[test]
fn a_shipped_scenario_without_its_argument_is_refused() {
    let shipped = files("scenarios/full");
    let mut tried = vec![];
    for (argument, line) in [
        ("pciehp.pciehp_poll_mode=1", "  - host: {unplug: nic}"),
        ("vfio_pci.disable_idle_d3=1", "  g0: {vmm: qemu, assign: {disk: vfio-pci, nic: vfio-pci}}"),
    ] {
        let list = format!("  arguments: [{argument}]\n");
        for (file, text) in shipped.iter().filter(|(_, text)| text.contains(&list)) {
            load(file, text).unwrap();
            let mistakes = load(file, &text.replace(&list, "")).unwrap_err();
            let [mistake] = mistakes.iter().collect::<Vec<_>>()[..] else { panic!("{mistakes}") };
            assert_eq!(mistake.source, line);
            assert_eq!(mistake.help, Some(format!("write `arguments: [{argument}]` in `host`")));
            tried.push(file.trim_end_matches(".yaml"));
        }
    }
    assert_eq!(
        tried,
        ["unplugged-device-is-gone", "unplugged-from-qemu", "drive-by-dma", "guest-resets-function"]
    );
}

/// The table of `docs/hosts.md` has each point of the scenario `hosts` that runs.
#[test]
fn the_document_has_every_host() {
    let (_, text) = files("scenarios/full").into_iter().find(|(file, _)| file == "hosts.yaml").unwrap();
    let hosts = load("hosts.yaml", &text).unwrap();
    let any_kernel = Traits::AtLeast(BTreeSet::new());
    let run = hosts.matrix.points.iter().filter(|point| point.scenario.excluded(&any_kernel).is_none());
    let due: BTreeSet<String> = run
        .map(|point| point.values.iter().map(|(axis, value)| format!("+{axis}={value}")).collect::<String>())
        .collect();
    let document = fs::read_to_string(repository().join("docs/hosts.md")).unwrap();
    let points = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let shown: Vec<String> = points.map(|(point, _)| format!("+{point}")).collect();
    assert!(shown.len() <= 12, "{shown:?}");
    assert_eq!(shown.into_iter().collect::<BTreeSet<_>>(), due);
}

#[test]
fn the_document_names_every_key() {
    fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
        found.extend(schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone()));
        schema.as_object().into_iter().flatten().for_each(|(_, inner)| keys(inner, found));
        schema.as_array().into_iter().flatten().for_each(|inner| keys(inner, found));
    }
    let text = fs::read_to_string(repository().join("docs/scenarios.md")).unwrap();
    let mut found = Vec::new();
    keys(&serde_json::from_str(&schema()).unwrap(), &mut found);
    assert!(found.len() > 20);
    found.retain(|key| !text.contains(&format!("`{key}`")));
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn every_mistake_is_shown() {
    for (file, text) in files("orchestrator/model/tests/scenarios/invalid") {
        let mistakes = load(&file, &text).expect_err(&file);
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "scenarios/invalid"}, {
            insta::assert_snapshot!(file.trim_end_matches(".yaml"), mistakes.to_string());
        });
    }
}

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let path = repository().join("scenarios/schema.json");
    if std::env::var_os("S2LAB_WRITE_SCHEMA").is_some() {
        fs::write(&path, schema()).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == schema(),
        "scenarios/schema.json is not what the types say; S2LAB_WRITE_SCHEMA=1 writes it anew"
    );
}

#[test]
fn every_key_of_the_schema_is_documented() {
    fn undocumented(at: &str, schema: &serde_json::Value, found: &mut Vec<String>) {
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            if !inner["description"].is_string() {
                found.push(format!("{at}.{key}"));
            }
        }
        for (key, inner) in schema.as_object().into_iter().flatten() {
            undocumented(&format!("{at}.{key}"), inner, found);
        }
        for (i, inner) in schema.as_array().into_iter().flatten().enumerate() {
            undocumented(&format!("{at}[{i}]"), inner, found);
        }
    }
    let mut found = Vec::new();
    undocumented("", &serde_json::from_str(&schema()).unwrap(), &mut found);
    // The keys of a step, and of some kinds of steps, stand for variants, which have a description
    // beside them.
    let of_variant = |path: &String| {
        ["Step", "HostStep", "GuestStep"]
            .iter()
            .any(|of| path.starts_with(&format!(".definitions.{of}.oneOf[")))
    };
    found.retain(|path| !of_variant(path));
    assert!(found.is_empty(), "{found:#?}");
}

/// A file without a stem, so that the scenario may have any name.
const FILE: &str = "..";

/// Checks the promise of the loader for any text: a scenario, or mistakes in order whose places are
/// inside of the text.
fn hold_the_loader_to_its_word(text: &str) {
    let Err(mistakes) = load(FILE, text) else { return };
    let lines: Vec<&str> = text.split('\n').collect();
    assert!(mistakes.iter().count() > 0);
    let mut last = 0;
    for mistake in &mistakes {
        assert!(mistake.span.start >= last && mistake.span.end <= text.len(), "{mistake:?}");
        last = mistake.span.start;
        assert_eq!(lines[mistake.line - 1].trim_end_matches('\r'), mistake.source);
        assert!(mistake.column <= mistake.source.chars().count() + 2, "{mistake:?}");
        assert!(
            mistake.to_string().starts_with(&format!("{FILE}:{}:{}: error: ", mistake.line, mistake.column))
        );
    }
    // One YAML reader may refuse what the other accepts, but they never read a text differently.
    assert!(!mistakes.to_string().contains("two readers"), "{mistakes}");
    assert!(!mistakes.to_string().chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
}

/// Makes texts of which one piece was removed, doubled, moved or exchanged.
fn mutated() -> impl Strategy<Value = String> {
    let texts: Vec<String> = VALID.into_iter().flat_map(files).map(|(_, text)| text).collect();
    let insertion = prop_oneof![
        "[-:,{}\\[\\]&*!|>'\"#%@` \n\t]{1,3}",
        "[a-z0-9]{1,6}",
        any::<char>().prop_map(String::from),
        Just("\u{feff}".to_owned()),
        Just("\r".to_owned()),
        Just("---\n".to_owned()),
    ];
    (prop::sample::select(texts), any::<prop::sample::Index>(), 0usize..40, insertion, 0..4).prop_map(
        |(text, at, length, insertion, kind)| {
            let mut chars: Vec<char> = text.chars().collect();
            let from = at.index(chars.len());
            let to = (from + length).min(chars.len());
            let piece: Vec<char> = chars[from..to].to_vec();
            match kind {
                0 => drop(chars.drain(from..to)),
                1 => drop(chars.splice(from..from, piece)),
                2 => drop(chars.splice(from..to, insertion.chars())),
                _ => drop(chars.splice(from..from, insertion.chars())),
            }
            chars.into_iter().collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_change_loads_or_is_reported_in_its_place(text in mutated()) {
        hold_the_loader_to_its_word(&text);
    }

    #[test]
    fn two_changes_too(text in mutated(), at in any::<prop::sample::Index>(), c in "[-:,{}\\[\\]&*!|>'\" \n]") {
        let at = at.index(text.chars().count() + 1);
        let text: String = text.chars().take(at).chain(c.chars()).chain(text.chars().skip(at)).collect();
        hold_the_loader_to_its_word(&text);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        hold_the_loader_to_its_word(&text);
    }

    #[test]
    fn no_yaml_like_text_panics(text in "([ \n]{0,3}[-?:,{}\\[\\]&*!|>'\"#%@a-z0-9]{1,4}){0,40}") {
        hold_the_loader_to_its_word(&text);
    }
}

#[test]
fn a_large_file_is_refused_and_a_large_line_is_not_shown_whole() {
    let mistakes = load("x.yaml", &"a".repeat(70_000)).unwrap_err().to_string();
    assert!(mistakes.contains("the most is 65536") && mistakes.len() < 1000, "{mistakes}");
}

#[test]
fn hostile_nesting_ends_soon() {
    for unit in ["[", "{", "- ", "? ", "{a: ", "[a: "] {
        hold_the_loader_to_its_word(&unit.repeat(20_000));
    }
}
