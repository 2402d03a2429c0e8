//! `s2lab check`: compares a run's reports with the accepted ones.

use crate::cli::{
    context::Context, exit, failure::Failure, render::say_bytes, shared::cells::lab_cells,
    shared::judged::Judged, shared::outputs::OutputArguments, shared::runs::open,
};
use crate::{review::orphans, show::standings};
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A run's folder or its name, or a bundle; default: the latest of the lab folder
    run: Option<String>,
    #[command(flatten)]
    output: OutputArguments,
    /// Print a unified diff below each cell that changed, in place of the changes
    #[arg(long, conflicts_with = "format")]
    text: bool,
}

pub(crate) fn check(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let outputs = arguments.output.of_check()?;
    let lab = context.lab()?;
    let folder = open(context, arguments.run.as_deref())?;
    let judged = Judged::read_as_far(&folder)?;
    let mut summary = judged.summary(&folder, Some(&lab.reports()));
    summary.orphaned = orphans(&lab.reports(), &lab_cells(&lab)?)?;
    summary.orphaned.retain(|key| summary.cells.iter().all(|cell| cell.key != *key));
    let printed = match arguments.text {
        true => say_bytes(standings::with_diffs(&summary).as_bytes()),
        false => outputs.document(&summary),
    };
    outputs.write(&summary, printed)?;
    Ok(match summary.is_as_accepted() {
        _ if judged.run.damage.is_some() => exit::LAB,
        true => exit::FINE,
        false => exit::DIFFERENT,
    })
}
