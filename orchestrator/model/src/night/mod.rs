//! Nights: runs of everything, one after another, that remember. A night has a date and the known
//! failures that it tolerates; both are in its log. The summary of a morning is a function of the
//! run, of the nights before it, and of nothing else.

mod date;
mod known;
mod load;
mod morning;
mod past;
#[cfg(test)]
mod tests;

use crate::plan::Key;
use crate::verdict::Verdict;
use serde::{Deserialize, Serialize};

pub use date::{Date, DateError};
pub use known::{KnownFailure, KnownFailures, may_be_tolerated};
pub use load::{load, schema, unmatched};
pub use morning::{Control, Different, Good, Mended, Morning, Moved, NewResult, StillBroken, Tolerated};
pub use past::{Past, PastCell, PastNight, ResultClass, qemu_version};

/// The facts of a night that decide what its results mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Night {
    /// The date on which it began.
    pub date: Date,
    /// The known failures at that time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<KnownFailure>,
}

/// An entry of `known.yaml` that a person must look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleEntry {
    pub entry: KnownFailure,
    pub why: Stale,
}

/// The reason why an entry needs a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// Its date has passed, so it tolerates nothing.
    Expired,
    /// It tolerates nothing, because all of its cells pass.
    Passing,
}

impl Night {
    /// Returns the entry that tolerates this verdict of the cell.
    pub fn tolerates(&self, key: &Key, verdict: &Verdict) -> Option<&KnownFailure> {
        let counts = |entry: &&KnownFailure| entry.is_for(key) && self.date <= entry.until;
        self.known.iter().find(counts).filter(|_| may_be_tolerated(verdict))
    }

    /// Returns the entries that a person must look at, by the verdicts of the night's cells.
    pub fn stale<'a>(
        &self,
        cells: impl Iterator<Item = (&'a Key, Option<&'a Verdict>)> + Clone,
    ) -> Vec<StaleEntry> {
        let why = |entry: &KnownFailure| {
            if self.date > entry.until {
                return Some(Stale::Expired);
            }
            let mut results = cells.clone().filter(|(key, _)| entry.is_for(key)).peekable();
            results.peek()?;
            results.all(|(_, verdict)| verdict.is_some_and(Verdict::passed)).then_some(Stale::Passing)
        };
        let stale = |entry: &KnownFailure| Some(StaleEntry { why: why(entry)?, entry: entry.clone() });
        self.known.iter().filter_map(stale).collect()
    }
}
