//! s2lab's outputs in their readers: Chromium, xmllint, junitparser, kcidb_io, kunit.py's parser,
//! jq. Each reader also refuses a document that is wrong.
//!
//! A reader that cannot be had is named, and its checks are ignored; with `S2LAB_READERS=required`
//! they fail.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as its tests do")]

mod chromium;

use libtest_mimic::{Arguments, Failed, Trial};
use readers::{Browser, Missing};
use std::{process::ExitCode, sync::Arc};

/// A check that a reader makes: its name, which is a sentence, and itself.
type Check<R> = (&'static str, fn(&R));

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = [trials("chromium", Browser::get, &chromium::CHECKS, &arguments)];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit_code()
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
