//! Comparison of an accepted report with a new one. The rules of what compares, and when, are here
//! alone; [`crate::changes`] says in words what differs.

use super::Report;
use crate::changes::{Change, sentences};
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
    ShapeMoved { note: String, diff: String, changes: Vec<Change> },
    /// The report differs. `diff` is for people: the variables that differ, then a unified diff.
    Changed { diff: String, changes: Vec<Change> },
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
    let variables = variables(accepted, new);
    Comparison { outcome: outcome(accepted, new, &variables), variables }
}

fn outcome(accepted: &Report, new: &Report, variables: &[Difference]) -> Outcome {
    let key = (accepted.key != new.key).then(|| Difference {
        name: "key".into(),
        accepted: Some(accepted.key.to_string()),
        new: Some(new.key.to_string()),
    });
    let blocking: Vec<_> = key.into_iter().chain(conditions(accepted, new)).collect();
    if !blocking.is_empty() {
        return Outcome::NotComparable(blocking);
    }
    let compared = Compared::of(accepted, new);
    let (has_changed, has_moved) = (compared.has_changed(), compared.has_moved());
    let moved = has_moved.then(|| shape_note(accepted, new));
    let new_witnesses = new_witnesses(new.witnesses.lines.iter().filter(|witness| is_new(accepted, witness)));
    let notes: Vec<_> = moved.iter().chain(&new_witnesses).cloned().collect();
    match (has_changed, has_moved, new_witnesses) {
        (true, ..) => {
            let facts = variables.iter().map(|difference| format!("{difference}\n"));
            let notes = notes.into_iter().map(|note| note + "\n");
            let diff = facts.chain(notes).chain([compared.text_diff()]).collect();
            Outcome::Changed { diff, changes: sentences(&compared) }
        }
        (false, true, _) => {
            let (diff, changes) = (compared.shape_diff(), sentences(&compared));
            Outcome::ShapeMoved { note: notes.join("; "), diff, changes }
        }
        (false, false, Some(note)) => Outcome::NewWitness { note },
        (false, false, None) => Outcome::Same,
    }
}

/// Returns the variable facts that differ. They never compare, but may explain a change.
pub(crate) fn variables(old: &Report, new: &Report) -> Vec<Difference> {
    differences(&old.variable, &new.variable)
}

/// Returns the blocking facts that differ. The declared traits of two kernels may differ: the cell
/// is the same without them.
pub(crate) fn conditions(old: &Report, new: &Report) -> Vec<Difference> {
    let mut facts = differences(&old.blocking, &new.blocking);
    if old.key.kernel() != new.key.kernel() {
        facts.retain(|fact| fact.name != environment::TRAITS);
    }
    facts
}

/// Two reports without what never compares.
pub(crate) struct Compared {
    pub(crate) old: Report,
    pub(crate) new: Report,
    /// Both were seen on the same image of the kernel: shape and tables compare exactly. Otherwise
    /// their difference is a moved shape, and attributes of leaves are compared as promised alone.
    pub(crate) same_kernel: bool,
}

impl Compared {
    pub(crate) fn of(old: &Report, new: &Report) -> Self {
        let image = |report: &Report| fact(report, environment::KERNEL_IMAGE);
        let same_kernel = image(old).is_some() && image(old) == image(new);
        let known = new.witnesses.only(|witness| !is_new(old, witness));
        let of = |report| Report { blocking: BTreeMap::new(), ..comparable(report) };
        Compared { old: of(old), new: Report { witnesses: known, ..of(new) }, same_kernel }
    }

    /// Returns true if anything differs that must not. The keys are not compared.
    pub(crate) fn has_changed(&self) -> bool {
        let Compared { old, new, same_kernel } = self;
        old.verdict != new.verdict
            || old.promises != new.promises
            || old.findings != new.findings
            || old.promised != new.promised
            || old.witnesses != new.witnesses
            || *same_kernel && (old.shape != new.shape || old.tables != new.tables)
    }

    /// Returns true if the shape differs, and so does the kernel.
    pub(crate) fn has_moved(&self) -> bool {
        !self.same_kernel && self.has_other_shape()
    }

    /// Returns true if what the kernel may choose freely differs.
    pub(crate) fn has_other_shape(&self) -> bool {
        let Compared { old, new, .. } = self;
        let equal = old.shape == new.shape && old.tables == new.tables;
        !equal && shape_text(old) != shape_text(new)
    }

    /// Returns the unified diff of what must not differ.
    fn text_diff(&self) -> String {
        let Compared { old, new, same_kernel } = self;
        unified(&changing_text(old, *same_kernel), &changing_text(new, *same_kernel))
    }

    fn shape_diff(&self) -> String {
        unified(&shape_text(&self.old), &shape_text(&self.new))
    }
}

fn is_new(accepted: &Report, witness: &Witness) -> bool {
    !accepted.witnesses.lines.iter().any(|known| known.name == witness.name)
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

/// Returns the parts that must not differ, as text.
fn changing_text(report: &Report, with_shape: bool) -> String {
    match with_shape {
        true => report.text(),
        false => Report { shape: Part::default(), tables: Part::default(), ..report.clone() }.text(),
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
    let tables = &report.tables;
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
