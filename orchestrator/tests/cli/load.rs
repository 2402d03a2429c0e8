//! `.ci/load`, with a script in the place of s2lab.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

/// Counts its runs in `count`. Run `stop` is interrupted, and a cell of run `bad` has another verdict.
const S2LAB: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
[ "$1" = --version ] && echo 's2lab 0' && exit
run=$(($(cat count 2>/dev/null) + 1))
echo $run >count
[ "$(cat stop 2>/dev/null)" = $run ] && exit 130
[ "$(cat bad 2>/dev/null)" = $run ] && verdict=TIMEOUT || verdict=PASS
echo "$verdict     b@after       $run.3 s   nic Normal-NC   as wc-honoured"
echo "PASS     a@before     1$run.4 s   nic Device-nGnRE   as before the series"
echo "2 cells: 2 passed · /state/runs/x@y"
"#;

/// Runs the script, without a busy loop. Returns its exit code and its output.
fn load(folder: &Path, runs: u32) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/load");
    let mut command = Command::new(script);
    command.args([runs.to_string(), "0".into()]);
    command.env("S2LAB", folder.join("s2lab")).env("S2LAB_LOAD", folder.join("done"));
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), said.concat())
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let s2lab = folder.path().join("s2lab");
    fs::write(&s2lab, S2LAB).unwrap();
    fs::set_permissions(&s2lab, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn it_goes_on_after_an_interruption() {
    let folder = folder();
    fs::write(folder.path().join("stop"), "3").unwrap();
    let (code, said) = load(folder.path(), 4);
    assert_eq!((code, said.lines().count()), (Some(130), 2), "{said}");
    let (code, said) = load(folder.path(), 4);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("run 3 of 4: exit 0, 2 cells, ") && said.contains("\nrun 4 of 4"), "{said}");
    assert!(said.ends_with("none is MISS, TIMEOUT or LOST\n"), "{said}");
}

#[test]
fn a_verdict_that_differs_fails_it() {
    let folder = folder();
    fs::write(folder.path().join("bad"), "2").unwrap();
    let (code, said) = load(folder.path(), 3);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("\n+TIMEOUT b@after nic Normal-NC as wc-honoured\n"), "{said}");
    // All alike, and bad.
    let folder = self::folder();
    fs::write(folder.path().join("bad"), "1").unwrap();
    let (code, said) = load(folder.path(), 1);
    assert!(code == Some(1) && said.contains("in run 1, see "), "{said}");
}
