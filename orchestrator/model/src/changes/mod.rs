//! Differences of meaning between two reports of a cell, in sentences. The rules of what compares
//! are in [`crate::report`]; here are the words.
//!
//! A sentence has no kernel and no key, so equal changes of several cells are equal.

mod findings;
mod groups;
mod intervals;
mod promised;
mod regions;
mod shape;
mod statements;
mod summary;
mod tables;
#[cfg(test)]
mod tests;
mod witnesses;
mod words;

use crate::hash::digest;
use crate::lines::{Further, Part};
use crate::report::{Compared, Report};
use std::fmt::Display;

/// The most changes of a report.
const MOST_CHANGES: usize = 500;
/// The most lines of a part, on both sides together, that are compared one by one.
const MOST_LINES: usize = 20_000;

pub use groups::{Group, groups};
pub use summary::{CellDiff, CellResult, DiffSummary, Reports, Side};

/// A difference of meaning between two reports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Change {
    pub kind: ChangeKind,
    /// A sentence of visible ASCII: `nic: Normal-NC became Device-nGnRE`.
    pub what: String,
}

/// The kind of a change, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    Verdict,
    /// A finding of the lab.
    Lab,
    /// A finding of the kernel.
    Kernel,
    Promised,
    Witness,
    /// The kernel may choose it freely.
    Shape,
}

impl ChangeKind {
    pub const ALL: [ChangeKind; 6] = [
        ChangeKind::Verdict,
        ChangeKind::Lab,
        ChangeKind::Kernel,
        ChangeKind::Promised,
        ChangeKind::Witness,
        ChangeKind::Shape,
    ];

    /// The word for programs.
    pub fn name(self) -> &'static str {
        match self {
            ChangeKind::Verdict => "verdict",
            ChangeKind::Lab => "lab",
            ChangeKind::Kernel => "kernel",
            ChangeKind::Promised => "promised",
            ChangeKind::Witness => "witness",
            ChangeKind::Shape => "shape",
        }
    }

    /// The heading for people.
    pub fn title(self) -> &'static str {
        match self {
            ChangeKind::Verdict => "verdicts",
            ChangeKind::Lab => "findings of the lab",
            ChangeKind::Kernel => "findings of the kernel",
            ChangeKind::Promised => "promised",
            ChangeKind::Witness => "witnesses",
            ChangeKind::Shape => "shape",
        }
    }
}

/// Returns the changes from `old` to `new`, the worst first. There is none exactly if the parts
/// that compare are equal. Keys and environments are not compared.
pub fn changes(old: &Report, new: &Report) -> Vec<Change> {
    sentences(&Compared::of(old, new))
}

pub(crate) fn sentences(compared: &Compared) -> Vec<Change> {
    if !compared.has_changed() && !compared.has_moved() {
        return vec![];
    }
    let Compared { old, new, .. } = compared;
    let mut all: Vec<Change> = verdict(compared).collect();
    all.extend(promises(compared));
    all.extend(of_part((ChangeKind::Kernel, "[findings]"), &old.findings, &new.findings, findings::changes));
    all.extend(of_part(
        (ChangeKind::Promised, "[promised]"),
        &old.promised,
        &new.promised,
        promised::changes,
    ));
    all.extend(of_part(
        (ChangeKind::Witness, "[witnesses]"),
        &old.witnesses,
        &new.witnesses,
        witnesses::changes,
    ));
    if compared.same_kernel || compared.has_other_shape() {
        all.extend(of_part((ChangeKind::Shape, "[shape]"), &old.shape, &new.shape, |_, _| {
            shape::changes(compared)
        }));
        all.extend(of_part((ChangeKind::Shape, "[tables]"), &old.tables, &new.tables, |_, _| {
            tables::changes(compared)
        }));
    }
    if all.is_empty() {
        all.extend(otherwise(compared));
    }
    all.sort();
    all.dedup();
    bounded(all)
}

/// Returns the changes of a part by `words`. A part of far more lines than a real one has is one
/// change.
fn of_part<L: Display + PartialEq>(
    (kind, name): (ChangeKind, &str),
    old: &Part<L>,
    new: &Part<L>,
    words: impl FnOnce(&Part<L>, &Part<L>) -> Vec<Change>,
) -> Vec<Change> {
    let (before, now) = (old.lines.len(), new.lines.len());
    if old == new || before + now <= MOST_LINES {
        return words(old, new);
    }
    let texts = [old, new].map(|part| {
        let lines: String = part.lines.iter().map(|line| format!("{line}\n")).collect();
        lines + &part.further.as_ref().map(ToString::to_string).unwrap_or_default()
    });
    let digest = digest(texts.join("\n\n").as_bytes());
    vec![change(kind, format!("the lines of {name} differ: {before} became {now}, sha256 {digest}"))]
}

/// Returns the first changes. The others are counted, and compare by their digest.
fn bounded(mut all: Vec<Change>) -> Vec<Change> {
    if all.len() > MOST_CHANGES {
        let rest = all.split_off(MOST_CHANGES);
        let kind = rest[0].kind;
        let rest: Vec<_> = rest.into_iter().map(|Change { what, .. }| what).collect();
        all.push(change(kind, Further::of(&rest).to_string()));
        all.sort();
    }
    all
}

/// Returns a sentence for each part that differs in what has no words of its own.
fn otherwise(compared: &Compared) -> impl Iterator<Item = Change> {
    let Compared { old, new, .. } = compared;
    let of_shape = compared.same_kernel || compared.has_other_shape();
    let parts = [
        (old.findings != new.findings, ChangeKind::Kernel, "the lines of [findings] differ"),
        (old.promised != new.promised, ChangeKind::Promised, "the lines of [promised] differ"),
        (old.witnesses != new.witnesses, ChangeKind::Witness, "the lines of [witnesses] differ"),
        (of_shape && old.shape != new.shape, ChangeKind::Shape, "the lines of [shape] differ (shape)"),
        (of_shape && old.tables != new.tables, ChangeKind::Shape, "the lines of [tables] differ (shape)"),
    ];
    parts.into_iter().filter(|(differ, ..)| *differ).map(|(_, kind, what)| change(kind, what))
}

fn change(kind: ChangeKind, what: impl Into<String>) -> Change {
    Change { kind, what: what.into() }
}

fn verdict(compared: &Compared) -> impl Iterator<Item = Change> {
    let Compared { old: Report { verdict: old, .. }, new: Report { verdict: new, .. }, .. } = compared;
    (old != new).then(|| change(ChangeKind::Verdict, format!("verdict: {old} became {new}"))).into_iter()
}

fn promises(compared: &Compared) -> impl Iterator<Item = Change> {
    let (old, new) = (&compared.old.promises, &compared.new.promises);
    let gone = old.difference(new).map(|promise| format!("{promise} is no longer checked"));
    let added = new.difference(old).map(|promise| format!("{promise} is checked now"));
    gone.chain(added).map(|what| change(ChangeKind::Promised, what)).collect::<Vec<_>>().into_iter()
}
