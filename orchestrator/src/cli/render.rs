//! What goes to stdout and stderr. Errors are rendered here, once.

use super::failure::Failure;
use crate::lab::LabError;
use s2lab_model::escape::plain;
use std::io::{self, Write};

impl Failure {
    /// What is told of it. A mistake in a file says of itself where it is.
    fn text(&self) -> String {
        match self {
            Failure::Lab(LabError::Mistakes(mistakes)) => mistakes.to_string(),
            Failure::Coded { failure, .. } => failure.text(),
            failure => format!("error: {failure}"),
        }
    }
}

/// Prints a failure on stderr, with a hint what to do.
pub(crate) fn failure(failure: &Failure) {
    complain(failure.text().trim_end());
    if let Some(hint) = failure.hint() {
        complain(&format!("  hint: {hint}"));
    }
}

/// A line on stderr; it may quote a file. If even that cannot be written there is nobody to tell.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(line));
}

/// A line on stdout. A reader that has gone away (`s2lab list | head`) is no error, and does not change what is exited with.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    say_bytes(format!("{text}\n").as_bytes())
}

/// The same for what is more than a line.
pub(crate) fn say_bytes(bytes: &[u8]) -> Result<(), Failure> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Failure::io("stdout")),
    }
}
