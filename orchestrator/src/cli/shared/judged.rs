//! A run that is read from its folder and judged. Everything that verbs show comes from here.

use crate::cli::{failure::Failure, render::complain};
use crate::{
    review::standing,
    run::{
        folder::RunFolder,
        judging::Judging,
        report_cache::{Entry, ReportCache},
    },
    show::crash,
};
use s2lab_model::{
    hash::digest,
    judge::{JudgedCell, JudgedRun, judge_run},
    plan::Key,
    record::Run,
    report::Report,
    summary::{CellSummary, RunSummary},
    verdict::Verdict,
};
use s2lab_os::whole;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// The file of a cell's crashes, in its folder.
const CRASHES: &str = "crash.txt";

/// A run with the report of each cell that has one.
pub(crate) struct Judged {
    pub(crate) run: JudgedRun,
    pub(crate) reports: BTreeMap<Key, Report>,
}

impl Judged {
    /// Reads the event log and the table pages, and nothing else. The log must be whole.
    pub(crate) fn read(folder: &RunFolder) -> Result<Self, Failure> {
        Self::of_log(&log(folder)?, folder)
    }

    /// Reads a run like [`Self::read`], up to the first damaged line of the log, which is printed.
    pub(crate) fn read_as_far(folder: &RunFolder) -> Result<Self, Failure> {
        Ok(Self::of_record(readable(&folder.read_log()?, folder)?, folder))
    }

    /// Judges `log` with the table pages of the run.
    pub(crate) fn of_log(log: &str, folder: &RunFolder) -> Result<Self, Failure> {
        Ok(Self::of_record(recorded(log, folder)?, folder))
    }

    /// Judges what a log has recorded with the table pages of the run.
    pub(crate) fn of_record(record: Run, folder: &RunFolder) -> Self {
        Self::of(judge_run(record, &folder.pages()))
    }

    /// Returns a run that was carried out here, whose log was judged while it grew. Its reports are
    /// kept in the cache.
    pub(crate) fn live(folder: &RunFolder, judging: &Judging, cache: &ReportCache) -> Result<Self, Failure> {
        let run = judging.finish().map_err(|source| Failure::Log { path: folder.events(), source })?;
        let judged = Self::of(run);
        judged.keep(cache.entry(folder, &judging.log_digest()));
        Ok(judged)
    }

    /// Keeps the reports in the cache, if the run has ended: the log of another one may still grow.
    /// Damage is printed each time.
    fn keep(&self, entry: Option<Entry>) {
        let JudgedRun { ended, interrupted, damage, .. } = &self.run;
        if let (Some(entry), true, None) = (entry, *ended || interrupted.is_some(), damage) {
            entry.write(&self.reports);
        }
    }

    fn of(run: JudgedRun) -> Self {
        let reports =
            run.cells.iter().filter_map(|cell| Some((cell.planned.key.clone(), Report::of_cell(cell)?)));
        let reports = reports.collect();
        Self { run, reports }
    }

    /// Returns true if an attempt has failed, or the cells together. A tolerated failure does not
    /// count.
    pub(crate) fn has_failed(&self) -> bool {
        let is_fail = |verdict: &&Verdict| matches!(verdict, Verdict::Fail | Verdict::Flaky);
        let is_tolerated = |cell: &JudgedCell, verdict: &Verdict| {
            let night = self.run.night.as_ref();
            night.is_some_and(|night| night.tolerates(&cell.planned.key, verdict).is_some())
        };
        self.run.cells.iter().any(|cell| {
            let verdicts = cell.verdicts().flatten().chain(&cell.verdict);
            verdicts.filter(is_fail).any(|verdict| !is_tolerated(cell, verdict))
        })
    }

    /// The files that are derived from the log, by their names in the run's folder: the reports,
    /// and the crashes of each cell.
    pub(crate) fn derived(&self) -> impl Iterator<Item = (String, String)> {
        let reports = self.reports.iter().map(|(key, report)| (format!("reports/{key}.txt"), report.text()));
        let crashes = self.run.cells.iter().map(|cell| {
            let all = cell.attempts.iter().flat_map(|attempt| &attempt.record.crashes);
            (format!("cells/{}/{CRASHES}", cell.planned.key), all.map(crash::text).collect::<String>())
        });
        reports.chain(crashes.filter(|(_, text)| !text.is_empty()))
    }

