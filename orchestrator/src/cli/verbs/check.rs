//! `s2lab check`: compares a run's reports with the accepted ones.

use crate::cli::{
    context::Context, exit, failure::Failure, render::say_bytes, shared::cells::lab_cells,
    shared::judged::Judged, shared::runs::open,
};
use crate::{
    review::orphans,
    show::{Format, standings},
};
use clap::Args;
use s2lab_model::{report::Standing, summary::CellSummary};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A run's folder or its name; default: the latest of the lab folder
    run: Option<String>,
    /// Form of the output: lines for people, or see docs/formats.md
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
    /// Print a unified diff below each cell that changed, in place of the changes
    #[arg(long, conflicts_with = "format")]
    text: bool,
}

pub(crate) fn check(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let lab = context.lab()?;
    let folder = open(context, arguments.run.as_deref())?;
    let judged = Judged::read(&folder)?;
    let mut summary = judged.summary(&folder, Some(&lab.reports()));
    summary.orphaned = orphans(&lab.reports(), &lab_cells(&lab)?)?;
    summary.orphaned.retain(|key| summary.cells.iter().all(|cell| cell.key != *key));
    let lines = match (arguments.format, arguments.format.document()) {
        (_, Some(document)) => document(&summary),
        (Format::Events, _) => {
            let message = "--format events is for `run` and `report`: a log has nothing of accepted reports";
            return Err(Failure::Usage { message: message.into(), hint: None });
        }
        (_, None) if arguments.text => standings::with_diffs(&summary),
        (_, None) => standings::lines(&summary),
    };
    say_bytes(lines.as_bytes())?;
    let fine = |cell: &CellSummary| cell.standing.as_ref().is_some_and(Standing::is_fine);
    let same = summary.orphaned.is_empty() && summary.cells.iter().all(fine);
    Ok(if same { exit::FINE } else { exit::DIFFERENT })
}
