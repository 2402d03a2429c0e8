//! An accepted report against a new one.

use super::{DETAIL, Report};
use crate::{diff, record::environment};
use std::{collections::BTreeMap, fmt};

/// What became of an accepted report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    pub outcome: Outcome,
    /// Variable facts that differ: what the change may come from.
    pub variables: Vec<Difference>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As accepted.
    Same,
    /// The promised part is as accepted; the shape is not, but neither is the kernel. Not an error.
    ShapeMoved { note: String, diff: String },
    /// Not as accepted. `diff` is for people: the variables that differ, then a unified diff.
    Changed { diff: String },
    /// The two were made under conditions that differ in these facts.
    NotComparable(Vec<Difference>),
}

/// A fact that differs; `None` where a report does not state it.
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

/// Compares part by part: the promised part exactly; the shape exactly if both were seen on the same image of the kernel;
/// numbers never; not at all if a blocking fact, or the key, differs.
pub fn compare(accepted: &Report, new: &Report) -> Comparison {
    let variables = differences(&accepted.variable, &new.variable);
    Comparison { outcome: outcome(accepted, new, &variables), variables }
}

fn outcome(accepted: &Report, new: &Report, variables: &[Difference]) -> Outcome {
    let key = (accepted.key != new.key).then(|| Difference {
        name: "key".into(),
        accepted: Some(accepted.key.clone()),
        new: Some(new.key.clone()),
    });
    let blocking: Vec<_> = key.into_iter().chain(differences(&accepted.blocking, &new.blocking)).collect();
    if !blocking.is_empty() {
        return Outcome::NotComparable(blocking);
    }
    let image = |report: &Report| report.variable.get(environment::KERNEL_IMAGE).cloned();
    let same_kernel = image(accepted).is_some() && image(accepted) == image(new);
    let text = |report| compared_text(report, same_kernel);
    let changed = diff::unified(("accepted", &text(accepted)), ("new", &text(new)));
    let note = (!same_kernel && accepted.shape != new.shape).then(|| shape_note(accepted, new));
    if !changed.is_empty() {
        let facts = variables.iter().map(|difference| format!("{difference}\n"));
        let note = note.map(|note| note + "\n");
        return Outcome::Changed { diff: facts.chain(note).chain([changed]).collect() };
    }
    match note {
        Some(note) => {
            let (old, new) = (lines(&accepted.shape), lines(&new.shape));
            Outcome::ShapeMoved { note, diff: diff::unified(("accepted", &old), ("new", &new)) }
        }
        None => Outcome::Same,
    }
}

fn shape_note(accepted: &Report, new: &Report) -> String {
    let release = |report: &Report| {
        let fact = |name| report.variable.get(name).map(String::as_str);
        fact(environment::KERNEL).or(fact(environment::KERNEL_IMAGE)).unwrap_or("(unknown kernel)").to_owned()
    };
    match (release(accepted), release(new)) {
        (old, new) if old == new => format!("shape moved with another image of {new}"),
        (old, new) => format!("shape moved with {old} -> {new}"),
    }
}

/// The parts that must not differ, as text.
fn compared_text(report: &Report, with_shape: bool) -> String {
    let compared = Report {
        findings: report.findings.iter().filter(|line| !line.starts_with(DETAIL)).cloned().collect(),
        shape: if with_shape { report.shape.clone() } else { vec![] },
        numbers: vec![],
        blocking: BTreeMap::new(),
        variable: BTreeMap::new(),
        ..report.clone()
    };
    compared.text()
}

fn differences(accepted: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Difference> {
    let mut names: Vec<_> = accepted.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| accepted.get(*name) != new.get(*name))
        .map(|name| Difference {
            name: name.clone(),
            accepted: accepted.get(name).cloned(),
            new: new.get(name).cloned(),
        })
        .collect()
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}
