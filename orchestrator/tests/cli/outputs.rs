//! `--format` and `--output`.

use crate::{
    harness::{Home, Session},
    story::{Behaves, Story},
};
use std::fs;

/// Adds a run with a FAIL, whose exit code is 1.
fn failed(home: &Home) {
    home.add_run(&Story::of(&home.plan(&[]), |_| Behaves::Before));
}

#[test]
fn a_verb_without_the_form_names_those_that_it_has() {
    let home = Home::new();
    failed(&home);
    let mut session = home.session();
    for arguments in [
        &["check", "--format", "events"][..],
        &["check", "--output", "events=log"],
        &["report", "--output", "events=log"],
        &["run", "--output", "events=log"],
        &["report", "--output", "json=a", "--output", "human=a"],
        &["report", "--output", "json"],
        &["report", "--output", "json="],
        &["report", "--output", "json=-"],
        &["report", "--output", "xml=a"],
        &["report", "--cell", "bar@debian-6.1", "--output", "json=a"],
    ] {
        assert_eq!(session.s2lab(arguments).status.code(), Some(2), "{arguments:?}");
    }
    session.check("outputs-refused");
    for written in ["a", "log"] {
        assert!(!home.lab().join(written).exists(), "{written}");
    }
}

/// A file has what stdout has, and the run decides the exit code.
#[test]
fn a_file_has_the_form() {
    let home = Home::new();
    failed(&home);
    for form in ["human", "json"] {
        let (file, output) = (home.lab().join(form), format!("{form}={form}"));
        let printed = home.command(&["report", "--format", form]).output().unwrap();
        fs::write(&file, "an older run").unwrap();
        let written = home.command(&["report", "--format", "events", "--output", &output]).output().unwrap();
        assert_eq!((printed.status.code(), written.status.code()), (Some(1), Some(1)), "{form}");
        assert_eq!(fs::read(&file).unwrap(), printed.stdout, "{form}");
        assert!(!printed.stdout.is_empty());
    }
    let check =
        home.command(&["check", "--format", "human", "--output", "json=check.json"]).output().unwrap();
    let json = home.command(&["check", "--format", "json"]).output().unwrap();
    assert_eq!((check.status.code(), json.status.code()), (Some(5), Some(5)));
    assert_eq!(fs::read(home.lab().join("check.json")).unwrap(), json.stdout);
}

#[test]
fn the_other_files_are_written() {
    let home = Home::new();
    failed(&home);
    fs::create_dir(home.lab().join("folder")).unwrap();
    fs::write(home.lab().join("mine"), "mine").unwrap();
    std::os::unix::fs::symlink("mine", home.lab().join("link")).unwrap();
    let outputs = |forms: &[&str]| -> Vec<String> {
        forms.iter().flat_map(|form| ["--output".to_owned(), (*form).to_owned()]).collect()
    };
    let all = outputs(&[
        "json=none/run.json",
        "json=folder",
        "json=link",
        "json=/dev/full",
        "json=/dev/null",
        "json=run.json",
        "human=run.txt",
    ]);
    let arguments = |verb: &'static str| -> Vec<String> { [vec![verb.to_owned()], all.clone()].concat() };
    let mut session = home.session();
    for verb in ["report", "check"] {
        let arguments = arguments(verb);
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(session.s2lab(&words).status.code(), Some(3), "{verb}");
        for written in ["run.json", "run.txt"] {
            let file = home.lab().join(written);
            assert!(fs::read_to_string(&file).unwrap().ends_with('\n'), "{verb} {written}");
            fs::remove_file(file).unwrap();
        }
    }
    session.check("outputs-unwritable");
    assert_eq!(fs::read_to_string(home.lab().join("mine")).unwrap(), "mine");
    let left: Vec<_> = fs::read_dir(home.lab()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".s2lab-")), "{left:?}");
}

/// The limit stands for a full disk. stdout is a pipe, and the events are no file.
#[test]
fn a_full_disk_leaves_no_half_file() {
    let home = Home::new();
    failed(&home);
    let mut session: Session<'_> = home.session();
    let line = "ulimit -f 1; trap '' XFSZ; s2lab report --output json=run.json --output human=run.txt";
    assert_eq!(session.shell(line).status.code(), Some(3));
    session.check("outputs-full");
    assert!(!home.lab().join("run.json").exists() && home.lab().join("run.txt").exists());
}

/// No host can be booted, and the document says so.
#[test]
fn a_run_that_boots_nothing_has_its_documents() {
    let home = Home::new();
    let output = home.command(&["run", "--offline", "--output", "json=run.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(home.lab().join("run.json")).unwrap()).unwrap();
    assert_eq!(json["exit"], 3);
}
