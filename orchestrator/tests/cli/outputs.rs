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

const FORMS: [&str; 10] =
    ["human", "events", "json", "junit", "ktap", "kcidb", "github", "markdown", "lore", "html"];

#[test]
fn report_exits_like_the_run_in_every_form() {
    let home = Home::new();
    failed(&home);
    for form in FORMS {
        let output = home.command(&["report", "--format", form]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{form}");
        assert!(!output.stdout.is_empty(), "{form}");
    }
    home.add_run(&Story::well(&home.plan(&[])));
    for form in FORMS {
        let output = home.command(&["report", "--format", form]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{form}");
    }
}

#[test]
fn forms_of_a_run_alone_are_refused_by_check() {
    let home = Home::new();
    failed(&home);
    let mut session = home.session();
    for form in ["junit", "ktap", "kcidb"] {
        assert_eq!(session.s2lab(&["check", "--format", form]).status.code(), Some(2), "{form}");
        assert_eq!(
            session.s2lab(&["check", "--output", &format!("{form}=a")]).status.code(),
            Some(2),
            "{form}"
        );
    }
    session.check("outputs-of-a-run");
}

/// The whole output of the forms for CI systems.
#[test]
fn what_ci_systems_read() {
    let home = Home::new();
    failed(&home);
    let mut session = home.session();
    for form in ["junit", "ktap", "github"] {
        session.s2lab(&["report", "--format", form]);
    }
    session.s2lab(&["check", "--format", "github"]);
    session.check("outputs-ci");
    // Its ids have the path of the lab folder in their digests.
    let kcidb = home.command(&["report", "--format", "kcidb"]).output().unwrap().stdout;
    let kcidb: serde_json::Value = serde_json::from_slice(&kcidb).unwrap();
    let tests = kcidb["tests"].as_array().unwrap();
    let status: Vec<_> = tests.iter().map(|test| test["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["PASS", "FAIL", "PASS", "PASS"]);
}

/// Two commands of one step, and a step that has no room left.
#[test]
fn the_summary_of_a_step_is_appended() {
    let home = Home::new();
    failed(&home);
    let summary = home.path("summary.md");
    let step = |arguments: &[&str]| {
        let mut command = home.command(&[&["report"], arguments].concat());
        command.env("GITHUB_STEP_SUMMARY", &summary);
        assert_eq!(command.output().unwrap().status.code(), Some(1), "{arguments:?}");
        fs::read_to_string(&summary).unwrap_or_default()
    };
    let markdown = home.command(&["report", "--format", "markdown"]).output().unwrap().stdout;
    let markdown = String::from_utf8(markdown).unwrap();
    assert_eq!(step(&["--format", "markdown"]), "", "the form is not github");
    assert_eq!(step(&["--format", "github"]), markdown);
    let output = format!("github={}", home.path("annotations").display());
    assert_eq!(step(&["--output", &output]), markdown.repeat(2));
    assert!(home.read("annotations").starts_with("::error title="));
    fs::write(&summary, "x".repeat(1 << 20)).unwrap();
    assert_eq!(step(&["--format", "github"]).len(), 1 << 20, "no room is left");
    let mut nowhere = home.command(&["report", "--format", "github"]);
    let output = nowhere.env("GITHUB_STEP_SUMMARY", home.path("none/summary.md")).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.starts_with(b"::error"), "the annotations are printed");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("($GITHUB_STEP_SUMMARY)"), "{stderr}");
}

/// Without the variable there is no summary, and an empty one counts as unset.
#[test]
fn without_a_step_there_is_no_summary() {
    let home = Home::new();
    failed(&home);
    for set in [None, Some("")] {
        let mut command = home.command(&["report", "--format", "github"]);
        command.envs(set.map(|value| ("GITHUB_STEP_SUMMARY", value)));
        let output = command.output().unwrap();
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), false));
    }
}
