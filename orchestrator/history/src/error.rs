//! Errors of the history.

use crate::PATIENCE;
use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};

/// The reason why a history cannot be read or written. Nothing is written then.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("there is no history {}", .path.display())]
    Missing { path: PathBuf },
    #[error("{} is not a history of s2lab: {why}", .path.display())]
    NotAHistory { path: PathBuf, why: String },
    #[error("the history {} is of version {found}, and this s2lab knows up to {known}", .path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("waited {} s for another process that writes the history {}", PATIENCE.as_secs(), .path.display())]
    Busy { path: PathBuf },
    #[error("the history {} is damaged: {why}", .path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("the run began at {started:?}, which is not a time by RFC 3339")]
    Time { started: String },
    #[error("cannot {what} the history {}: {source}", .path.display())]
    Sqlite { what: &'static str, path: PathBuf, source: rusqlite::Error },
}

impl HistoryError {
    /// Returns a hint for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => {
                Some("`s2lab run` makes it; `s2lab history add RUN` adds a past run".into())
            }
            Self::NotAHistory { .. } => Some("name another file with --history".into()),
            Self::Newer { .. } => {
                Some("a newer s2lab made it: use that one, or name another file with --history".into())
            }
            Self::Busy { .. } => Some("wait for its end, and try again".into()),
            Self::Damaged { .. } => {
                Some("move it away; `s2lab history add` makes another from the runs that are kept".into())
            }
            Self::Sqlite { source, .. } => sqlite_hint(source).map(str::to_owned),
            Self::Time { .. } => None,
        }
    }

    /// Returns true if the file or the run is wrong, and not the machine.
    pub fn is_about_input(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::NotAHistory { .. } | Self::Newer { .. } | Self::Time { .. } => true,
            Self::Busy { .. } | Self::Damaged { .. } | Self::Sqlite { .. } => false,
        }
    }
}

fn sqlite_hint(error: &rusqlite::Error) -> Option<&'static str> {
    match error.sqlite_error_code()? {
        ErrorCode::ReadOnly => Some("the file or its folder cannot be written"),
        ErrorCode::DiskFull => Some("the file system is full, or a limit is reached"),
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            Some("its folder must exist, and file and folder must be yours")
        }
        _ => None,
    }
}

/// Names the history and the attempted work in an error of SQLite.
pub(crate) fn of(what: &'static str, path: &Path) -> impl Fn(rusqlite::Error) -> HistoryError + use<> {
    let path = path.to_owned();
    move |source| {
        let path = path.clone();
        if is_unreadable(&source) {
            return HistoryError::Damaged { path, why: source.to_string() };
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => {
                HistoryError::NotAHistory { path, why: "it is not an SQLite database".into() }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => HistoryError::Busy { path },
            Some(ErrorCode::DatabaseCorrupt) => HistoryError::Damaged { path, why: source.to_string() },
            _ => HistoryError::Sqlite { what, path, source },
        }
    }
}

/// Returns true for a value that no s2lab writes.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..))
}
