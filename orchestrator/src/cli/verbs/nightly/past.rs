//! The nights before a night, as the runs that are kept have them.

use crate::cli::{failure::Failure, render::complain, shared::judged::Judged};
use crate::{
    lab::Places,
    run::{folder::RunFolder, retention::nights},
};
use s2lab_model::{
    night::{Past, PastNight, ResultClass},
    summary::RunSummary,
};

/// Returns the nights of the lab folder before the night `run`, judged by the rules of this s2lab,
/// and the last good report of each cell. A night that cannot be read is left out, with a warning.
pub(super) fn past(places: &Places, run: &RunSummary) -> Result<Past, Failure> {
    let mut past = Past::default();
    let kept = nights(&places.state).map_err(Failure::io("cannot list the nights"))?;
    for folder in kept.iter().filter(|folder| folder.path() != run.folder) {
        match Judged::read(folder) {
            Ok(judged) => add(&mut past, folder, &judged, run),
            Err(error) => complain(&format!("warning: {} is left out: {error}", folder.path().display())),
        }
    }
    Ok(past)
}

/// Adds a night, if it is one of the same lab folder. Those after it are already there.
fn add(past: &mut Past, folder: &RunFolder, judged: &Judged, run: &RunSummary) {
    let summary = judged.summary(folder, None);
    let Some(night) = PastNight::of(&summary).filter(|_| summary.lab == run.lab) else { return };
    for (key, cell) in &night.cells {
        if cell.class == ResultClass::Fine
            && !past.good.contains_key(key)
            && let Some(report) = judged.reports.get(key)
        {
            past.good.insert(key.clone(), report.clone());
        }
    }
    past.nights.push(night);
}
