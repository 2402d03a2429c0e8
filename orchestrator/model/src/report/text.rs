//! Conversion of reports to text.

use super::{REPORT_VERSION, Report};
use crate::lines::{Fact, FactKind, Part, Text};
use std::{collections::BTreeMap, fmt};

/// The first word of every report.
pub(super) const TITLE: &str = "s2lab report ";
/// The gap between the fields of the first line.
pub(super) const GAP: &str = "    ";
/// The indentation of every line of a section.
pub(super) const INDENT: &str = "  ";

pub(super) const FINDINGS: &str = "[findings]";
pub(super) const PROMISED: &str = "[promised]";
pub(super) const WITNESSES: &str = "[witnesses]";
pub(super) const SHAPE: &str = "[shape]";
pub(super) const TABLES: &str = "[tables]";
pub(super) const NUMBERS: &str = "[numbers]";
pub(super) const ENVIRONMENT: &str = "[environment]";

impl fmt::Display for Report {
    /// Writes the report's text. The same report has the same text, and no other has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TITLE}{REPORT_VERSION}{GAP}{}{GAP}{}", self.key, self.verdict)?;
        if !self.promises.is_empty() {
            let promises: Vec<_> = self.promises.iter().map(ToString::to_string).collect();
            write!(f, "{GAP}{}", promises.join(" "))?;
        }
        f.write_str("\n")?;
        if !self.findings.is_empty() {
            section(f, FINDINGS, &self.findings)?;
        }
        section(f, PROMISED, &self.promised)?;
        section(f, WITNESSES, &self.witnesses)?;
        section(f, SHAPE, &self.shape)?;
        section(f, TABLES, &self.tables)?;
        section(f, NUMBERS, &self.numbers)?;
        writeln!(f, "{ENVIRONMENT}")?;
        facts(f, FactKind::Blocking, &self.blocking)?;
        facts(f, FactKind::Variable, &self.variable)
    }
}

fn section<L: fmt::Display>(f: &mut fmt::Formatter<'_>, name: &str, part: &Part<L>) -> fmt::Result {
    writeln!(f, "{name}")?;
    part.lines.iter().try_for_each(|line| writeln!(f, "{INDENT}{line}"))?;
    part.further.iter().try_for_each(|line| writeln!(f, "{INDENT}{line}"))
}

fn facts(f: &mut fmt::Formatter<'_>, kind: FactKind, facts: &BTreeMap<Text, Text>) -> fmt::Result {
    facts.iter().try_for_each(|(name, value)| {
        let fact = Fact { kind, name: name.clone(), value: value.clone() };
        writeln!(f, "{INDENT}{fact}")
    })
}

impl Report {
    pub fn text(&self) -> String {
        self.to_string()
    }
}
