//! The known failures of a night, as issues and incidents: an entry of `known.yaml` is an issue, and
//! its presence in each cell that it is for is an incident.

use super::{ORIGIN, digits, line};
use s2lab_model::{
    night::KnownFailure,
    summary::{CellSummary, RunSummary},
};
use serde_json::{Value, json};

/// Returns the issues, and the incidents of the run with this id. An entry without a cell in the run
/// has none.
pub(super) fn issues(run: &RunSummary, id: &str) -> (Vec<Value>, Vec<Value>) {
    let (mut issues, mut incidents) = (vec![], vec![]);
    for entry in run.night.iter().flat_map(|night| &night.known) {
        let cells = run.cells.iter().filter(|cell| entry.is_for(&cell.key) && cell.verdict.is_some());
        let of_cells: Vec<_> = cells.map(|cell| incident(entry, cell, id)).collect();
        if !of_cells.is_empty() {
            issues.push(issue(entry));
            incidents.extend(of_cells);
        }
    }
    (issues, incidents)
}

/// Returns the id of an entry, which stays when somebody else tolerates it, or for longer.
fn issue_id(KnownFailure { scenario, kernel, reason, .. }: &KnownFailure) -> String {
    format!("{ORIGIN}:{}", digits(&[scenario, kernel, reason]))
}

/// Returns the version of an entry: that with the latest date counts.
fn version(entry: &KnownFailure) -> u64 {
    let digits: String = entry.until.to_string().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

fn issue(entry: &KnownFailure) -> Value {
    json!({
        "id": issue_id(entry),
        "version": version(entry),
        "origin": ORIGIN,
        "report_url": entry.link,
        "culprit": {"code": true, "tool": false, "harness": false},
        "comment": line(Some(&entry.reason)),
        "misc": {
            "scenario": entry.scenario,
            "kernel": entry.kernel,
            "who": line(Some(&entry.who)),
            "until": entry.until.to_string(),
        },
    })
}

fn incident(entry: &KnownFailure, cell: &CellSummary, id: &str) -> Value {
    let issue = issue_id(entry);
    json!({
        "id": format!("{ORIGIN}:{}", digits(&[id, cell.key.as_str(), &issue])),
        "origin": ORIGIN,
        "issue_id": issue,
        "issue_version": version(entry),
        "test_id": super::test_id(id, cell),
        "present": cell.tolerated.as_ref() == Some(entry),
    })
}
