//! A run read back from its folder and judged: what every verb shows comes from here.

use crate::cli::failure::Failure;
use crate::{
    outside::{self, kinds},
    review::{Standing, standing},
    run::{
        folder::RunFolder,
        judging::{Judging, RawPages},
    },
    show::crash,
    whole,
};
use s2lab_model::{
    escape,
    judge::{JudgedRun, judge_run},
    plan::Key,
    record::Run,
    report::{CellSummary, Report, summary},
    verdict::Verdict,
};
use std::{collections::BTreeMap, io, path::Path};

/// What was cut out of a cell's consoles, in its folder.
const CRASHES: &str = "crash.txt";

/// A run with the report of each cell that has one.
pub(crate) struct Judged {
    pub(crate) run: JudgedRun,
    pub(crate) reports: BTreeMap<Key, Report>,
}

impl Judged {
    /// Reads the event log and the table pages, nothing else.
    pub(crate) fn read(folder: &RunFolder) -> Result<Self, Failure> {
        Ok(Self::of(judge_run(recorded(folder)?, &RawPages::new(folder.raw()))))
    }

    /// A run that was carried out here, whose log was judged while it grew.
    pub(crate) fn live(folder: &RunFolder, judging: &Judging) -> Result<Self, Failure> {
        let run = judging.finish();
        run.map(Self::of).map_err(|source| Failure::Log { path: folder.events(), source })
    }

    fn of(run: JudgedRun) -> Self {
        let reports =
            run.cells.iter().filter_map(|cell| Some((cell.planned.key.clone(), Report::of_cell(cell)?)));
        let reports = reports.collect();
        Self { run, reports }
    }

    pub(crate) fn summaries(&self) -> Vec<CellSummary> {
        self.run.cells.iter().map(summary).collect()
    }

    /// Whether the log tells of the run's end, regular or not.
    pub(crate) fn is_whole(&self) -> bool {
        self.run.ended || self.run.interrupted.is_some()
    }

    /// Whether an attempt has failed, or the cells together.
    pub(crate) fn has_failed(&self) -> bool {
        let is_fail = |verdict: &Verdict| matches!(verdict, Verdict::Fail | Verdict::Flaky);
        let attempts = self.run.cells.iter().flat_map(|cell| &cell.attempts);
        let of_attempts = attempts.filter_map(|attempt| attempt.judgement.verdict.as_ref());
        self.run.cells.iter().filter_map(|cell| cell.verdict.as_ref()).chain(of_attempts).any(is_fail)
    }

    /// Writes the reports into the run's folder, and what was cut out of consoles into the cells'.
    pub(crate) fn write_reports(&self, folder: &RunFolder) -> Result<(), Failure> {
        for (key, report) in &self.reports {
            write(folder, &folder.report(key), &report.text())?;
        }
        for cell in &self.run.cells {
            let text: String =
                cell.attempts.iter().flat_map(|attempt| &attempt.record.crashes).map(crash::text).collect();
            if !text.is_empty() {
                write(folder, &folder.cell_path(&cell.planned.key).join(CRASHES), &text)?;
            }
        }
        Ok(())
    }

    /// Where each planned cell stands against what the lab has accepted.
    pub(crate) fn standings(&self, accepted: &Path) -> BTreeMap<Key, Standing> {
        let cells = self.run.cells.iter();
        cells
            .map(|cell| {
                let key = &cell.planned.key;
                if let Some(why) = &cell.not_run {
                    let why = format!("not run: {}", escape::line(why));
                    return (key.clone(), Standing::Missing { why });
                }
                let report = self.reports.get(key);
                (key.clone(), standing(accepted, key, cell.verdict.as_ref(), report))
            })
            .collect()
    }
}

/// Writes a file of the run's folder, which may come from elsewhere: no link in it is followed.
fn write(folder: &RunFolder, path: &Path, text: &str) -> Result<(), Failure> {
    let root = folder.path();
    let written = whole::write_below(root, path.strip_prefix(root).unwrap_or(path), text.as_bytes());
    written.map_err(Failure::io(format!("cannot write {}", path.display())))
}

/// What the log says.
fn recorded(folder: &RunFolder) -> Result<Run, Failure> {
    let path = folder.events();
    let bytes = outside::read(&path, kinds::EVENT_LOG)?;
    // A torn last line may end inside of a character.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let text = std::str::from_utf8(bytes.get(..whole).unwrap_or_default());
    let text = text.map_err(io::Error::other).map_err(Failure::io(path.display().to_string()))?;
    Run::read(text).map_err(|source| Failure::Log { path, source })
}

/// What the cell lacks to pass, in a line, by what its last attempt has seen so far, were all steps done; none: nothing, or it is to
/// be skipped. A log that cannot be read is told at the run's end.
pub(crate) fn lacks_to_pass(judging: &Judging, key: &Key) -> Option<String> {
    let cell = judging.as_if_complete(key)?;
    let verdict = cell.attempts.last()?.judgement.verdict.as_ref()?;
    if matches!(verdict, Verdict::Pass { .. } | Verdict::Skip(_)) {
        return None;
    }
    let why = summary(&cell).finding.unwrap_or_default();
    Some(format!("{}: {why}", verdict.name()))
}
