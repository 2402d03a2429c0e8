//! `--format` of verbs whose answer is not about a run, and errors as documents.

use crate::cli::{
    failure::Failure,
    render::{has_said, say_bytes},
};
use crate::show::{
    Format,
    answer::{Answer, document},
};
use clap::{
    Args, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use std::ffi::OsStr;

/// The argument of [`AnswerArguments`], whose help a verb with a schema of its own replaces.
pub(crate) const FORMAT: &str = "format";
const HUMAN: &str = "human";
const JSON: &str = "json";

/// The argument that chooses the form of an answer.
#[derive(Debug, Args)]
pub(crate) struct AnswerArguments {
    /// Form of the output: lines for people, or a document of which `s2lab schema answers` prints
    /// the schema
    #[arg(long, default_value = HUMAN)]
    #[arg(value_parser = PossibleValuesParser::new([HUMAN, JSON]).try_map(|name| Format::from_str(&name, false)))]
    format: Format,
}

impl AnswerArguments {
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

/// Prints a document on stdout.
pub(crate) fn answer(answer: &Answer) -> Result<(), Failure> {
    say_bytes(document(answer).as_bytes())
}

/// Prints an error as a document, if the arguments of s2lab want JSON and nothing is printed yet. A
/// failed write is ignored, because the first error is the one to report.
pub(crate) fn error(message: &str, hint: Option<String>, exit: u8) {
    if wants_json(&std::env::args_os().collect::<Vec<_>>()) && !has_said() {
        let _ = answer(&Answer::Error { message: message.to_owned(), hint, exit });
    }
}

/// Returns true if the last `--format` of the arguments is JSON. It is read before clap has
/// accepted the arguments.
fn wants_json(arguments: &[impl AsRef<OsStr>]) -> bool {
    let mut arguments = arguments.iter().map(AsRef::as_ref).take_while(|argument| *argument != "--");
    let mut wants = false;
    while let Some(argument) = arguments.next() {
        if argument == "--format" {
            wants = arguments.next().is_some_and(|value| value == JSON);
        } else if let Some(value) = argument.to_str().and_then(|text| text.strip_prefix("--format=")) {
            wants = value == JSON;
        }
    }
    wants
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_wanted_by_an_argument() {
        let wants = |line: &str| wants_json(&line.split(' ').collect::<Vec<_>>());
        assert!(wants("s2lab list --format json") && wants("s2lab lits --format=json x"));
        assert!(!wants("s2lab list --format human") && !wants("s2lab list json --format"));
        assert!(!wants("s2lab run -- --format json") && !wants("s2lab run --output json=x"));
    }
}
