//! The parts of a cell's summary by which two runs of it are compared: its findings and its
//! conditions.

use super::{Facts, fact};
use crate::finding::Finding;
use crate::hash::digest;
use crate::record::environment;
use crate::summary::{CellSummary, KernelSummary, RunSummary};
use std::collections::BTreeSet;

/// The facts that differ from run to run and decide nothing.
const WITHOUT_MEANING: [&str; 4] =
    [environment::FACTOR, environment::ATTEMPTS, environment::SESSION, environment::ORDER];

/// Returns the SHA-256 of a cell's findings. It leaves out evidence and order, so a failure that
/// stays the same has the same digest each night. None: there is no finding.
pub fn finding(cell: &CellSummary) -> Option<String> {
    let line = |finding: &Finding| {
        let Finding { promise, what, expected, found, .. } = finding;
        let promise = promise.map(|promise| promise.to_string());
        serde_json::json!([promise, what, expected, found]).to_string()
    };
    let lines: BTreeSet<_> = cell.findings.iter().map(line).collect();
    (!lines.is_empty()).then(|| digest(lines.into_iter().collect::<Vec<_>>().join("\n").as_bytes()))
}

/// Returns the conditions of a cell: the environment of its report, and the [`fact`]s beside it.
pub fn facts(run: &RunSummary, cell: &CellSummary) -> Facts {
    let environment = cell.environment.blocking.iter().chain(&cell.environment.variable);
    let mut facts: Facts = environment.map(|(name, value)| (name.clone(), value.clone())).collect();
    facts.retain(|name, value| !WITHOUT_MEANING.contains(&name.as_str()) && value != environment::UNKNOWN);
    let KernelSummary { commit, .. } = &cell.kernel;
    let beside = [
        (environment::CELL, Some(&cell.digest)),
        (fact::MACHINE, cell.machine.as_ref()),
        (fact::S2LAB, Some(&run.s2lab)),
        (fact::LAB, run.lab.as_ref()),
        (fact::LAB_COMMIT, run.lab_commit.as_ref()),
        (fact::KERNEL_COMMIT, commit.as_ref()),
        (fact::SERIES, cell.series.as_ref().map(|series| &series.digest)),
    ];
    facts.extend(beside.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.clone()))));
    facts
}
