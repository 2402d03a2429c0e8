//! The past of cells over many runs, as a history keeps it, and what follows from it: last good,
//! first bad, the flaky rate, what else changed, and the time that a cell is expected to take.

mod fingerprint;
mod trend;

pub use fingerprint::{facts, finding};
pub use trend::{FactChange, Rate, Stand, Trend, stand};

use crate::plan::Key;
use crate::statistics::summary;
use crate::summary::CellSummary;
use crate::verdict::Verdict;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The names of facts that are not in a report's environment.
pub mod fact {
    /// The kind of the machine, see [`crate::event::Event::Machine`].
    pub const MACHINE: &str = "machine";
    /// The version of s2lab with its commit.
    pub const S2LAB: &str = "s2lab";
    /// The lab folder.
    pub const LAB: &str = "lab folder";
    /// The commit of the lab folder's repository.
    pub const LAB_COMMIT: &str = "lab commit";
    /// The commit that a kernel of the command line is built from.
    pub const KERNEL_COMMIT: &str = "kernel commit";
    /// The digest of the patches that `--series` applied.
    pub const SERIES: &str = "series";
}

/// Facts by name.
pub type Facts = BTreeMap<String, String>;

/// A run of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRun {
    /// The number in the history.
    pub id: i64,
    /// The name of its folder.
    pub name: String,
    pub folder: PathBuf,
    /// The lab folder; None: its log does not name one.
    pub lab: Option<String>,
    /// The time at which it began, by RFC 3339.
    pub started: String,
    /// The same in nanoseconds since 1970, for sorting.
    pub began: i64,
    /// The version of s2lab that carried it out.
    pub s2lab: String,
    /// The time from its begin to the end of its last attempt.
    pub elapsed_ms: Option<u64>,
    pub ending: RunEnding,
    /// The exit code.
    pub exit: u8,
    /// The judgement of `nightly`: the night was good. None: the run was no night.
    pub night: Option<bool>,
    /// The number of its cells.
    pub cells: u64,
}

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum RunEnding {
    Ended,
    /// A signal ended it early.
    Interrupted,
    /// Its log stops before its end: the run is LOST.
    Lost,
}

/// The end of a cell, for a count of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellEnding {
    /// None: interrupted, or not run.
    pub verdict: Option<Verdict>,
    /// The run did not come to it.
    pub not_run: bool,
    /// A known failure tolerates the verdict.
    pub tolerated: bool,
}

impl CellEnding {
    pub fn of(cell: &CellSummary) -> Self {
        let CellSummary { verdict, not_run, tolerated, .. } = cell;
        Self { verdict: verdict.clone(), not_run: not_run.is_some(), tolerated: tolerated.is_some() }
    }
}

/// A cell of a past run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastCell {
    pub run: Arc<PastRun>,
    pub key: Key,
    /// None: the run was interrupted before the cell was judged, or did not come to it.
    pub verdict: Option<Verdict>,
    /// The reason why the run did not come to it.
    pub not_run: Option<String>,
    /// The number of attempts.
    pub attempts: u64,
    /// The last attempt came to its end.
    pub complete: bool,
    /// The time of the last attempt.
    pub elapsed_ms: Option<u64>,
    /// The time of its host's boot.
    pub boot_ms: Option<u64>,
    /// The digest of the report.
    pub report: Option<String>,
    /// The standing against the accepted report, by [`crate::report::Standing::word`]. None: nobody
    /// compared it.
    pub standing: Option<String>,
    /// The digest of the findings without their evidence, see [`finding`]. None: there is none.
    pub finding: Option<String>,
    /// The finding that leads, as a line.
    pub lead: Option<String>,
    /// The conditions, see [`facts`].
    pub facts: Arc<Facts>,
}

/// The meaning of a verdict for a trend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The cell passed.
    Good,
    /// The verdict is one about the kernel: FAIL, TIMEOUT or FLAKY.
    Bad,
    /// There is no verdict, or it shows nothing about the kernel.
    Neither,
}

impl PastCell {
    pub fn class(&self) -> Class {
        match &self.verdict {
            Some(verdict) if verdict.passed() => Class::Good,
            Some(Verdict::Fail | Verdict::Timeout(_) | Verdict::Flaky) => Class::Bad,
            _ => Class::Neither,
        }
    }

    /// Returns the letter of the verdict; `-` if there is none.
    pub fn letter(&self) -> char {
        self.verdict.as_ref().map_or('-', |verdict| verdict.row().letter)
    }

    /// Returns the fact of that name.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }
}

/// A measure of a past cell in one boot of its host. Times are nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastMeasure {
    /// The number of the run in the history.
    pub run: i64,
    pub name: MeasureName,
    /// The number of the attempt at the cell, from 1.
    pub boot: u64,
    /// The number of samples.
    pub samples: u64,
    pub median: u64,
    /// The interval of the median, see [`crate::statistics::median_interval`].
    pub interval: Option<(u64, u64)>,
    pub min: u64,
    pub max: u64,
}

/// The name of a measure in a scenario.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MeasureName {
    /// From 0, in the scenario's order.
    pub step: u64,
    pub name: String,
}

impl std::fmt::Display for MeasureName {
    /// Like the line of a report.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { step, name } = self;
        write!(f, "step {step}  measure {name}")
    }
}

/// The most past times that decide an expected time.
pub const MOST_TIMES: usize = 10;

/// Returns the expected time of a cell by the times of its complete runs, the newest first: the
/// median of the first [`MOST_TIMES`].
pub fn expected(newest_first: &[u64]) -> Option<Duration> {
    let times = newest_first.get(..MOST_TIMES).unwrap_or(newest_first);
    summary(times).map(|summary| Duration::from_millis(summary.median))
}

#[cfg(test)]
mod tests;
