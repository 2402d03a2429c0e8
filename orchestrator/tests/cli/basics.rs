//! Help, version, and mistakes on the command line itself.

use crate::harness::Home;

const VERBS: [&str; 18] = [
    "nightly",
    "run",
    "list",
    "explain",
    "shell",
    "lint",
    "report",
    "check",
    "accept",
    "diff",
    "review",
    "tables",
    "bundle",
    "doctor",
    "init",
    "new",
    "completions",
    "man",
];

#[test]
fn help() {
    let home = Home::new();
    let mut session = home.session();
    assert_eq!(session.s2lab(&[]).status.code(), Some(2));
    session.s2lab(&["--help"]);
    for verb in VERBS {
        session.s2lab(&[verb, "--help"]);
    }
    session.check("help");
}

#[test]
fn the_version_has_the_commit() {
    let home = Home::new();
    let mut session = home.session();
    session.s2lab(&["--version"]);
    session.check("version");
}

#[test]
fn mistakes_on_the_command_line() {
    let home = Home::new();
    let mut session = home.session();
    for arguments in [
        &["lits"][..],
        &["list", "--colour", "always"],
        &["list", "--color", "sometimes"],
        &["run", "--jobs", "0"],
        &["run", "--modules", "/lib/modules"],
        &["run", "--config", "/boot/config"],
        &["list", "--lab", ""],
    ] {
        assert_eq!(session.s2lab(arguments).status.code(), Some(2), "{arguments:?}");
    }
    session.check("mistakes");
}

/// A shell reads what is made for it.
#[test]
fn completions() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = home.command(&["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0));
        for word in VERBS.iter().chain(&["--fail-fast", "--rootfs"]) {
            // fish has long options without their hyphens.
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
        }
    }
    let line = "eval \"$(s2lab completions bash)\"; COMP_WORDS=(s2lab run --fail) COMP_CWORD=2; \
                _s2lab s2lab --fail run; echo \"${COMPREPLY[@]}\"";
    let output = home.shell(line).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "--failed --fail-fast\n");
    assert_eq!(home.command(&["completions", "csh"]).status().unwrap().code(), Some(2));
}

#[test]
fn manual_pages() {
    let home = Home::new();
    let output = home.command(&["man"]).output().unwrap();
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.contains(".TH s2lab 1") && page.contains("s2lab\\-run(1)"), "{page}");
    let out = home.path("man/man1");
    assert!(home.command(&["man", "--out", out.to_str().unwrap()]).status().unwrap().success());
    let pages = home.tree("man/man1");
    for verb in VERBS {
        assert!(pages.contains(&format!("s2lab-{verb}.1")), "{verb}: {pages:?}");
    }
    assert_eq!(home.read("man/man1/s2lab.1"), page);
    assert!(home.read("man/man1/s2lab-run.1").contains("\\-\\-rootfs"));
    home.write("file", "");
    let refused = home.command(&["man", "--out", home.path("file").to_str().unwrap()]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
}

#[test]
fn schemas_are_those_in_the_repository() {
    let home = Home::new();
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (arguments, file) in [
        (&["schema"][..], "scenarios/schema.json"),
        (&["schema", "scenario"], "scenarios/schema.json"),
        (&["schema", "kernels"], "images/schema.json"),
        (&["schema", "known"], "docs/known.schema.json"),
        (&["schema", "plan"], "docs/plan.schema.json"),
        (&["schema", "run"], "docs/run.schema.json"),
        (&["schema", "diff"], "docs/diff.schema.json"),
        (&["schema", "answers"], "docs/answers.schema.json"),
        (&["schema", "review"], "docs/review.schema.json"),
        (&["schema", "tables"], "docs/tables.schema.json"),
    ] {
        let output = home.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        let file = repository.join(file);
        if std::env::var_os("S2LAB_WRITE_SCHEMA").is_some() {
            std::fs::write(&file, &output.stdout).unwrap();
        }
        assert_eq!(output.stdout, std::fs::read(&file).unwrap(), "{}", file.display());
    }
}
