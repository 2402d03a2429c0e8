//! `s2lab diff`: the differences of meaning between the reports of two sides.

use crate::cli::{context::Context, failure::Failure, render::say_bytes, shared::sides::sides};
use crate::show::{
    Format,
    diff::{json, lines},
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
    /// Form of the output: lines for people, or see docs/formats.md
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

pub(crate) fn diff(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let print = match arguments.format {
        Format::Human => lines,
        Format::Json => json::document,
        Format::Events => {
            let message = "--format events is for `run` and `report`: a log is of one run";
            return Err(Failure::Usage { message: message.into(), hint: None });
        }
    };
    let (old, new) = sides(context, &arguments.old, arguments.new.as_deref())?;
    let diff = DiffSummary::of(&old, &new);
    say_bytes(print(&diff).as_bytes())?;
    Ok(diff.exit)
}
