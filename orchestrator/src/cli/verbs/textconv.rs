//! `s2lab textconv`: the part of an accepted report that compares, as the text that git compares.

use crate::cli::{exit, failure::Failure, render::say_bytes};
use clap::Args;
use s2lab_model::{
    escape,
    report::{Report, comparable},
};
use s2lab_os::outside::{self, kinds};
use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The file, as git names it
    file: PathBuf,
}

pub(crate) fn textconv(arguments: &Arguments) -> Result<u8, Failure> {
    let bytes = outside::read_named(&arguments.file, kinds::COMPARED)?;
    let text = match compared_text(&bytes) {
        Some(text) => text.into_bytes(),
        // git wants a text of every version: of one with a conflict, or of an older format.
        None if io::stdout().is_terminal() => escape::plain(&String::from_utf8_lossy(&bytes)).into_bytes(),
        None => bytes,
    };
    say_bytes(&text)?;
    Ok(exit::FINE)
}

/// Returns what compares of a report, or None if it is not one. git may have written its lines with
/// CRLF.
fn compared_text(bytes: &[u8]) -> Option<String> {
    let text = str::from_utf8(bytes).ok()?.replace("\r\n", "\n");
    let report = Report::parse(&text).ok()?;
    Some(comparable(&report).text())
}
