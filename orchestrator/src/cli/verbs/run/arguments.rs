//! The arguments of `s2lab run`.

use crate::{
    cli::{
        failure::Failure, shared::cells::CellArguments, shared::history::HistoryArguments,
        shared::kernels::KernelArguments, shared::outputs::OutputArguments, shared::parts::PartArguments,
        shared::shards::ShardArguments,
    },
    home,
    run::nonce::seed,
};
use clap::Args;
use s2lab_model::{event::Attempts, plan::Reach};
use std::path::PathBuf;

/// The most attempts at one cell: a log has them all.
pub(crate) const MOST_ATTEMPTS: i64 = 1000;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) cells: CellArguments,
    #[command(flatten)]
    pub(crate) kernels: KernelArguments,
    /// Take all listed kernels, not only the default ones; without it, a glob like SCENARIO@* takes
    /// default kernels only
    #[arg(long, conflicts_with_all = ["kernels", "failed", "plan"])]
    pub(crate) all_kernels: bool,
    #[command(flatten)]
    pub(crate) shard: ShardArguments,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
    /// Attempt each cell N times; attempts that differ are FLAKY
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_ATTEMPTS))]
    pub(crate) repeat: Option<u32>,
    /// Retry a cell up to N times when the lab failed (MISS, LOST)
    #[arg(long, value_name = "N", default_value = "0", conflicts_with = "repeat")]
    #[arg(value_parser = clap::value_parser!(u32).range(..MOST_ATTEMPTS))]
    pub(crate) retry: u32,
    /// Rerun the cells that failed in the lab folder's latest run
    #[arg(long, conflicts_with_all = ["what", "exclude", "sets", "seed", "kernels", "modules"])]
    pub(crate) failed: bool,
    /// Carry out the cells in a random order; the same SEED gives the same order
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true)]
    pub(crate) shuffle: Option<Option<u32>>,
    /// Boot a host for each cell; by default cells with the same host share a boot
    #[arg(long)]
    pub(crate) isolate: bool,
    /// Go on with a saved host whose guests are up, in place of a boot; boot and save if there is none
    #[arg(long, conflicts_with_all = ["repeat", "gdb"])]
    pub(crate) resume: bool,
    /// Build a small kernel for guests first, once, in some three minutes; with it in the cache all later
    /// runs are faster
    #[arg(long, conflicts_with_all = ["guest_kernel", "offline"])]
    pub(crate) quick_guests: bool,
    /// Stop after the first failure
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// Number of hosts at a time; default: one for each core, fewer if memory is short
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
    /// Exit as `git bisect run` wants it: 0 good, 1 bad, 125 this commit cannot be judged, 128 the
    /// arguments are wrong
    #[arg(long, conflicts_with_all = ["failed", "dry_run"])]
    pub(crate) bisect: bool,
    /// Do not touch the network: what is not in the cache is an error
    #[arg(long)]
    pub(crate) offline: bool,
    /// Keep the host of a cell that does not pass, for a shell in it; one cell at a time
    #[arg(long, conflicts_with = "jobs")]
    pub(crate) keep_on_failure: bool,
    /// Let gdb attach to the host before its first instruction; no deadlines; for one cell
    #[arg(long)]
    pub(crate) gdb: bool,
    /// List the cells without running them
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write the run there instead of under the state folder
    #[arg(long, value_name = "DIR", value_parser = home::argument())]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) history: HistoryArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

impl Arguments {
    /// Returns the arguments of a run that retries cells so often, and prints nothing.
    pub(crate) fn retrying(retry: u32) -> Self {
        Self {
            shard: ShardArguments::default(),
            cells: CellArguments::default(),
            kernels: KernelArguments::default(),
            all_kernels: false,
            parts: PartArguments::default(),
            repeat: None,
            retry,
            failed: false,
            shuffle: None,
            isolate: false,
            resume: false,
            quick_guests: false,
            fail_fast: false,
            jobs: None,
            bisect: false,
            offline: false,
            keep_on_failure: false,
            gdb: false,
            dry_run: false,
            out: None,
            history: HistoryArguments::default(),
            output: OutputArguments::silent(),
        }
    }

    /// Returns the arguments that mean the cells, with the kernels that a run takes.
    pub(crate) fn cells(&self) -> CellArguments {
        let reach = if self.all_kernels { Reach::All } else { Reach::Default };
        CellArguments { reach, ..self.cells.clone() }
    }

    /// Chooses the seed of a shuffled run that has none.
    pub(crate) fn choose_seed(&mut self) -> Result<(), Failure> {
        if self.shuffle == Some(None) {
            self.shuffle = Some(Some(seed().map_err(Failure::io("no random numbers"))?));
        }
        Ok(())
    }

    /// Returns the seed of the order.
    pub(crate) fn seed(&self) -> Option<u32> {
        self.shuffle.flatten()
    }

    pub(crate) fn attempts(&self) -> Attempts {
        match (self.repeat, self.retry) {
            (None | Some(1), 0) => Attempts::Once,
            (Some(all), _) => Attempts::Repeat(all),
            (None, more) => Attempts::Retry(more),
        }
    }
}
