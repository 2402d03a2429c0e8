//! Comparison of an accepted report with a new one.

use super::Report;
use crate::diff;
use crate::lines::{FindingLine, Part, Table, Text, Witness};
use crate::record::environment;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The result of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    pub outcome: Outcome,
    /// The variable facts that differ, which may explain the change.
    pub variables: Vec<Difference>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The report is as accepted.
    Same,
    /// The accepted content, and witnesses that the accepted report does not know. Not an error.
    NewWitness { note: String },
    /// The promised part is as accepted. The shape differs, and so does the kernel. This is no
    /// error.
    ShapeMoved { note: String, diff: String },
    /// The report differs. `diff` is for people: the variables that differ, then a unified diff.
    Changed { diff: String },
    /// The conditions of the two reports differ in these facts.
    NotComparable(Vec<Difference>),
}

/// A fact that differs. None: a report does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub name: String,
    pub accepted: Option<String>,
    pub new: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "(not stated)".into());
        write!(f, "{}: {} -> {}", self.name, side(&self.accepted), side(&self.new))
    }
}

/// Compares part by part: the promised part exactly; witnesses so that one more is fine; shape and
/// tables exactly if both were seen on the same image of the kernel; numbers never; not at all if a
/// blocking fact, or the key, differs.
pub fn compare(accepted: &Report, new: &Report) -> Comparison {
    let variables = differences(&accepted.variable, &new.variable);
    Comparison { outcome: outcome(accepted, new, &variables), variables }
}

fn outcome(accepted: &Report, new: &Report, variables: &[Difference]) -> Outcome {
    let key = (accepted.key != new.key).then(|| Difference {
        name: "key".into(),
        accepted: Some(accepted.key.to_string()),
        new: Some(new.key.to_string()),
    });
    let blocking: Vec<_> = key.into_iter().chain(differences(&accepted.blocking, &new.blocking)).collect();
    if !blocking.is_empty() {
        return Outcome::NotComparable(blocking);
    }
    let image = |report: &Report| fact(report, environment::KERNEL_IMAGE);
    let same_kernel = image(accepted).is_some() && image(accepted) == image(new);
    let is_new = |witness: &Witness| !accepted.witnesses.lines.iter().any(|known| known.name == witness.name);
    let known = Report { witnesses: new.witnesses.only(|witness| !is_new(witness)), ..new.clone() };
    let changed = unified(&compared_text(accepted, same_kernel), &compared_text(&known, same_kernel));
    let new_witnesses = new_witnesses(new.witnesses.lines.iter().filter(|witness| is_new(witness)));
    let shape = unified(&shape_text(accepted), &shape_text(new));
    let moved = (!same_kernel && !shape.is_empty()).then(|| shape_note(accepted, new));
    let notes: Vec<_> = moved.iter().chain(&new_witnesses).cloned().collect();
    match (changed.is_empty(), moved, new_witnesses) {
        (false, ..) => {
            let facts = variables.iter().map(|difference| format!("{difference}\n"));
            let notes = notes.into_iter().map(|note| note + "\n");
            Outcome::Changed { diff: facts.chain(notes).chain([changed]).collect() }
        }
        (true, Some(_), _) => Outcome::ShapeMoved { note: notes.join("; "), diff: shape },
        (true, None, Some(note)) => Outcome::NewWitness { note },
        (true, None, None) => Outcome::Same,
    }
}

fn unified(accepted: &str, new: &str) -> String {
    diff::unified(("accepted", accepted), ("new", new))
}

fn new_witnesses<'a>(witnesses: impl Iterator<Item = &'a Witness>) -> Option<String> {
    let names: Vec<_> = witnesses.map(|witness| witness.name.to_string()).collect();
    match names.as_slice() {
        [] => None,
        [name] => Some(format!("new witness: {name}")),
        names => Some(format!("new witnesses: {}", names.join(", "))),
    }
}

fn fact(report: &Report, name: &str) -> Option<Text> {
    report.variable.get(&Text::new(name)).cloned()
}

fn shape_note(accepted: &Report, new: &Report) -> String {
    let release = |report: &Report| {
        let known = fact(report, environment::KERNEL).or(fact(report, environment::KERNEL_IMAGE));
        known.map_or_else(|| "(unknown kernel)".to_owned(), |text| text.to_string())
    };
    match (release(accepted), release(new)) {
        (old, new) if old == new => format!("shape moved with another image of {new}"),
        (old, new) => format!("shape moved with {old} -> {new}"),
    }
}

/// Returns the parts that must not differ, as text. The blocking facts do not differ here.
fn compared_text(report: &Report, with_shape: bool) -> String {
    let compared = Report { blocking: BTreeMap::new(), ..comparable(report) };
    match with_shape {
        true => compared.text(),
        false => Report { shape: Part::default(), tables: Part::default(), ..compared }.text(),
    }
}

/// Returns the report without all that never compares: evidence, RAM in tables, numbers, and the
/// variable facts.
pub fn comparable(report: &Report) -> Report {
    let Report { key, verdict, promises, promised, witnesses, shape, blocking, .. } = report.clone();
    let findings = report.findings.only(FindingLine::compares);
    let tables = report.tables.only(Table::compares);
    Report { promises, findings, promised, witnesses, shape, tables, blocking, ..Report::empty(key, verdict) }
}

/// The facts that the kernel may choose freely, as text.
fn shape_text(report: &Report) -> String {
    let tables = report.tables.only(Table::compares);
    let shape = report.shape.lines.iter().map(ToString::to_string);
    let further = [&report.shape.further, &tables.further].into_iter().flatten().map(ToString::to_string);
    let lines = shape.chain(tables.lines.iter().map(Table::shape)).chain(further);
    lines.map(|line| line + "\n").collect()
}

fn differences(accepted: &BTreeMap<Text, Text>, new: &BTreeMap<Text, Text>) -> Vec<Difference> {
    let names: BTreeSet<_> = accepted.keys().chain(new.keys()).collect();
    let text = |text: Option<&Text>| text.map(ToString::to_string);
    names
        .into_iter()
        .filter(|name| accepted.get(*name) != new.get(*name))
        .map(|name| Difference {
            name: name.to_string(),
            accepted: text(accepted.get(name)),
            new: text(new.get(name)),
        })
        .collect()
}
