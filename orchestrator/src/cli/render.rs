//! Output to stdout and stderr. Errors are rendered here, once.

use super::failure::Failure;
use crate::lab::LabError;
use s2lab_model::escape::plain;
use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};

impl Failure {
    /// Returns the text of a failure. A mistake in a file has its own place.
    pub(crate) fn text(&self) -> String {
        match self {
            Failure::Lab(LabError::Mistakes(mistakes)) => mistakes.to_string(),
            Failure::Coded { failure, .. } => failure.text(),
            failure => format!("error: {failure}"),
        }
    }
}

/// Prints a failure on stderr, with its hint.
pub(crate) fn failure(failure: &Failure) {
    complain(failure.text().trim_end());
    if let Some(hint) = failure.hint() {
        complain(&format!("  hint: {hint}"));
    }
}

/// Takes the results of acts that do not depend on each other.
///
/// # Errors
/// The last error. Those before it are printed.
pub(crate) fn all(done: impl IntoIterator<Item = Result<(), Failure>>) -> Result<(), Failure> {
    let mut last = None;
    for error in done.into_iter().filter_map(Result::err) {
        if let Some(before) = last.replace(error) {
            failure(&before);
        }
    }
    last.map_or(Ok(()), Err)
}

/// Prints a line on stderr, which may quote a file. A failed write is ignored.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(line));
}

/// Prints a line on stdout. A reader that ends early (`s2lab list | head`) is no error, and does
/// not change the exit code.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    say_bytes(format!("{text}\n").as_bytes())
}

/// True if anything was printed on stdout by [`say_bytes`].
static SAID: AtomicBool = AtomicBool::new(false);

pub(crate) fn has_said() -> bool {
    SAID.load(Ordering::Relaxed)
}

/// Prints bytes on stdout like [`say`].
pub(crate) fn say_bytes(bytes: &[u8]) -> Result<(), Failure> {
    SAID.store(true, Ordering::Relaxed);
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Failure::io("stdout")),
    }
}
