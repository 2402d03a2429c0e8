//! `s2lab diff`: the differences of meaning between the reports of two sides.

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    shared::{
        outputs::OutputArguments,
        sides::{Sides, sides},
    },
};
use clap::Args;
use s2lab_model::changes::DiffSummary;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A run, its folder, or `latest`; a report or a folder of reports; SCENARIO@KERNEL of the
    /// latest run; a git revision of the lab folder's reports; or two of these as REV..REV
    #[arg(value_name = "A")]
    old: String,
    /// The other side
    #[arg(value_name = "B")]
    new: Option<String>,
    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) fn diff(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let outputs = arguments.output.of_diff()?;
    let Sides { old, new, is_damaged } = sides(context, &arguments.old, arguments.new.as_deref())?;
    let diff = DiffSummary::of(&old, &new);
    outputs.print(&diff)?;
    Ok(if is_damaged { exit::LAB } else { diff.exit })
}
