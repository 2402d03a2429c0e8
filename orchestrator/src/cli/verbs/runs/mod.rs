//! `s2lab runs`: the runs that are kept in the state folder.

mod list;
mod rm;

use super::bundle;
use crate::cli::{context::Context, failure::Failure, shared::answers::AnswerArguments};
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<RunsVerb>,
    #[command(flatten)]
    form: AnswerArguments,
}

#[derive(Debug, Subcommand)]
enum RunsVerb {
    /// List the runs, the newest first: when, size, why it is kept, cells, lab folder
    List(AnswerArguments),
    /// Remove runs; the history keeps what they found
    Rm(rm::Arguments),
    /// Write a run into one file, like `s2lab bundle`
    Export(bundle::Arguments),
}

pub(crate) fn runs(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.verb {
        None => list::list(context, arguments.form.is_json()),
        Some(RunsVerb::List(form)) => list::list(context, form.is_json()),
        Some(RunsVerb::Rm(arguments)) => rm::rm(context, arguments),
        Some(RunsVerb::Export(arguments)) => bundle::bundle(context, arguments),
    }
}
