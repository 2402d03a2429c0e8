//! The agreement of the cells of one kernel. A kernel with open traits still has some traits, the
//! same in every cell. So a scenario that passes with the series and another that passes without it
//! contradict each other.

use super::JudgedCell;
use crate::finding::{Finding, Subject, Weight};
use crate::kernel::{Trait, Traits};
use crate::verdict::Verdict;
use std::collections::{BTreeMap, BTreeSet};

/// The most cells that a finding names. More are counted.
const MOST_CELLS: usize = 8;

/// Makes cells of a kernel FAIL that pass each by itself, if no set of traits fits all of them.
pub(super) fn hold(cells: &mut [JudgedCell]) {
    let mut kernels: BTreeMap<String, Vec<&mut JudgedCell>> = BTreeMap::new();
    for cell in cells.iter_mut().filter(|cell| is_open(cell)) {
        kernels.entry(cell.planned.kernel.clone()).or_default().push(cell);
    }
    for (kernel, mut cells) in kernels {
        if !agree(&cells) {
            let finding = finding(&kernel, &cells);
            cells.iter_mut().for_each(|cell| contradict(cell, &finding));
        }
    }
}

/// Returns true if the cell passes as an alternative that was not declared.
fn is_open(cell: &JudgedCell) -> bool {
    matches!(cell.verdict, Some(Verdict::Pass { .. }))
        && matches!(cell.planned.resolved.traits, Traits::AtLeast(_))
}

/// Returns the sets of traits that fit a cell that passes.
fn fits(cell: &JudgedCell) -> &[BTreeSet<Trait>] {
    cell.attempts.last().map(|attempt| attempt.judgement.fits.as_slice()).unwrap_or_default()
}

fn agree(cells: &[&mut JudgedCell]) -> bool {
    let mut common: Option<Vec<&BTreeSet<Trait>>> = None;
    for cell in cells {
        let these = fits(cell);
        common = Some(match common {
            None => these.iter().collect(),
            Some(common) => common.into_iter().filter(|set| these.contains(set)).collect(),
        });
    }
    common.is_none_or(|common| !common.is_empty())
}

fn finding(kernel: &str, cells: &[&mut JudgedCell]) -> Finding {
    let says = |cell: &&mut JudgedCell| {
        let label = cell.attempts.last().and_then(|attempt| attempt.judgement.label.as_deref());
        format!("{} as {}", cell.planned.key.scenario(), label.unwrap_or("anything"))
    };
    let more =
        cells.len().checked_sub(MOST_CELLS).filter(|more| *more > 0).map(|more| format!("{more} more"));
    let found: Vec<_> = cells.iter().take(MOST_CELLS).map(says).chain(more).collect();
    let what = format!("alternative that all cells of {kernel} meet");
    let found = format!("none: {}", found.join(", "));
    Finding::new(Weight::Tables, Subject::cell(), what, "exactly one", found)
}

fn contradict(cell: &mut JudgedCell, finding: &Finding) {
    cell.verdict = Some(Verdict::Fail);
    let passed = cell.attempts.iter_mut().map(|attempt| &mut attempt.judgement);
    for judgement in passed.filter(|judgement| matches!(judgement.verdict, Some(Verdict::Pass { .. }))) {
        judgement.verdict = Some(Verdict::Fail);
        judgement.findings.push(finding.clone());
    }
}
