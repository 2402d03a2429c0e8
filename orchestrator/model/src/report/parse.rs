//! Parsing of reports. Accepted reports are in git, where people edit and merge them, so everything
//! is checked.

use super::text::{ENVIRONMENT, FINDINGS, GAP, INDENT, NUMBERS, PROMISED, SHAPE, TABLES, TITLE, WITNESSES};
use super::{LONGEST, REPORT_VERSION, Report};
use crate::lines::{Fact, FactKind, Further, LineError, Part};
use crate::scenario::Promise;
use std::collections::BTreeSet;
use std::str::FromStr;

/// The reason why a text is not a report. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("a report of {0} bytes; at most {LONGEST} are read")]
    TooLong(usize),
    #[error("line 1: no report begins like this; expected `{TITLE}{REPORT_VERSION}`")]
    NoReport,
    #[error(
        "line 1: report version `{found}`; this s2lab reads version {REPORT_VERSION}: run the cell again and accept its report"
    )]
    Version { found: String },
    #[error("line 1: expected version, key, verdict and promises, separated by four spaces")]
    Header,
    #[error("line {line}: text before the first section")]
    NoSection { line: usize },
    #[error("line {line}: no section of a report is called `{name}`")]
    UnknownSection { line: usize, name: String },
    #[error("line {line}: not a line of {section}; {source}")]
    Line { line: usize, section: &'static str, source: LineError },
    #[error("line {line}: not as s2lab writes it; was the report edited or merged by hand?")]
    NotCanonical { line: usize },
}

impl Report {
    /// Parses the output of [`Report::text`]; `parse(text(x)) == x`, and an accepted text is
    /// written again as it was.
    pub fn parse(text: &str) -> Result<Report, ParseError> {
        if text.len() > LONGEST {
            return Err(ParseError::TooLong(text.len()));
        }
        // s2lab writes no text that steers a terminal, or looks like something else.
        let other = |line: &str| line.bytes().any(|byte| !matches!(byte, b' '..=b'~'));
        if let Some(at) = text.split('\n').position(other) {
            return Err(ParseError::NotCanonical { line: at + 1 });
        }
        let mut lines = text.lines();
        let mut report = header(lines.next().unwrap_or_default())?;
        let mut section = None;
        for (line, text) in lines.enumerate().map(|(i, text)| (i + 2, text)) {
            match (text.strip_prefix(INDENT), section) {
                (None, _) => section = Some(named(line, text)?),
                (Some(_), None) => return Err(ParseError::NoSection { line }),
                (Some(text), Some(section)) => {
                    let read = report.line(section, text);
                    read.map_err(|source| ParseError::Line { line, section, source })?;
                }
            }
        }
        match first_difference(text, &report.text()) {
            Some(line) => Err(ParseError::NotCanonical { line }),
            None => Ok(report),
        }
    }

    fn line(&mut self, section: &str, text: &str) -> Result<(), LineError> {
        match section {
            FINDINGS => add(&mut self.findings, text),
            PROMISED => add(&mut self.promised, text),
            WITNESSES => add(&mut self.witnesses, text),
            SHAPE => add(&mut self.shape, text),
            TABLES => add(&mut self.tables, text),
            NUMBERS => add(&mut self.numbers, text),
            _ => {
                let Fact { kind, name, value } = text.parse()?;
                let facts = match kind {
                    FactKind::Blocking => &mut self.blocking,
                    FactKind::Variable => &mut self.variable,
                };
                facts.insert(name, value);
                Ok(())
            }
        }
    }
}

/// Adds a line to its part. What comes after the last line of a part makes the text another one.
fn add<L: FromStr<Err = LineError>>(part: &mut Part<L>, text: &str) -> Result<(), LineError> {
    match text.parse::<Further>() {
        Ok(further) => part.further = Some(further),
        Err(_) => part.lines.push(text.parse()?),
    }
    Ok(())
}

/// The section that begins at a line.
fn named(line: usize, text: &str) -> Result<&'static str, ParseError> {
    let all = [FINDINGS, PROMISED, WITNESSES, SHAPE, TABLES, NUMBERS, ENVIRONMENT];
    let unknown = || ParseError::UnknownSection { line, name: crate::escape::bounded(text, 40) };
    all.into_iter().find(|name| *name == text).ok_or_else(unknown)
}

fn header(line: &str) -> Result<Report, ParseError> {
    let rest = line.strip_prefix(TITLE).ok_or(ParseError::NoReport)?;
    let mut fields = rest.split(GAP);
    let version = fields.next().unwrap_or_default();
    if version != REPORT_VERSION.to_string() {
        return Err(ParseError::Version { found: crate::escape::bounded(version, 40) });
    }
    let (Some(key), Some(verdict), promises, None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(ParseError::Header);
    };
    let read = || {
        let promises = promises.map_or(Some(BTreeSet::new()), read_promises)?;
        Some(Report { promises, ..Report::empty(key.parse().ok()?, verdict.parse().ok()?) })
    };
    read().ok_or(ParseError::Header)
}

fn read_promises(text: &str) -> Option<BTreeSet<Promise>> {
    text.split(' ').map(|promise| Promise::try_from(promise.to_owned()).ok()).collect()
}

/// Returns the first line, from 1, in which two texts differ.
fn first_difference(a: &str, b: &str) -> Option<usize> {
    let (mut left, mut right) = (a.split_inclusive('\n'), b.split_inclusive('\n'));
    for line in 1.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (x, y) if x != y => return Some(line),
            _ => {}
        }
    }
    None
}
