//! The cells of a run or of a diff, the worst first, and the sentences that sum them up: one for
//! each kind of change.

use super::terminal;
use s2lab_model::{
    changes::{CellDiff, CellResult, Change, DiffSummary, Group, groups},
    plan::Key,
    report::{Difference, Outcome, Standing},
    summary::{CellSummary, RunSummary},
    verdict::Verdict,
};
use std::collections::BTreeMap;

/// The most sentences.
const MOST_SENTENCES: usize = 5;

/// The class of a cell, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The kernel failed.
    Failed,
    /// There is no result about the kernel: the lab failed, the scenario cannot be carried out, or
    /// the run did not come to the cell.
    NoResult,
    /// There is a result, and somebody must look at it: it is not the accepted one, or there is
    /// none to compare with.
    Open,
    /// Nothing is to be done.
    Fine,
}

impl Class {
    pub fn of(cell: &CellSummary) -> Class {
        match &cell.verdict {
            Some(Verdict::Fail | Verdict::Timeout(_) | Verdict::Flaky) => Class::Failed,
            None | Some(Verdict::Miss | Verdict::Lost | Verdict::Error) => Class::NoResult,
            Some(Verdict::Pass { .. } | Verdict::Skip(_)) if is_as_accepted(cell, true) => Class::Fine,
            Some(Verdict::Pass { .. } | Verdict::Skip(_)) => Class::Open,
        }
    }
}

/// Returns true if the accepted report is the same in all that must not differ; `without` if the
/// cell was not compared.
fn is_as_accepted(cell: &CellSummary, without: bool) -> bool {
    cell.standing.as_ref().map_or(without, Standing::is_fine)
}

/// Returns true if the cell failed and its accepted report has the same failure.
pub fn is_known_failure(cell: &CellSummary) -> bool {
    Class::of(cell) == Class::Failed && is_as_accepted(cell, false)
}

/// Returns true if the accepted report is another one.
pub fn has_changed(cell: &CellSummary) -> bool {
    matches!(cell.standing, Some(Standing::Compared(Outcome::Changed { .. })))
}

/// Returns the cells of a run, the worst first: by class, what is new before what is known, then by
/// key.
pub fn worst_first(run: &RunSummary) -> Vec<&CellSummary> {
    let mut cells: Vec<_> = run.cells.iter().collect();
    cells.sort_by_key(|cell| (Class::of(cell), is_as_accepted(cell, false), &cell.key));
    cells
}

/// Returns the changes of a cell against its accepted report.
pub fn changes(cell: &CellSummary) -> &[Change] {
    match &cell.standing {
        Some(Standing::Compared(Outcome::Changed { changes, .. } | Outcome::ShapeMoved { changes, .. })) => {
            changes
        }
        _ => &[],
    }
}

/// A sentence about cells that have something in common: "on 2 cells: WHAT: KEY, KEY".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence<'a> {
    /// The words of s2lab at the beginning.
    pub lead: String,
    /// A text out of a report.
    pub what: Option<String>,
    /// The cells, each with a remark, which may be a text from outside.
    pub cells: Vec<(&'a Key, Option<String>)>,
}

impl<'a> Sentence<'a> {
    /// None without a cell.
    fn plain(lead: String, cells: Vec<(&'a Key, Option<String>)>) -> Option<Self> {
        (!cells.is_empty()).then_some(Self { lead, what: None, cells })
    }

    fn about(lead: String, what: String, keys: Vec<&'a Key>) -> Self {
        Self { lead, what: Some(what), cells: keys.into_iter().map(|key| (key, None)).collect() }
    }
}

/// Returns the number of cells in words.
pub fn cells(n: usize) -> String {
    if n == 1 { "1 cell".into() } else { format!("{n} cells") }
}

/// Returns the sentences about a run, the worst first: failures that are not accepted, changes
/// against accepted reports, failures that are as accepted, and always the cells without a result
/// and those that cannot be compared.
pub fn of_run(run: &RunSummary) -> Vec<Sentence<'_>> {
    of_run_within(run, MOST_SENTENCES)
}

/// Returns at most `most` sentences, see [`of_run`].
pub fn of_run_within(run: &RunSummary, most: usize) -> Vec<Sentence<'_>> {
    let sorted = worst_first(run);
    let changed = sorted.iter().map(|cell| (&cell.key, changes(cell)));
    let mut kinds = failures(&sorted);
    kinds.extend(changed_cells(changed, run.cells.iter().map(|cell| &cell.key)));
    kinds.extend(tolerated(&sorted));
    let known: Vec<_> = sorted.iter().filter(|cell| is_known_failure(cell)).collect();
    let lead = format!("not new: {} as accepted", failing(known.len()));
    kinds.extend(Sentence::plain(lead, known.iter().map(|cell| (&cell.key, None)).collect()));
    let always = [no_result(&sorted), not_comparable(run, &sorted)];
    bounded(kinds, always.into_iter().flatten().collect(), most)
}

/// Returns the sentences about a diff.
pub fn of_diff(diff: &DiffSummary) -> Vec<Sentence<'_>> {
    of_diff_within(diff, MOST_SENTENCES)
}

