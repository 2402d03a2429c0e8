//! The outputs of a run for people and programs: functions of its summary.

pub mod changes;
pub mod crash;
pub mod diff;
pub mod json;
pub mod progress;
pub mod standings;
pub mod terminal;

use clap::ValueEnum;
use s2lab_model::summary::RunSummary;

/// Forms of what is printed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    // Lines for people.
    Human,
    // The event log, as it grows.
    Events,
    // One document a run, of which `s2lab schema run` prints the schema.
    Json,
}

impl Format {
    /// The function that writes a whole run; None: the form has lines of its own in each verb.
    pub fn document(self) -> Option<fn(&RunSummary) -> String> {
        match self {
            Format::Human | Format::Events => None,
            Format::Json => Some(json::document),
        }
    }
}
