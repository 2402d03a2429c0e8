//! `s2lab schema`: the JSON schemas of the files that s2lab reads and prints, for editors and other
//! programs.

use crate::{
    cli::{exit, failure::Failure, render::say_bytes},
    show::{answer, diff, json, review, tables},
};
use clap::{Args, ValueEnum};
use s2lab_model::{kernel, night, scenario, shards};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[arg(default_value = "scenario")]
    what: What,
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Scenario files
    Scenario,
    /// images/kernels.yaml
    Kernels,
    /// known.yaml
    Known,
    /// The file of `s2lab plan`
    Plan,
    /// The output of --format json of run, report, merge and check
    Run,
    /// The output of diff --format json
    Diff,
    /// The output of --format json of all other verbs, and errors
    Answers,
    /// The output of `s2lab review --format json`
    Review,
    /// The output of tables --format json
    Tables,
}

pub(crate) fn schema(arguments: &Arguments) -> Result<u8, Failure> {
    let schema = match arguments.what {
        What::Scenario => scenario::schema(),
        What::Kernels => kernel::schema(),
        What::Known => night::schema(),
        What::Plan => shards::schema(),
        What::Run => json::schema(),
        What::Diff => diff::json::schema(),
        What::Answers => answer::schema(),
        What::Review => review::schema(),
        What::Tables => tables::json::schema(),
    };
    say_bytes(schema.as_bytes())?;
    Ok(exit::FINE)
}
