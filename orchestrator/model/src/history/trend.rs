//! The trend of one cell.

use super::{Class, PastCell};
use crate::verdict::Verdict;
use std::sync::Arc;

/// The trend of one cell over runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trend<'a> {
    /// The newest run of the cell.
    pub last: &'a PastCell,
    /// The newest run in which it passed.
    pub last_good: Option<&'a PastCell>,
    /// The oldest bad run after the last good one. None: the newest verdict about the kernel is
    /// good, or there is none.
    pub first_bad: Option<&'a PastCell>,
    pub flaky: Rate,
    /// The facts that differ between the last good run and the first bad one.
    pub changed: Vec<FactChange<'a>>,
}

/// The share of flaky runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// The runs that are FLAKY, or whose result differs from the one before under the same
    /// conditions.
    pub flaky: usize,
    /// The runs with a verdict about the kernel.
    pub judged: usize,
}

impl Rate {
    /// Returns the percentage, rounded up, so that 0 means never.
    pub fn percent(self) -> usize {
        (self.flaky * 100).div_ceil(self.judged.max(1))
    }
}

/// A fact with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactChange<'a> {
    pub name: &'a str,
    pub from: &'a str,
    pub to: &'a str,
}

impl<'a> Trend<'a> {
    /// Returns the trend of one cell, whose runs are in order, the oldest first. None: there is no
    /// run.
    pub fn of(cells: &'a [PastCell]) -> Option<Self> {
        let last = cells.last()?;
        let good = cells.iter().rposition(|cell| cell.class() == Class::Good);
        let after = &cells[good.map_or(0, |at| at + 1)..];
        let first_bad = after.iter().find(|cell| cell.class() == Class::Bad);
        let last_good = good.map(|at| &cells[at]);
        let changed = match (last_good, first_bad) {
            (Some(good), Some(bad)) => changed(good, bad),
            _ => vec![],
        };
        Some(Self { last, last_good, first_bad, flaky: rate(cells), changed })
    }
}

/// Returns the facts that both cells have, with different values.
fn changed<'a>(before: &'a PastCell, after: &'a PastCell) -> Vec<FactChange<'a>> {
    let differs = |(name, from): (&'a String, &'a String)| {
        let to = after.facts.get(name).filter(|to| *to != from)?;
        Some(FactChange { name, from, to })
    };
    before.facts.iter().filter_map(differs).collect()
}

/// Counts the flaky runs. A FLAKY run counts itself, and is not compared with its neighbours.
fn rate(cells: &[PastCell]) -> Rate {
    let judged = || cells.iter().filter(|cell| cell.class() != Class::Neither);
    let is_flaky = |cell: &&PastCell| cell.verdict == Some(Verdict::Flaky);
    let steady: Vec<_> = judged().filter(|cell| !is_flaky(cell)).collect();
    let turned = steady.windows(2).filter(|pair| match pair {
        [before, after] => before.class() != after.class() && is_alike(before, after),
        _ => false,
    });
    Rate { flaky: judged().filter(is_flaky).count() + turned.count(), judged: judged().count() }
}

/// Returns true if the conditions are the same.
fn is_alike(one: &PastCell, other: &PastCell) -> bool {
    Arc::ptr_eq(&one.facts, &other.facts) || one.facts == other.facts
}

/// The time since which a result stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand<'a> {
    /// The oldest run with this result in a row. It is the newest run itself if the result is new.
    pub since: &'a PastCell,
    /// The runs with this result, from that one to the newest.
    pub runs: usize,
}

impl Stand<'_> {
    /// Returns true if only the newest run has the result.
    pub fn is_new(&self) -> bool {
        self.runs == 1
    }
}

/// Returns since when the newest result of a cell stands: the same verdict with the same findings.
/// The runs are in order, the oldest first. Runs that did not judge the cell do not interrupt it,
/// and neither do failures of the lab, unless the newest result is one. None: there is no run, or
/// the newest has no verdict.
pub fn stand(cells: &[PastCell]) -> Option<Stand<'_>> {
    let last = cells.last()?;
    let name = last.verdict.as_ref()?.name();
    let is_same = |cell: &PastCell| {
        let verdict = cell.verdict.as_ref().map(Verdict::name);
        (verdict, &cell.finding) == (Some(name), &last.finding)
    };
    let is_passed_over = |cell: &PastCell| match &cell.verdict {
        None => true,
        Some(verdict) => is_of_the_lab(verdict) && last.verdict.as_ref().is_none_or(|v| !is_of_the_lab(v)),
    };
    let streak = cells.iter().rev().take_while(|cell| is_same(cell) || is_passed_over(cell));
    let same: Vec<_> = streak.filter(|cell| is_same(cell)).collect();
    Some(Stand { since: same.last()?, runs: same.len() })
}

fn is_of_the_lab(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Miss | Verdict::Lost | Verdict::Error)
}
