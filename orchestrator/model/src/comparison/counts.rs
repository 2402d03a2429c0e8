//! Counts of two kernels: exact numbers, of which any difference is one.

use crate::judge::JudgedAttempt;
use crate::lines::{Shape, Word};
use crate::steps::CountLine;
use std::collections::BTreeMap;

/// The counts of a step that differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferentCount {
    /// From 0, in the scenario's order.
    pub step: usize,
    pub device: String,
    /// None: the kernel has no counts of the step.
    pub first: Option<String>,
    pub second: Option<String>,
}

/// Returns the number of steps that have counts in both, and those that differ.
pub(super) fn compare(first: &JudgedAttempt, second: &JudgedAttempt) -> (usize, Vec<DifferentCount>) {
    let (first, second) = (lines(first), lines(second));
    let both = first.keys().filter(|of| second.contains_key(*of)).count();
    let mut all: Vec<_> = first.keys().chain(second.keys()).collect();
    all.sort_unstable();
    all.dedup();
    let differs = |of: &&(usize, Word)| first.get(of) != second.get(of);
    let different = |of: &(usize, Word)| DifferentCount {
        step: of.0,
        device: of.1.to_string(),
        first: first.get(of).cloned(),
        second: second.get(of).cloned(),
    };
    (both, all.into_iter().filter(differs).map(different).collect())
}

/// Returns the counts of an attempt by step and device.
fn lines(attempt: &JudgedAttempt) -> BTreeMap<(usize, Word), String> {
    let lines = attempt.account.shape.lines.iter().filter_map(|line| match line {
        Shape::Count(CountLine { step, device, values }) => {
            Some(((*step, device.clone()), values.to_string()))
        }
        _ => None,
    });
    lines.collect()
}
