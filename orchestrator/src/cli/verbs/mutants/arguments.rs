//! The arguments of `s2lab mutants`.

use crate::cli::{
    shared::{outputs::OutputArguments, parts::PartArguments},
    verbs::run::{self, MOST_ATTEMPTS},
};
use crate::home;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Mutants, or globs of their names; default: all
    #[arg(value_name = "NAME|GLOB")]
    pub(crate) names: Vec<String>,
    /// The kernel whose mutants are meant, a folder of images/mutants; repeatable; default: all
    #[arg(long = "kernel", value_name = "NAME")]
    pub(crate) kernels: Vec<String>,
    /// Run this scenario, or those of a glob, on each mutant; repeatable; default: those that hold up
    /// a promise that the mutant breaks
    #[arg(long = "scenario", value_name = "GLOB|FILE")]
    pub(crate) scenarios: Vec<String>,
    /// List the mutants, with what they break and the scenarios for each, without running anything
    #[arg(long, conflicts_with_all = ["dry_run", "output", "out"])]
    pub(crate) list: bool,
    /// List the cells without running them
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
    /// Retry a cell up to N times when the lab failed (MISS, LOST)
    #[arg(long, value_name = "N", default_value = "0")]
    #[arg(value_parser = clap::value_parser!(u32).range(..MOST_ATTEMPTS))]
    retry: u32,
    /// Number of cells at a time; default: one for each core, fewer if memory is short
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Do not touch the network: what is not in the cache is an error
    #[arg(long)]
    offline: bool,
    /// Write the run there instead of under the state folder
    #[arg(long, value_name = "DIR", value_parser = home::argument())]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// The run that carries them out.
impl From<Arguments> for run::Arguments {
    fn from(arguments: Arguments) -> Self {
        let Arguments { parts, retry, jobs, offline, out, output, .. } = arguments;
        Self { parts, jobs, offline, out, output, ..Self::retrying(retry) }
    }
}
