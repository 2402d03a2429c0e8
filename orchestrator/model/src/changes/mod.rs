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

use crate::report::{Compared, Report};

pub use groups::{Group, groups};
pub use summary::{CellDiff, CellResult, DiffSummary};

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

/// Returns the changes from `old` to `new`, the worst first. There is none exactly if the parts
/// that compare are equal. Keys and environments are not compared.
pub fn changes(old: &Report, new: &Report) -> Vec<Change> {
    sentences(&Compared::of(old, new))
}

pub(crate) fn sentences(compared: &Compared) -> Vec<Change> {
    if !compared.has_changed() && !compared.has_moved() {
        return vec![];
    }
    let mut all: Vec<Change> = verdict(compared).collect();
    all.extend(promises(compared));
    all.extend(findings::changes(&compared.old.findings, &compared.new.findings));
    all.extend(promised::changes(&compared.old.promised, &compared.new.promised));
    all.extend(witnesses::changes(&compared.old.witnesses, &compared.new.witnesses));
    if compared.same_kernel || compared.has_other_shape() {
        all.extend(shape::changes(compared));
        all.extend(tables::changes(compared));
    }
    if all.is_empty() {
        all.extend(otherwise(compared));
    }
    all.sort();
    all.dedup();
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
