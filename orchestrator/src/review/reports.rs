//! Reports of many cells: in a folder, or in a commit.

use super::{ReviewError, entries, read};
use s2lab_cache::{committed::files, revisions::RevisionsError};
use s2lab_model::{changes::Reports, plan::Key, report::Report};
use s2lab_os::outside::{self, kinds};
use std::{io, path::Path};

/// The extension of a run's report, behind the key.
const EXTENSION: &str = ".txt";
/// The folder of accepted reports in a lab folder.
const REPORTS: &str = "reports";

/// Reads one report, whose file the user has named.
pub fn report(path: &Path) -> Result<Report, ReviewError> {
    let absent = || ReviewError::Io {
        what: "cannot read",
        path: path.to_owned(),
        source: io::ErrorKind::NotFound.into(),
    };
    read(path)?.ok_or_else(absent)
}

/// Reads the reports in a folder: `SCENARIO/KERNEL.txt`, as accepted ones are; `KEY.txt`, as a run
/// has them; or `KERNEL.txt` in the folder of one scenario. Other files are notes.
pub fn in_folder(folder: &Path) -> Result<Reports, ReviewError> {
    let (mut found, mut of_scenario) = (Reports::new(), Reports::new());
    let scenario = folder.canonicalize().ok();
    let scenario = scenario.as_deref().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    for (name, path) in entries(folder)? {
        if let Some(key) = name.strip_suffix(EXTENSION).and_then(|key| key.parse().ok()) {
            add(&mut found, key, &path);
        } else if let Some(key) = Key::of_report(&scenario, &name) {
            add(&mut of_scenario, key, &path);
        }
        for (file, path) in entries(&path)? {
            if let Some(key) = Key::of_report(&name, &file) {
                add(&mut found, key, &path);
            }
        }
    }
    Ok(if found.is_empty() { of_scenario } else { found })
}

/// Reads the accepted reports of the lab folder at the commit `revision` of its repository.
pub fn in_commit(lab: &Path, revision: &str) -> Result<Reports, RevisionsError> {
    let key = |path: &str| {
        let (scenario, file) = path.split_once('/')?;
        Key::of_report(scenario, file)
    };
    let files = files(lab, REPORTS, revision, kinds::REPORT, &|path| key(path).is_some())?;
    let report = |file: s2lab_cache::committed::CommittedFile| {
        let key = key(&file.path)?;
        let report = file.content.and_then(|bytes| parsed(&bytes)).and_then(|report| named(report, &key));
        Some((key, report))
    };
    Ok(files.into_iter().filter_map(report).collect())
}

fn add(reports: &mut Reports, key: Key, path: &Path) {
    let report = outside::read(path, kinds::REPORT).map_err(|error| error.to_string());
    let report = report.and_then(|bytes| parsed(&bytes)).and_then(|report| named(report, &key));
    reports.insert(key, report);
}

fn parsed(bytes: &[u8]) -> Result<Report, String> {
    let text = str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    if text.contains("\r\n") {
        return Err("it has lines that end with CRLF, and reports have LF".to_owned());
    }
    Report::parse(text).map_err(|error| error.to_string())
}

/// Returns the report if it is that of the cell after which its file is named.
fn named(report: Report, key: &Key) -> Result<Report, String> {
    match report.key == *key {
        true => Ok(report),
        false => Err(format!("its first line has the key {}", report.key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_model::lines::Text;
    use std::fs;

    fn text(key: &str) -> String {
        Report::empty(key.parse().unwrap(), Text::new("PASS")).text()
    }

    #[test]
    fn each_form_of_a_folder_has_its_reports() {
        let dir = tempfile::tempdir().unwrap();
        let path = |below: &str| dir.path().join(below);
        for (file, text) in [
            ("accepted/a/k.txt", text("a@k")),
            ("accepted/a/other.txt", text("a@k")),
            ("accepted/b/k.txt", "no report".to_owned()),
            ("accepted/b/crlf.txt", text("b@crlf").replace('\n', "\r\n")),
            ("accepted/README.txt", "a note".to_owned()),
            ("run/a@k.txt", text("a@k")),
        ] {
            fs::create_dir_all(path(file).parent().unwrap()).unwrap();
            fs::write(path(file), text).unwrap();
        }
        let found = |below: &str| -> Vec<(String, Result<(), String>)> {
            let reports = in_folder(&path(below)).unwrap();
            reports.into_iter().map(|(key, report)| (key.to_string(), report.map(drop))).collect()
        };
        let fine = |key: &str| (key.to_owned(), Ok(()));
        let bad = |key: &str, why: &str| (key.to_owned(), Err(why.to_owned()));
        assert_eq!(
            found("accepted"),
            [
                fine("a@k"),
                bad("a@other", "its first line has the key a@k"),
                bad("b@crlf", "it has lines that end with CRLF, and reports have LF"),
                bad("b@k", "line 1: no report begins like this; expected `s2lab report 2`"),
            ]
        );
        assert_eq!(found("run"), [fine("a@k")]);
        assert_eq!(found("accepted/a").first(), Some(&fine("a@k")));
        assert_eq!(found("accepted/none"), []);
    }
}
