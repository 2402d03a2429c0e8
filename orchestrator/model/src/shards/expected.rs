//! The expected durations of cells.

use crate::plan::Key;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The expected time of a cell of which nothing is known. A cell takes 10 to 60 s on two cores.
const CELL: Duration = Duration::from_secs(60);
/// The expected time of a kernel's build. It takes 15 to 60 minutes on two cores.
const BUILD: Duration = Duration::from_secs(30 * 60);

/// An expected duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Expected {
    /// Milliseconds.
    pub ms: u64,
    /// The source of the number.
    pub from: From,
}

/// The source of an expected duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// Complete runs of this cell.
    History,
    /// Complete runs of the same scenario on other kernels: their 75th percentile.
    Scenario,
    /// Complete runs of all cells: their 75th percentile.
    All,
    /// Nothing: every such duration is the same.
    Assumed,
}

impl Expected {
    /// Returns the expected duration of the cell `key`. `known` has those of complete runs. What was
    /// never measured is often what is slow, hence not the median of the others.
    pub(super) fn of_cell(key: &Key, known: &BTreeMap<Key, Duration>) -> Self {
        if let Some(time) = known.get(key) {
            return Self::new(*time, From::History);
        }
        let related = known.iter().filter(|(other, _)| other.scenario() == key.scenario());
        if let Some(time) = third_quartile(related.map(|(_, time)| *time)) {
            return Self::new(time, From::Scenario);
        }
        match third_quartile(known.values().copied()) {
            Some(time) => Self::new(time, From::All),
            None => Self::new(CELL, From::Assumed),
        }
    }

    /// Returns the expected duration of a kernel's build.
    pub(super) fn of_build() -> Self {
        Self::new(BUILD, From::Assumed)
    }

    fn new(time: Duration, from: From) -> Self {
        Self { ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX), from }
    }
}

/// Returns the 75th percentile by the nearest rank.
fn third_quartile(times: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times.get((times.len() * 3).div_ceil(4).saturating_sub(1)).copied()
}
