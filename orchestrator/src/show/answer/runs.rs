//! The answer of `runs`.

use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// A run that is kept.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunEntry {
    /// The name of its folder.
    pub run: String,
    pub folder: String,
    pub bytes: u64,
    /// Why it is kept: at-work, failed, foreign (s2lab did not make the folder as it is), not-ended
    /// or newest.
    pub kept: &'static str,
    /// The content of its log; null: it cannot be read.
    pub content: Option<RunContent>,
    /// Why the log cannot be read.
    pub unreadable: Option<String>,
}

/// The content of a run's log.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunContent {
    /// The time at which it began, by RFC 3339.
    pub started: String,
    pub lab: Option<String>,
    /// The exit code of the run.
    pub exit: u8,
    /// The number of cells by their verdict: PASS, FAIL ...; `none`: interrupted, or not run.
    pub cells: BTreeMap<String, usize>,
}
