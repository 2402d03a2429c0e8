//! Text to reports. Accepted reports lie in git and are edited and merged by people, so nothing about them is taken for granted.

use super::text::{
    BLOCKING, ENVIRONMENT, FINDINGS, GAP, INDENT, IS, NUMBERS, PROMISED, SHAPE, TITLE, VARIABLE, WITNESSES,
};
use super::{REPORT_VERSION, Report};
use std::collections::BTreeMap;

/// Longest report that is read, bytes.
pub const LONGEST: usize = 4 << 20;

/// Why a text is no report. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("a report of {0} bytes; at most {LONGEST} are read")]
    TooLong(usize),
    #[error("line 1: no report begins like this; expected `{TITLE}{REPORT_VERSION}`")]
    NoReport,
    #[error("line 1: report version `{found}`; this s2lab reads version {REPORT_VERSION}")]
    Version { found: String },
    #[error("line 1: expected version, key, verdict and promises, separated by four spaces")]
    Header,
    #[error("line {line}: text before the first section")]
    NoSection { line: usize },
    #[error("line {line}: no section of a report is called `{name}`")]
    UnknownSection { line: usize, name: String },
    #[error("line {line}: expected `blocking NAME = VALUE` or `variable NAME = VALUE`")]
    Fact { line: usize },
    #[error("line {line}: not as s2lab writes it; was the report edited or merged by hand?")]
    NotCanonical { line: usize },
}

impl Report {
    /// Reads what [`Report::text`] wrote; `parse(text(x)) == x`, and whatever is accepted is written again as it was.
    pub fn parse(text: &str) -> Result<Report, ParseError> {
        if text.len() > LONGEST {
            return Err(ParseError::TooLong(text.len()));
        }
        // Nothing that s2lab writes steers a terminal, or looks like what it is not.
        let other = |line: &str| line.bytes().any(|byte| !matches!(byte, b' '..=b'~'));
        if let Some(at) = text.split('\n').position(other) {
            return Err(ParseError::NotCanonical { line: at + 1 });
        }
        let mut lines = text.lines();
        let mut report = header(lines.next().unwrap_or_default())?;
        let mut section = None;
        for (line, text) in lines.enumerate().map(|(i, text)| (i + 2, text)) {
            match (text.strip_prefix(INDENT), section) {
                (None, _) => section = Some(report.section(line, text)?),
                (Some(_), None) => return Err(ParseError::NoSection { line }),
                (Some(text), Some(name)) => report.line(line, name, text)?,
            }
        }
        match first_difference(text, &report.text()) {
            Some(line) => Err(ParseError::NotCanonical { line }),
            None => Ok(report),
        }
    }

    fn section(&self, line: usize, text: &str) -> Result<Section, ParseError> {
        Ok(match text {
            FINDINGS => Section::Findings,
            PROMISED => Section::Promised,
            WITNESSES => Section::Witnesses,
            SHAPE => Section::Shape,
            NUMBERS => Section::Numbers,
            ENVIRONMENT => Section::Environment,
            _ => return Err(ParseError::UnknownSection { line, name: crate::escape::bounded(text, 40) }),
        })
    }

    fn line(&mut self, line: usize, section: Section, text: &str) -> Result<(), ParseError> {
        let lines = match section {
            Section::Findings => &mut self.findings,
            Section::Promised => &mut self.promised,
            Section::Witnesses => &mut self.witnesses,
            Section::Shape => &mut self.shape,
            Section::Numbers => &mut self.numbers,
            Section::Environment => return self.fact(text).ok_or(ParseError::Fact { line }),
        };
        lines.push(text.to_owned());
        Ok(())
    }

    fn fact(&mut self, text: &str) -> Option<()> {
        let (map, fact): (&mut BTreeMap<_, _>, _) = match text.strip_prefix(BLOCKING) {
            Some(fact) => (&mut self.blocking, fact),
            None => (&mut self.variable, text.strip_prefix(VARIABLE)?),
        };
        let (name, value) = fact.split_once(IS)?;
        map.insert(name.to_owned(), value.to_owned());
        Some(())
    }
}

#[derive(Clone, Copy)]
enum Section {
    Findings,
    Promised,
    Witnesses,
    Shape,
    Numbers,
    Environment,
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
    // A key has no space; one that has swallowed the next field.
    if key.is_empty() || key.contains(' ') {
        return Err(ParseError::Header);
    }
    let promises = promises.map(|p| p.split(' ').map(str::to_owned).collect()).unwrap_or_default();
    Ok(Report { key: key.into(), verdict: verdict.into(), promises, ..Report::default() })
}

/// The first line, from 1, in which two texts differ.
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