    /// Writes the derived files into the run's folder. A bundle stays as it is. So do the files of a
    /// run whose log is damaged: they may come from a time when it was whole.
    pub(crate) fn write_reports(&self, folder: &RunFolder) -> Result<(), Failure> {
        if folder.is_bundle() || self.run.damage.is_some() {
            return Ok(());
        }
        for (name, text) in self.derived() {
            // The folder may come from elsewhere: no link in it is followed.
            let written = whole::write_below(folder.path(), Path::new(&name), text.as_bytes());
            written.map_err(Failure::io(format!("cannot write {}", folder.path().join(&name).display())))?;
        }
        Ok(())
    }

    /// Returns the folder `accepted`, if the run is to be compared with it. The boots of a comparison
    /// are compared with each other.
    pub(crate) fn accepted<'a>(&self, accepted: Option<&'a Path>) -> Option<&'a Path> {
        accepted.filter(|_| self.run.comparison.is_none())
    }

    /// The run, compared with the reports in the folder `accepted`, if there is one.
    pub(crate) fn summary(&self, folder: &RunFolder, accepted: Option<&Path>) -> RunSummary {
        let mut differing = BTreeMap::new();
        let mut of = |accepted: &Path, cell: &JudgedCell| {
            let key = &cell.planned.key;
            let (standing, differs) = standing(accepted, cell, self.reports.get(key));
            differing.extend(differs.map(|report| (key.clone(), report)));
            (key.clone(), standing)
        };
        let standings =
            accepted.map(|accepted| self.run.cells.iter().map(|cell| of(accepted, cell)).collect());
        let mut summary = RunSummary::of(&self.run, folder.path(), |key| folder.cell_path(key), standings);
        for cell in &mut summary.cells {
            cell.accepted = differing.remove(&cell.key);
        }
        summary
    }
}

/// The reports of a run.
pub(crate) struct RunReports {
    pub(crate) reports: BTreeMap<Key, Report>,
    /// True if the event log is damaged, so that reports are missing or MISS.
    pub(crate) is_damaged: bool,
}

/// Returns the reports of a run: from the cache, or judged, up to the first damaged line of the log.
pub(crate) fn reports(folder: &RunFolder, cache: Option<&ReportCache>) -> Result<RunReports, Failure> {
    let log = folder.read_log()?;
    let entry = cache.and_then(|cache| cache.entry(folder, &digest(&log)));
    if let Some(reports) = entry.as_ref().and_then(Entry::read) {
        return Ok(RunReports { reports, is_damaged: false });
    }
    let run = readable(&log, folder)?;
    // What was skipped is printed each time.
    let entry = entry.filter(|_| run.skipped.is_empty());
    let judged = Judged::of_record(run, folder);
    judged.keep(entry);
    Ok(RunReports { is_damaged: judged.run.damage.is_some(), reports: judged.reports })
}

/// Returns the run that the log has, and prints what was skipped of it.
pub(crate) fn recorded(log: &str, folder: &RunFolder) -> Result<Run, Failure> {
    let run = Run::read(log).map_err(|source| Failure::Log { path: folder.events(), source })?;
    print_skipped(&run);
    Ok(run)
}

/// Returns the run that the log has up to its first damaged line, and prints what was skipped and the
/// damage.
fn readable(log: &[u8], folder: &RunFolder) -> Result<Run, Failure> {
    let failure = |source| Failure::Log { path: folder.events(), source };
    let run = Run::read_as_far(log).map_err(failure)?;
    print_skipped(&run);
    if let Some(damage) = &run.damage {
        let what = failure(damage.clone());
        complain(&format!("error: {what}; the lines before it are read, and nothing after it"));
    }
    Ok(run)
}

fn print_skipped(run: &Run) {
    if !run.skipped.is_empty() {
        complain(&format!("note: {}", run.skipped));
    }
}

/// Reads the event log as text, without a torn last line.
pub(crate) fn log(folder: &RunFolder) -> Result<String, Failure> {
    let mut bytes = folder.read_log()?;
    // A torn last line may end inside of a character.
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    let text = String::from_utf8(bytes).map_err(io::Error::other);
    text.map_err(Failure::io(folder.events().display().to_string()))
}

/// The thing that the cell lacks to pass, in a line, by what its last attempt has seen so far, were
/// all steps done; none: nothing, or it is to be skipped. A log that cannot be read is reported at
/// the run's end.
pub(crate) fn lacks_to_pass(judging: &Judging, key: &Key) -> Option<String> {
    let cell = judging.as_if_complete(key)?;
    let verdict = cell.attempts.last()?.judgement.verdict.as_ref()?;
    if matches!(verdict, Verdict::Pass { .. } | Verdict::Skip(_)) {
        return None;
    }
    let why = CellSummary::of(&cell, PathBuf::new()).lead_line().unwrap_or_default();
    Some(format!("{}: {why}", verdict.name()))
}
