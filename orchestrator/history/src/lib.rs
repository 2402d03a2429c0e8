//! The history of runs: an SQLite database in the state folder, which is filled after each run.
//!
//! One run is one transaction: it is in the history as a whole or not at all, even after `kill -9`.
//! The same run added twice is one. `docs/history.md` describes the use, `docs/formats.md` the
//! tables.
//!
//! ```no_run
//! # fn example(summary: &s2lab_model::summary::RunSummary) -> Result<(), s2lab_history::HistoryError> {
//! use s2lab_history::History;
//! use s2lab_model::history::{Trend, stand};
//!
//! let mut history = History::create("history.sqlite".as_ref())?;
//! history.add(summary)?;
//! for (key, cells) in history.cells(Some("built-in"))? {
//!     let (trend, stand) = (Trend::of(&cells), stand(&cells));
//!     println!("{key}: {:?} {:?}", trend.map(|trend| trend.flaky), stand.map(|stand| stand.runs));
//! }
//! # Ok(())
//! # }
//! ```

mod ask;
mod error;
mod nights;
mod open;
mod schema;
mod write;

pub use error::HistoryError;
pub use write::Added;

use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The name of the database in the state folder.
pub const FILE: &str = "history.sqlite";
/// The longest wait for another process that writes. A run is written in milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(10);

type Result<T> = std::result::Result<T, HistoryError>;

/// An open history.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    connection: Connection,
}

impl History {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names the history in an error of SQLite.
    fn failed(&self, what: &'static str) -> impl Fn(rusqlite::Error) -> HistoryError + use<> {
        error::of(what, &self.path)
    }
}
