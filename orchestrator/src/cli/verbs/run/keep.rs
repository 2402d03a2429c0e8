//! The number of runs that are kept: `S2LAB_KEEP_RUNS`.

use crate::cli::{failure::Failure, render::complain, shared::judged::Judged};
use crate::run::{
    folder::RunFolder,
    retention::{KEPT, forget},
};
use jiff::Timestamp;
use s2lab_model::record::LogError;
use std::{ffi::OsStr, num::NonZeroUsize};

const VARIABLE: &str = "S2LAB_KEEP_RUNS";

/// The number. None: all of them.
pub(crate) struct Keep(Option<NonZeroUsize>);

impl Keep {
    pub(crate) fn of_environment() -> Result<Self, Failure> {
        // An empty variable counts as unset, everywhere.
        match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
            None => Ok(Self(NonZeroUsize::new(KEPT))),
            Some(value) => Self::parse(&value),
        }
    }

    fn parse(value: &OsStr) -> Result<Self, Failure> {
        let digits = value.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|text| text.parse().ok()).ok_or_else(|| Failure::Usage {
            message: format!("{VARIABLE}={}: not a number of runs", value.display()),
            hint: Some(format!("the default is {KEPT}; 0 keeps all runs")),
        })?;
        Ok(Self(NonZeroUsize::new(number)))
    }

    /// Removes the runs that are too old when `run` begins, and prints a line for each.
    pub(crate) fn apply(&self, run: &RunFolder, now: Timestamp) -> Result<(), Failure> {
        let Some(keep) = self.0 else { return Ok(()) };
        let removed = forget(run, now, keep, has_failed).map_err(Failure::io("cannot list old runs"))?;
        for path in removed {
            let path = path.display();
            complain(&format!("removed the old run {path}: the newest {keep} are kept, see {VARIABLE}"));
        }
        Ok(())
    }
}

/// Returns true if a run that has not ended has failed, by its log so far. Returns None if its log
/// cannot be read.
fn has_failed(run: &RunFolder) -> Option<bool> {
    match Judged::read(run) {
        Ok(judged) => Some(judged.has_failed()),
        Err(Failure::Log { source: LogError::Empty, .. }) => Some(false),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_runs() {
        let parsed =
            |value: &str| Keep::parse(OsStr::new(value)).map(|keep| keep.0.map(NonZeroUsize::get)).ok();
        assert_eq!([parsed("7"), parsed("0")], [Some(Some(7)), Some(None)]);
        for wrong in ["-1", "+1", "many", "1.5", " 1", "99999999999999999999999"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
