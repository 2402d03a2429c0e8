//! The two sides that `diff` compares. A side is, in this order: an existing path; `latest` or the
//! name of a run; a cell of the latest run; a git revision of the lab folder's reports.

use super::{
    judged::Judged,
    runs::{LATEST, latest, named},
};
use crate::{
    cli::{context::Context, failure::Failure},
    review::{
        ReviewError,
        reports::{in_commit, in_folder, report},
    },
    run::folder::RunFolder,
};
use s2lab_cache::revisions::RevisionsError;
use s2lab_model::{
    changes::{Reports, Side},
    diagnostic::suggest,
    plan::Key,
};
use s2lab_os::outside::{ReadError, Why};
use std::{cell::OnceCell, path::Path};

/// Between two revisions of one argument.
const RANGE: &str = "..";
/// The commit that git means by an empty half of a range.
const HEAD: &str = "HEAD";
/// The folder of reports in a run's folder and in a lab folder.
const REPORTS: &str = "reports";

/// Reads both sides. One argument is a range of git revisions.
pub(crate) fn sides(context: &Context, old: &str, new: Option<&str>) -> Result<(Side, Side), Failure> {
    let reader = Reader { context, latest: OnceCell::new() };
    if let Some(new) = new {
        return Ok((reader.side(old)?, reader.side(new)?));
    }
    let Some((old, new)) = old.split_once(RANGE).filter(|(_, new)| !new.starts_with('.')) else {
        return Err(Failure::Usage {
            message: format!("`{old}` is one side, and `diff` compares two"),
            hint: Some("`s2lab diff A B`, or a range of git revisions, `s2lab diff REV..REV`".into()),
        });
    };
    let half = |half: &'_ str| if half.is_empty() { HEAD.to_owned() } else { half.to_owned() };
    Ok((reader.commit(&half(old))?, reader.commit(&half(new))?))
}

struct Reader<'a> {
    context: &'a Context,
    /// The latest run, judged once.
    latest: OnceCell<Reports>,
}

impl Reader<'_> {
    fn side(&self, text: &str) -> Result<Side, Failure> {
        let many = |reports| Side { label: text.to_owned(), reports, is_cell: false };
        let path = Path::new(text);
        if !text.is_empty() && path.exists() {
            return self.path(text, path);
        }
        if text == LATEST {
            return Ok(many(self.latest()?.clone()));
        }
        if let Some(run) = named(self.context, text)? {
            return Ok(many(run_reports(&run)?));
        }
        match text.parse::<Key>() {
            Ok(key) => self.cell(key),
            Err(_) => self.commit(text),
        }
    }

    /// What an existing path leads to. Each kind of file that has reports is an arm here.
    fn path(&self, text: &str, path: &Path) -> Result<Side, Failure> {
        let side = |reports, is_cell| Ok(Side { label: text.to_owned(), reports, is_cell });
        let absolute = std::path::absolute(path).map_err(Failure::io(text.to_owned()))?;
        if path.is_dir()
            && let Some(run) = named(self.context, &absolute.to_string_lossy())?
        {
            return side(run_reports(&run)?, false);
        }
        if !path.is_dir() {
            return match report(path) {
                Ok(report) => side([(report.key.clone(), Ok(report))].into(), true),
                // A bundle is packed, so it is no text.
                Err(ReviewError::Read(ReadError { why: Why::NotText { .. } | Why::TooLarge(_), .. })) => {
                    side(run_reports(&RunFolder::of_bundle(path)?)?, false)
                }
                Err(error) => Err(not_a_report(error)),
            };
        }
        let inner = path.join(REPORTS);
        let reports = in_folder(if inner.is_dir() { &inner } else { path })?;
        if reports.is_empty() {
            return Err(Failure::Usage {
                message: format!("`{text}` has no report"),
                hint: Some(
                    "a folder of reports has SCENARIO/KERNEL.txt or KEY.txt; a run has events.jsonl".into(),
                ),
            });
        }
        side(reports, false)
    }

    fn latest(&self) -> Result<&Reports, Failure> {
        if let Some(reports) = self.latest.get() {
            return Ok(reports);
        }
        let reports = run_reports(&latest(self.context)?)?;
        Ok(self.latest.get_or_init(|| reports))
    }

    fn cell(&self, key: Key) -> Result<Side, Failure> {
        let reports = self.latest()?;
        let Some(report) = reports.get(&key) else {
            return Err(Failure::Usage {
                message: format!("the latest run has no report of `{key}`"),
                hint: Some(suggest(key.as_str(), reports.keys().map(Key::as_str))),
            });
        };
        Ok(Side { label: key.to_string(), reports: [(key, report.clone())].into(), is_cell: true })
    }

    fn commit(&self, revision: &str) -> Result<Side, Failure> {
        let lab = self.context.lab()?;
        let nothing = |why: &str| Failure::Usage {
            message: format!(
                "`{revision}` is not a path, a run, a cell of the latest run, or a git revision of the lab folder: {why}"
            ),
            hint: Some("`s2lab list` has the cells; `git log reports` has the revisions".into()),
        };
        if lab.is_built_in() {
            return Err(nothing("the built-in lab folder is not in git"));
        }
        match in_commit(&lab.root, revision) {
            Ok(reports) => Ok(Side { label: revision.to_owned(), reports, is_cell: false }),
            Err(RevisionsError::Unknown { said, .. }) => {
                Err(nothing(said.lines().next().unwrap_or_default()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn not_a_report(error: ReviewError) -> Failure {
    match error {
        ReviewError::Io { .. } => error.into(),
        error => Failure::Usage {
            message: error.to_string(),
            hint: Some("a report is a file below reports/ of a lab folder or of a run".into()),
        },
    }
}

fn run_reports(run: &RunFolder) -> Result<Reports, Failure> {
    let reports = Judged::read(run)?.reports;
    Ok(reports.into_iter().map(|(key, report)| (key, Ok(report))).collect())
}