/// Returns at most `most` sentences, see [`of_diff`].
pub fn of_diff_within(diff: &DiffSummary, most: usize) -> Vec<Sentence<'_>> {
    let differ = diff.cells.iter().map(|cell| match &cell.result {
        CellResult::Differs(changes) => (&cell.new, changes.as_slice()),
        CellResult::Same | CellResult::NotComparable(_) => (&cell.new, &[][..]),
    });
    let kinds = changed_cells(differ, diff.cells.iter().map(|cell| &cell.new));
    let refused = diff.cells.iter().filter_map(|CellDiff { new, result, .. }| match result {
        CellResult::NotComparable(facts) => Some((new, Some(in_words(facts)))),
        CellResult::Same | CellResult::Differs(_) => None,
    });
    let refused: Vec<_> = refused.collect();
    let always = [
        Sentence::plain(format!("not comparable: {}", cells(refused.len())), refused),
        only("missing from the new side", &diff.only_old),
        only("only on the new side", &diff.only_new),
    ];
    bounded(kinds, always.into_iter().flatten().collect(), most)
}

/// The cells that only one side has.
fn only<'a>(lead: &str, keys: &'a [Key]) -> Option<Sentence<'a>> {
    Sentence::plain(format!("{lead}: {}", cells(keys.len())), keys.iter().map(|key| (key, None)).collect())
}

/// Returns at most `most` sentences. Those of `always` are never cut.
fn bounded<'a>(mut kinds: Vec<Sentence<'a>>, always: Vec<Sentence<'a>>, most: usize) -> Vec<Sentence<'a>> {
    let room = most.saturating_sub(always.len());
    if kinds.len() > room {
        let cut = kinds.split_off(room.saturating_sub(1));
        let lead = format!("and {} more kinds of change, see below", cut.len());
        kinds.push(Sentence { lead, what: None, cells: vec![] });
    }
    kinds.extend(always);
    kinds
}

/// Equal changes of several cells, the worst first.
fn changed_cells<'a>(
    cells: impl Iterator<Item = (&'a Key, &'a [Change])>,
    all: impl Iterator<Item = &'a Key>,
) -> Vec<Sentence<'a>> {
    // A group owns its keys; a sentence borrows those of the summary.
    let known: BTreeMap<&str, &Key> = all.map(|key| (key.as_str(), key)).collect();
    let sentence = |Group { change, keys }: Group| {
        let keys: Vec<_> = keys.iter().filter_map(|key| known.get(key.as_str()).copied()).collect();
        Sentence::about(format!("on {}", self::cells(keys.len())), change.what, keys)
    };
    groups(cells).into_iter().map(sentence).collect()
}

/// Failures that no accepted report explains, by the line that names the reason.
fn failures<'a>(sorted: &[&'a CellSummary]) -> Vec<Sentence<'a>> {
    let mut reasons: Vec<(String, &'static str, Vec<&Key>)> = vec![];
    for cell in sorted.iter().filter(|cell| Class::of(cell) == Class::Failed) {
        let Some(verdict) = &cell.verdict else { continue };
        if is_known_failure(cell) || cell.tolerated.is_some() || !changes(cell).is_empty() {
            continue;
        }
        let why = terminal::why(cell).unwrap_or_default();
        match reasons.iter_mut().find(|(known, name, _)| *known == why && *name == verdict.name()) {
            Some((_, _, keys)) => keys.push(&cell.key),
            None => reasons.push((why, verdict.name(), vec![&cell.key])),
        }
    }
    reasons.sort_by_key(|(_, _, keys)| std::cmp::Reverse(keys.len()));
    let sentence = |(why, name, keys): (String, &str, Vec<_>)| {
        Sentence::about(format!("{name} on {}", cells(keys.len())), why, keys)
    };
    reasons.into_iter().map(sentence).collect()
}

/// The failures that entries of `known.yaml` tolerate.
fn tolerated<'a>(sorted: &[&'a CellSummary]) -> Option<Sentence<'a>> {
    let cells = sorted.iter().filter_map(|cell| {
        let known = cell.tolerated.as_ref()?;
        Some((&cell.key, Some(format!("until {} by {}: {}", known.until, known.who, known.reason))))
    });
    let cells: Vec<_> = cells.collect();
    Sentence::plain(format!("tolerated: {}", self::cells(cells.len())), cells)
}

/// The cells without a result about the kernel. They stand apart: the kernel is not to blame.
fn no_result<'a>(sorted: &[&'a CellSummary]) -> Option<Sentence<'a>> {
    let missing = sorted.iter().filter(|cell| Class::of(cell) == Class::NoResult);
    let missing: Vec<_> = missing.map(|cell| (&cell.key, Some(terminal::word(cell).to_owned()))).collect();
    let lead = format!("no result on {}, which says nothing about the kernel", cells(missing.len()));
    Sentence::plain(lead, missing)
}

/// The cells that have a result and cannot be compared, and the accepted reports without a cell.
fn not_comparable<'a>(run: &'a RunSummary, sorted: &[&'a CellSummary]) -> Option<Sentence<'a>> {
    let of_cell = |cell: &&'a CellSummary| match &cell.standing {
        Some(Standing::Compared(Outcome::NotComparable(facts))) => Some((&cell.key, Some(in_words(facts)))),
        Some(Standing::Unreadable { .. }) => {
            Some((&cell.key, Some("the accepted report is unreadable".into())))
        }
        _ => None,
    };
    let orphaned =
        run.orphaned.iter().map(|key| (key, Some("accepted, but the lab has no such cell".into())));
    let all: Vec<_> = sorted.iter().filter_map(of_cell).chain(orphaned).collect();
    Sentence::plain(format!("not comparable with accepted reports: {}", cells(all.len())), all)
}

fn failing(n: usize) -> String {
    if n == 1 { "1 cell fails".into() } else { format!("{n} cells fail") }
}

/// Returns the facts that keep two reports from being compared.
pub fn in_words(facts: &[Difference]) -> String {
    facts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
