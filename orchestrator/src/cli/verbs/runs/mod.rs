//! `s2lab runs`: the runs that are kept in the state folder.

mod list;
mod rm;

use super::bundle;
use crate::cli::{context::Context, failure::Failure};
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<RunsVerb>,
    #[command(flatten)]
    list: list::ListArguments,
}

#[derive(Debug, Subcommand)]
enum RunsVerb {
    /// List the runs, the newest first: when, size, why it is kept, cells, lab folder
    List(list::ListArguments),
    /// Remove runs; the history keeps what they found
    Rm(rm::Arguments),
    /// Write a run into one file, like `s2lab bundle`
    Export(bundle::Arguments),
}

pub(crate) fn runs(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.verb {
        None => list::list(context, &arguments.list),
        Some(RunsVerb::List(arguments)) => list::list(context, arguments),
        Some(RunsVerb::Rm(arguments)) => rm::rm(context, arguments),
        Some(RunsVerb::Export(arguments)) => bundle::bundle(context, arguments),
    }
}
