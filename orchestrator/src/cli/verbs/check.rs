//! `s2lab check`: a run's reports against the accepted ones.

use crate::cli::{
    context::Context, exit, failure::Failure, render::say_bytes, shared::judged::Judged, shared::runs::open,
};
use crate::{lab::scenarios, review::orphans, show::standings};
use clap::Args;
use s2lab_model::{plan::Key, report::Standing, summary::CellSummary};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A run's folder or its name; default: the latest
    run: Option<String>,
}

pub(crate) fn check(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let lab = context.lab()?;
    let folder = open(context, arguments.run.as_deref())?;
    let judged = Judged::read(&folder)?;
    let mut summary = judged.summary(&folder, Some(&lab.reports()));
    let kernels = lab.kernels()?;
    let names = scenarios(&lab.scenario_files()?)?;
    let known = names
        .iter()
        .flat_map(|scenario| {
            kernels.entries.keys().filter_map(|kernel| Key::of(&scenario.scenario, kernel, []).ok())
        })
        .collect();
    summary.orphaned = orphans(&lab.reports(), &known)?;
    summary.orphaned.retain(|key| summary.cells.iter().all(|cell| cell.key != *key));
    say_bytes(standings::lines(&summary).as_bytes())?;
    let fine = |cell: &CellSummary| cell.standing.as_ref().is_some_and(Standing::is_fine);
    let same = summary.orphaned.is_empty() && summary.cells.iter().all(fine);
    Ok(if same { exit::FINE } else { exit::DIFFERENT })
}
