//! s2lab's outputs in their readers: Chromium, xmllint, junitparser, kcidb_io, kunit.py's parser,
//! jq; and its workflow in actionlint. Each reader also refuses a document that is wrong.
//!
//! A reader that cannot be had is named, and its checks are ignored; with `S2LAB_READERS=required`
//! they fail.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as its tests do")]

mod chromium;
mod forms;
#[path = "../cli/harness.rs"]
#[allow(dead_code, reason = "the tests of the command line use all of it")]
mod harness;
mod json;
mod outputs;
mod page;
mod python;
mod sample;
#[path = "../cli/story.rs"]
#[allow(dead_code, reason = "the tests of the command line use all of it")]
mod story;
mod tools;

use libtest_mimic::{Arguments, Failed, Trial};
use readers::{Browser, Jq, Kunit, Missing, Python, XmlLint};
use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
    sync::Arc,
};
use tempfile::TempDir;

/// A check that a reader makes: its name, which is a sentence, and itself.
type Check<R> = (&'static str, fn(&R));

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = [
        trials("chromium", Browser::get, &chromium::CHECKS, &arguments),
        trials("page", Browser::get, &page::CHECKS, &arguments),
        trials("xmllint", XmlLint::get, &[&tools::XMLLINT[..], &forms::XMLLINT].concat(), &arguments),
        trials("jq", Jq::get, &[&tools::JQ[..], &json::JQ].concat(), &arguments),
        trials(
            "python",
            Python::get,
            &[&python::PYTHON[..], &json::PYTHON, &forms::PYTHON].concat(),
            &arguments,
        ),
        trials("kunit", Kunit::get, &[&python::KUNIT[..], &forms::KUNIT].concat(), &arguments),
    ];
    let missing = Trial::test("a_missing_reader_is_named", || {
        missing_reader();
        Ok(())
    });
    libtest_mimic::run(&arguments, trials.into_iter().flatten().chain([missing]).collect()).exit_code()
}

/// Runs the checks of a reader where nothing can be fetched.
fn missing_reader() {
    let empty = tempfile::tempdir().unwrap();
    let run = |required: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["xmllint", "--nocapture"])
            .env("PATH", empty.path())
            .env("XDG_CACHE_HOME", empty.path());
        let output = command.env(readers::REQUIRED, required).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let reason = "the reader xmllint cannot be had: the machine has no `apt-get`";
    let (success, text) = run("");
    assert!(success && text.contains(&format!("NOT CHECKED: {reason}")), "{text}");
    assert!(text.contains("0 passed; 0 failed; 3 ignored"), "{text}");
    let (success, text) = run("required");
    assert!(!success && text.contains(reason) && text.contains("0 passed; 3 failed; 0 ignored"), "{text}");
}

/// Returns the checks of a reader, which is fetched if one of them is selected.
fn trials<R: Send + Sync + 'static>(
    reader: &'static str,
    get: fn() -> Result<R, Missing>,
    checks: &[Check<R>],
    arguments: &Arguments,
) -> Vec<Trial> {
    let names = checks.iter().map(|(name, _)| format!("{reader}::{name}"));
    let selected = names.filter(|name| !arguments.list && is_selected(arguments, name)).count();
    let missing = || Err(Missing { reader, why: "no check of it is selected".to_owned() });
    let got = Arc::new(if selected > 0 { get() } else { missing() });
    let ignored = match &*got {
        Err(missing) if selected > 0 && !readers::is_required() => {
            eprintln!("NOT CHECKED: {missing}; {selected} checks are ignored");
            true
        }
        _ => false,
    };
    let trial = |(name, check): &Check<R>| {
        let (check, got) = (*check, got.clone());
        let trial = Trial::test(format!("{reader}::{name}"), move || match &*got {
            Ok(reader) => {
                check(reader);
                Ok(())
            }
            Err(missing) => Err(Failed::from(missing)),
        });
        trial.with_ignored_flag(ignored)
    };
    checks.iter().map(trial).collect()
}

/// Returns true if the arguments of `cargo test` select the check of this name.
fn is_selected(arguments: &Arguments, name: &str) -> bool {
    let fits = |filter: &String| match arguments.exact {
        true => filter == name,
        false => name.contains(filter.as_str()),
    };
    arguments.filter.as_ref().is_none_or(fits) && !arguments.skip.iter().any(fits)
}

/// Returns a file with this text, and its folder.
fn document(name: &str, text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, text).unwrap();
    (folder, file)
}

/// Asserts that a reader refuses its document, and gives this reason.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, readers::Failed>, why: &str) {
    match result {
        Err(error) if error.is_refusal() => assert!(error.to_string().contains(why), "{error}"),
        other => panic!("{other:?} is not a refusal because of {why}"),
    }
}
