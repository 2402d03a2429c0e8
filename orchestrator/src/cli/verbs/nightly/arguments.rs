//! The arguments of `s2lab nightly`.

use crate::cli::{
    failure::Failure,
    shared::{
        cells::CellArguments, history::HistoryArguments, outputs::OutputArguments, parts::PartArguments,
    },
    verbs::run,
};
use crate::{home, run::folder::now};
use clap::Args;
use jiff::tz::TimeZone;
use s2lab_model::night::Date;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) cells: CellArguments,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
    /// The date of the night, by which known.yaml is read; default: today in UTC
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<Date>,
    /// The seed of the order of the cells; default: a random one
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u32>,
    /// Retry a cell up to N times when the lab failed (MISS, LOST)
    #[arg(long, value_name = "N", default_value = "0")]
    #[arg(value_parser = clap::value_parser!(u32).range(..run::MOST_ATTEMPTS))]
    retry: u32,
    /// Number of cells at a time; default: one for each two cores
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Do not touch the network: no kernel moves, and what is not in the cache is an error
    #[arg(long)]
    pub(crate) offline: bool,
    /// List the cells without running them
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write the run there instead of under the state folder
    #[arg(long, value_name = "DIR", value_parser = home::argument())]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) history: HistoryArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

impl Arguments {
    /// Returns the date of the night. It is read here, and nowhere later.
    pub(crate) fn date(&self) -> Date {
        self.date.unwrap_or_else(|| now().to_zoned(TimeZone::UTC).date().into())
    }

    /// Returns the arguments of the night's run, which prints nothing.
    pub(crate) fn run(&self) -> Result<run::Arguments, Failure> {
        let mut run = run::Arguments {
            cells: CellArguments::default(),
            parts: self.parts.clone(),
            jobs: self.jobs,
            offline: self.offline,
            shuffle: Some(self.shuffle),
            out: self.out.clone(),
            history: self.history.clone(),
            ..run::Arguments::retrying(self.retry)
        };
        run.choose_seed()?;
        Ok(run)
    }
}
