//! Reports to text.

use super::{REPORT_VERSION, Report};
use std::fmt;

/// First word of every report.
pub(super) const TITLE: &str = "s2lab report ";
/// Between the fields of the first line.
pub(super) const GAP: &str = "    ";
/// Before every line of a section.
pub(super) const INDENT: &str = "  ";
/// Between a fact's name and its value.
pub(super) const IS: &str = " = ";
pub(super) const BLOCKING: &str = "blocking ";
pub(super) const VARIABLE: &str = "variable ";

pub(super) const FINDINGS: &str = "[findings]";
pub(super) const PROMISED: &str = "[promised]";
pub(super) const WITNESSES: &str = "[witnesses]";
pub(super) const SHAPE: &str = "[shape]";
pub(super) const NUMBERS: &str = "[numbers]";
pub(super) const ENVIRONMENT: &str = "[environment]";

impl fmt::Display for Report {
    /// The report's text. The same report has the same text, and no other has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TITLE}{REPORT_VERSION}{GAP}{}{GAP}{}", self.key, self.verdict)?;
        if !self.promises.is_empty() {
            write!(f, "{GAP}{}", self.promises.join(" "))?;
        }
        f.write_str("\n")?;
        if !self.findings.is_empty() {
            section(f, FINDINGS, &self.findings)?;
        }
        section(f, PROMISED, &self.promised)?;
        section(f, WITNESSES, &self.witnesses)?;
        section(f, SHAPE, &self.shape)?;
        section(f, NUMBERS, &self.numbers)?;
        section(f, ENVIRONMENT, &self.environment())
    }
}

fn section(f: &mut fmt::Formatter<'_>, name: &str, lines: &[String]) -> fmt::Result {
    writeln!(f, "{name}")?;
    lines.iter().try_for_each(|line| writeln!(f, "{INDENT}{line}"))
}

impl Report {
    pub fn text(&self) -> String {
        self.to_string()
    }

    fn environment(&self) -> Vec<String> {
        let facts = [(BLOCKING, &self.blocking), (VARIABLE, &self.variable)];
        facts
            .into_iter()
            .flat_map(|(kind, map)| map.iter().map(move |(name, value)| format!("{kind}{name}{IS}{value}")))
            .collect()
    }
}
