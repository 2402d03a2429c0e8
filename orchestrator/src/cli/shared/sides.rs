//! The two sides that `diff` compares. A side is, in this order: an existing path; `latest` or the
//! name of a run; a cell of the latest run; a git revision of the lab folder's reports.

use super::{
    judged::{RunReports, reports},
    runs::{LATEST, latest, named},
};
use crate::{
    cli::{context::Context, failure::Failure},
    review::{
        ReviewError,
        reports::{in_commit, in_folder, report},
    },
    run::{folder::RunFolder, report_cache::ReportCache},
};
use s2lab_cache::revisions::RevisionsError;
use s2lab_model::{
    changes::{Reports, Side},
    diagnostic::suggest,
    plan::Key,
};
use s2lab_os::outside::{ReadError, Why};
use std::{
    panic::resume_unwind,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Between two revisions of one argument.
const RANGE: &str = "..";
/// The commit that git means by an empty half of a range.
const HEAD: &str = "HEAD";
/// The folder of reports in a run's folder and in a lab folder.
const REPORTS: &str = "reports";

/// Both sides.
pub(crate) struct Sides {
    pub(crate) old: Side,
    pub(crate) new: Side,
    /// True if a side is a run whose event log is damaged.
    pub(crate) is_damaged: bool,
}

/// Reads both sides. One argument is a range of git revisions.
pub(crate) fn sides(context: &Context, old: &str, new: Option<&str>) -> Result<Sides, Failure> {
    // Without a place for the cache, runs are judged.
    let cache = context.places().ok().map(|places| ReportCache::new(&places.cache));
    let reader = Reader { context, cache, latest: Mutex::new(None), is_damaged: AtomicBool::new(false) };
    if let Some(new) = new {
        return reader.both(old, new);
    }
    let Some((old, new)) = old.split_once(RANGE).filter(|(_, new)| !new.starts_with('.')) else {
        return Err(Failure::Usage {
            message: format!("`{old}` is one side, and `diff` compares two"),
            hint: Some("`s2lab diff A B`, or a range of git revisions, `s2lab diff REV..REV`".into()),
        });
    };
    let half = |half: &'_ str| if half.is_empty() { HEAD.to_owned() } else { half.to_owned() };
    let (old, new) = (reader.commit(&half(old))?, reader.commit(&half(new))?);
    Ok(Sides { old, new, is_damaged: false })
}

struct Reader<'a> {
    context: &'a Context,
    cache: Option<ReportCache>,
    /// The latest run, judged once.
    latest: Mutex<Option<Reports>>,
    is_damaged: AtomicBool,
}

impl Reader<'_> {
    /// Reads both sides at the same time. Without a thread they are read one after the other.
    fn both(&self, old: &str, new: &str) -> Result<Sides, Failure> {
        thread::scope(|scope| {
            let other = thread::Builder::new().spawn_scoped(scope, || self.side(new));
            let old = self.side(old);
            let new = match other {
                Ok(other) => other.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(_) => self.side(new),
            };
            Ok(Sides { old: old?, new: new?, is_damaged: self.is_damaged.load(Ordering::Relaxed) })
        })
    }

    fn side(&self, text: &str) -> Result<Side, Failure> {
        let many = |reports| Side { label: text.to_owned(), reports, is_cell: false };
        let path = Path::new(text);
        if !text.is_empty() && path.exists() {
            return self.path(text, path);
        }
        if text == LATEST {
            return Ok(many(self.latest()?));
        }
        if let Some(run) = named(self.context, text)? {
            return Ok(many(self.run(&run)?));
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
            return side(self.run(&run)?, false);
        }
        if !path.is_dir() {
            return match report(path) {
                Ok(report) => side([(report.key.clone(), Ok(report))].into(), true),
                // A bundle is packed, so it is no text.
                Err(ReviewError::Read(ReadError { why: Why::NotText { .. } | Why::TooLarge(_), .. })) => {
                    side(self.run(&RunFolder::of_bundle(path)?)?, false)
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

    fn run(&self, run: &RunFolder) -> Result<Reports, Failure> {
        let RunReports { reports, is_damaged } = reports(run, self.cache.as_ref())?;
        self.is_damaged.fetch_or(is_damaged, Ordering::Relaxed);
        Ok(reports.into_iter().map(|(key, report)| (key, Ok(report))).collect())
    }

    fn latest(&self) -> Result<Reports, Failure> {
        // The other side waits, and then takes what was read here.
        let mut read = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some(reports) => Ok(reports.clone()),
            None => Ok(read.insert(self.run(&latest(self.context)?)?).clone()),
        }
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
