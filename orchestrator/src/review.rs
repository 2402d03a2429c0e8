//! A run's reports compared with the accepted ones: `reports/SCENARIO/KERNEL.txt` in the lab
//! folder.

pub mod reports;

use s2lab_model::{
    judge::JudgedCell,
    plan::Key,
    report::{LONGEST, ParseError, Report, Standing},
};
use s2lab_os::{
    outside::{self, ReadError, kinds},
    whole,
};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

/// The reader and the parser have one limit.
const _: () = assert!(kinds::REPORT.limit == LONGEST as u64);

#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is not a report: {source}")]
    Report { path: PathBuf, source: ParseError },
    #[error(
        "{path} has lines that end with CRLF, and reports have LF: an editor or git's core.autocrlf writes so"
    )]
    Crlf { path: PathBuf },
}

/// Compares a cell, whose report is `new`, with the accepted report in the folder `reports`. Returns
/// the accepted one too, if it differs.
pub fn standing(reports: &Path, cell: &JudgedCell, new: Option<&Report>) -> (Standing, Option<Report>) {
    let mut kept = None;
    let standing = Standing::of(cell, new, || {
        let read = accepted(reports, &cell.planned.key).map_err(|error| error.to_string());
        kept = read.clone().ok().flatten();
        read
    });
    let kept = kept.filter(|_| standing.differs());
    (standing, kept)
}

/// Returns the accepted report of `key` in the folder `reports`, if there is one.
pub fn accepted(reports: &Path, key: &Key) -> Result<Option<Report>, ReviewError> {
    read(&reports.join(key.report_path()))
}

/// Reads an accepted report, if there is one.
fn read(path: &Path) -> Result<Option<Report>, ReviewError> {
    let Some(text) = outside::read_text_if_there(path, kinds::REPORT)? else { return Ok(None) };
    if text.contains("\r\n") {
        return Err(ReviewError::Crlf { path: path.to_owned() });
    }
    let report = Report::parse(&text);
    report.map(Some).map_err(|source| ReviewError::Report { path: path.to_owned(), source })
}

/// Returns the keys of accepted reports whose cell is not among `known`.
pub fn orphans(reports: &Path, known: &BTreeSet<Key>) -> Result<Vec<Key>, ReviewError> {
    let mut orphans = vec![];
    for (scenario, folder) in entries(reports)? {
        // Other files are somebody's notes.
        let keys = entries(&folder)?.into_iter().filter_map(|(file, _)| Key::of_report(&scenario, &file));
        orphans.extend(keys.filter(|key| !known.contains(key)));
    }
    Ok(orphans)
}

/// Returns the names and paths in a folder, sorted, or none if there is no such folder.
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
    // The user has named the lab folder; `reports` in it came with it.
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
    fn a_report_with_crlf_is_named_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.txt");
        let report = Report::empty("a@k".parse().unwrap(), s2lab_model::lines::Text::new("PASS"));
        std::fs::write(&path, report.to_string().replace('\n', "\r\n")).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(&error, ReviewError::Crlf { .. }), "{error}");
    }
}
