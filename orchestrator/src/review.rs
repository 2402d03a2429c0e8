//! A run's reports beside the accepted ones: `reports/SCENARIO/KERNEL.txt` in the lab folder.

use s2lab_model::report::{Outcome, ParseError, Report, compare};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is no report: {source}")]
    Report { path: PathBuf, source: ParseError },
    #[error("`{key}` is no key of a cell")]
    Key { key: String },
}

/// Where a cell stands against what was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The run has a report, and one was accepted.
    Compared(Outcome),
    /// Nothing was accepted yet.
    New,
    /// One was accepted, but the run, which had this cell in its plan, has no report.
    Missing,
    /// One is accepted for a cell that the lab does not have.
    Orphaned,
}

impl Standing {
    /// Whether `check` is content.
    pub fn is_fine(&self) -> bool {
        matches!(self, Standing::Compared(Outcome::Same | Outcome::ShapeMoved { .. }))
    }
}

/// The accepted report of the cell `key`.
pub fn accepted_path(reports: &Path, key: &str) -> Result<PathBuf, ReviewError> {
    let (scenario, kernel) = key.split_once('@').ok_or_else(|| ReviewError::Key { key: key.to_owned() })?;
    Ok(reports.join(scenario).join(format!("{kernel}.txt")))
}

/// Where the cell `key` stands; `new` is its report in the run.
pub fn standing(reports: &Path, key: &str, new: Option<&Report>) -> Result<Standing, ReviewError> {
    let path = accepted_path(reports, key)?;
    let accepted = match std::fs::read_to_string(&path) {
        Ok(text) => Some(parse(&path, &text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(ReviewError::Io { what: "cannot read", path, source }),
    };
    Ok(match (accepted, new) {
        (Some(accepted), Some(new)) => Standing::Compared(compare(&accepted, new).outcome),
        (None, Some(_)) => Standing::New,
        (_, None) => Standing::Missing,
    })
}

/// Keys of accepted reports whose cell is not among `known`.
pub fn orphans(reports: &Path, known: &BTreeSet<String>) -> Result<Vec<String>, ReviewError> {
    let mut orphans = vec![];
    for (scenario, folder) in entries(reports)? {
        for (file, _) in entries(&folder)? {
            let key = format!("{scenario}@{}", file.strip_suffix(".txt").unwrap_or(&file));
            if !known.contains(&key) {
                orphans.push(key);
            }
        }
    }
    Ok(orphans)
}

/// Names and paths in a folder, sorted; none if there is no such folder.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, ReviewError> {
    let error = |source| ReviewError::Io { what: "cannot list", path: folder.to_owned(), source };
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(vec![]);
        }
        Err(e) => return Err(error(e)),
    };
    let mut found = vec![];
    for entry in listing {
        let entry = entry.map_err(error)?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    found.sort();
    Ok(found)
}

/// Makes `text` the accepted report of `key`, whole or not at all.
pub fn accept(reports: &Path, key: &str, text: &str) -> Result<PathBuf, ReviewError> {
    let path = accepted_path(reports, key)?;
    let write = || {
        let folder = path.parent().unwrap_or(reports);
        std::fs::create_dir_all(folder)?;
        let half = path.with_extension("txt.half");
        std::fs::write(&half, text)?;
        std::fs::rename(&half, &path)
    };
    write().map_err(|source| ReviewError::Io { what: "cannot write", path: path.clone(), source })?;
    Ok(path)
}

pub fn parse(path: &Path, text: &str) -> Result<Report, ReviewError> {
    Report::parse(text).map_err(|source| ReviewError::Report { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_report_whose_cell_is_gone_is_an_orphan() {
        let dir = tempfile::tempdir().unwrap();
        for key in ["a@k1", "a@k2", "b@k1"] {
            accept(dir.path(), key, "text").unwrap();
        }
        let known = BTreeSet::from(["a@k1".to_owned()]);
        assert_eq!(orphans(dir.path(), &known).unwrap(), ["a@k2", "b@k1"]);
        assert_eq!(orphans(&dir.path().join("none"), &known).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_was_accepted_must_be_a_report() {
        let dir = tempfile::tempdir().unwrap();
        accept(dir.path(), "a@k", "not a report").unwrap();
        assert!(matches!(standing(dir.path(), "a@k", None), Err(ReviewError::Report { .. })));
        assert!(matches!(standing(dir.path(), "no-key", None), Err(ReviewError::Key { .. })));
        assert_eq!(standing(dir.path(), "b@k", None).unwrap(), Standing::Missing);
    }
}
