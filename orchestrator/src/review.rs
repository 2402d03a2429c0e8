//! A run's reports beside the accepted ones: `reports/SCENARIO/KERNEL.txt` in the lab folder.

use crate::{
    outside::{self, ReadError, kinds},
    whole,
};
use s2lab_model::{
    plan::Key,
    report::{Outcome, ParseError, Report, compare},
    verdict::Verdict,
};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is not a report: {source}")]
    Report { path: PathBuf, source: ParseError },
}

/// Where a cell stands against what was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The run has a report, and one was accepted.
    Compared(Outcome),
    /// Nothing was accepted yet.
    New,
    /// The run, which had this cell in its plan, has found out nothing about the kernel.
    Missing { why: String },
    /// One is accepted for a cell that the lab does not have.
    Orphaned,
    /// What was accepted is no report: edited, or merged with conflicts.
    Unreadable { why: String },
}

impl Standing {
    /// Whether `check` is content.
    pub fn is_fine(&self) -> bool {
        matches!(self, Standing::Compared(Outcome::Same | Outcome::ShapeMoved { .. }))
    }
}

/// Where the cell `key` stands, that a run has judged so and told in `new`.
pub fn standing(reports: &Path, key: &Key, verdict: Option<&Verdict>, new: Option<&Report>) -> Standing {
    let path = reports.join(key.report_path());
    let new = match (verdict, new) {
        (None, _) => return Standing::Missing { why: "the run ended before it was judged".into() },
        // A lab failure is never compared or accepted: otherwise the next lab failure would count as
        // "same".
        (Some(verdict @ (Verdict::Miss | Verdict::Lost | Verdict::Error)), _) => {
            let failed = if *verdict == Verdict::Error { "scenario" } else { "lab" };
            return Standing::Missing {
                why: format!("the {failed} failed ({}): nothing to compare", verdict.name()),
            };
        }
        (Some(_), None) => return Standing::Missing { why: "the run has no report of it".into() },
        (Some(_), Some(new)) => new,
    };
    match read(&path) {
        Ok(Some(accepted)) => Standing::Compared(compare(&accepted, new).outcome),
        Ok(None) => Standing::New,
        Err(error) => Standing::Unreadable { why: error.to_string() },
    }
}

/// An accepted report, if there is one.
fn read(path: &Path) -> Result<Option<Report>, ReviewError> {
    let Some(text) = outside::read_text_if_there(path, kinds::REPORT)? else { return Ok(None) };
    let report = Report::parse(&text);
    report.map(Some).map_err(|source| ReviewError::Report { path: path.to_owned(), source })
}

/// Keys of accepted reports whose cell is not among `known`.
pub fn orphans(reports: &Path, known: &BTreeSet<Key>) -> Result<Vec<Key>, ReviewError> {
    let mut orphans = vec![];
    for (scenario, folder) in entries(reports)? {
        // Whatever else lies there is somebody's note.
        let keys = entries(&folder)?.into_iter().filter_map(|(file, _)| Key::of_report(&scenario, &file));
        orphans.extend(keys.filter(|key| !known.contains(key)));
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
pub fn accept(reports: &Path, key: &Key, text: &str) -> Result<PathBuf, ReviewError> {
    let path = reports.join(key.report_path());
    // The lab's own folder was named; `reports` in it came with it.
    let lab = reports.parent().unwrap_or(reports);
    match whole::write_below(lab, path.strip_prefix(lab).unwrap_or(&path), text.as_bytes()) {
        Ok(()) => Ok(path),
        Err(source) => Err(ReviewError::Io { what: "cannot write", path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_report_whose_cell_is_gone_is_an_orphan() {
        let dir = tempfile::tempdir().unwrap();
        for key in ["a@k1", "a@k2", "b@k1"] {
            accept(dir.path(), &key.parse().unwrap(), "text").unwrap();
        }
        // Whatever has no key's name is somebody's note.
        for note in ["a/k1.txt~", "a/README", "a/.k3.txt"] {
            std::fs::write(dir.path().join(note), "").unwrap();
        }
        let known = BTreeSet::from(["a@k1".parse().unwrap()]);
        assert_eq!(orphans(dir.path(), &known).unwrap(), ["a@k2", "b@k1"]);
        assert_eq!(orphans(&dir.path().join("none"), &known).unwrap(), Vec::<Key>::new());
    }

    #[test]
    fn what_was_accepted_must_be_a_report() {
        let dir = tempfile::tempdir().unwrap();
        accept(dir.path(), &"a@k".parse().unwrap(), "not a report").unwrap();
        let of = |key: &str, verdict, report: Option<&Report>| {
            standing(dir.path(), &key.parse().unwrap(), verdict, report)
        };
        let report = Report::default();
        assert!(matches!(of("a@k", Some(&Verdict::PASS), Some(&report)), Standing::Unreadable { .. }));
        assert_eq!(of("b@k", Some(&Verdict::PASS), Some(&report)), Standing::New);
    }

    #[test]
    fn what_says_nothing_about_the_kernel_is_not_compared() {
        let dir = tempfile::tempdir().unwrap();
        let (report, key) = (Report::default(), "a@k".parse().unwrap());
        for verdict in [None, Some(Verdict::Miss), Some(Verdict::Lost), Some(Verdict::Error)] {
            let standing = standing(dir.path(), &key, verdict.as_ref(), Some(&report));
            assert!(matches!(standing, Standing::Missing { .. }), "{verdict:?}");
        }
        assert_eq!(standing(dir.path(), &key, Some(&Verdict::Fail), Some(&report)), Standing::New);
    }
}
