//! A run read back from its folder and judged: what every verb shows comes from here.

use super::Failure;
use crate::{
    review::{Standing, standing},
    run::folder::RunFolder,
};
use s2lab_model::{
    judge::{JudgedRun, judge_run},
    record::Run,
    report::{CellSummary, Report, summary},
};
use std::{collections::BTreeMap, path::Path};

/// A run with the report of each cell that has one.
pub(super) struct Judged {
    pub(super) run: JudgedRun,
    pub(super) reports: BTreeMap<String, Report>,
}

impl Judged {
    /// Reads the event log and the table pages, nothing else.
    pub(super) fn read(folder: &RunFolder) -> Result<Self, Failure> {
        let path = folder.events();
        let text = std::fs::read_to_string(&path).map_err(Failure::io(path.display().to_string()))?;
        let run = Run::read(&text).map_err(|source| Failure::Log { path, source })?;
        let raw = folder.raw();
        let run = judge_run(run, &|digest: &str| page(&raw, digest));
        let attempts = run.cells.iter().filter_map(|cell| Some((cell, cell.attempts.last()?)));
        let judged = attempts.filter(|(cell, _)| cell.verdict.is_some());
        let reports = judged.map(|(cell, attempt)| (cell.planned.key.clone(), Report::of(attempt))).collect();
        Ok(Self { run, reports })
    }

    pub(super) fn summaries(&self) -> Vec<CellSummary> {
        self.run.cells.iter().map(summary).collect()
    }

    /// Writes the reports into the run's folder.
    pub(super) fn write_reports(&self, folder: &RunFolder) -> Result<(), Failure> {
        for (key, report) in &self.reports {
            let path = folder.report(key);
            let parent = path.parent().unwrap_or(folder.path());
            let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, report.text()));
            written.map_err(Failure::io(path.display().to_string()))?;
        }
        Ok(())
    }

    /// Where each planned cell stands against what the lab has accepted.
    pub(super) fn standings(&self, accepted: &Path) -> Result<BTreeMap<String, Standing>, Failure> {
        let cells = self.run.cells.iter();
        cells
            .map(|cell| {
                let key = &cell.planned.key;
                Ok((key.clone(), standing(accepted, key, self.reports.get(key))?))
            })
            .collect()
    }
}

/// A kept page; a name that is no digest is none.
fn page(raw: &Path, digest: &str) -> Option<Vec<u8>> {
    let is_digest = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    is_digest.then(|| std::fs::read(raw.join(digest)).ok()).flatten()
}
