//! `s2lab run`: its arguments.

use super::{
    Context, Failure, carry_out, complain, failed,
    kernels::{KernelArguments, planned},
    parts::PartArguments,
    say,
};
use clap::{Args, ValueEnum};
use s2lab_model::{
    event::{Attempts, PlannedCell},
    verdict::{BISECT_SKIP, BISECT_STOP, NOTHING_TESTED, bisect_exit},
};
use std::path::PathBuf;

/// Most attempts at one cell: a log holds them all.
const MOST_ATTEMPTS: i64 = 1000;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Scenarios, keys SCENARIO@KERNEL, globs of either, or scenario files; default: all scenarios
    #[arg(value_name = "GLOB|KEY|FILE")]
    pub(super) what: Vec<String>,
    #[command(flatten)]
    pub(super) kernels: KernelArguments,
    #[command(flatten)]
    pub(super) parts: PartArguments,
    /// Attempt each cell N times; attempts that differ are FLAKY
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_ATTEMPTS))]
    repeat: Option<u32>,
    /// Attempt a cell up to N times more while it is MISS or LOST, which say nothing about the kernel
    #[arg(long, value_name = "N", default_value = "0", conflicts_with = "repeat")]
    #[arg(value_parser = clap::value_parser!(u32).range(..MOST_ATTEMPTS))]
    retry: u32,
    /// The cells of the latest run that neither passed nor were skipped
    #[arg(long, conflicts_with_all = ["what", "kernels", "modules"])]
    failed: bool,
    /// Begin no cell after the first that neither passes nor is skipped
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// How many cells at a time; default: one for each two cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,
    /// Exit as `git bisect run` wants it: 0 good, 1 bad, 125 this commit cannot be judged, 128 the arguments are wrong
    #[arg(long, conflicts_with_all = ["failed", "dry_run"])]
    bisect: bool,
    /// Do not touch the network: what is not in the store is an error
    #[arg(long)]
    pub(super) offline: bool,
    /// Keep the host of a cell that does not pass, for a shell in it; one cell at a time
    #[arg(long, conflicts_with = "jobs")]
    pub(super) keep_on_failure: bool,
    /// Let gdb attach to the host before its first instruction; no deadlines; for one cell
    #[arg(long)]
    pub(super) gdb: bool,
    /// Print the cells and stop
    #[arg(long)]
    dry_run: bool,
    /// Write the run there instead of under the state folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// What goes to stdout; json is the event log as it grows
    #[arg(long, value_enum, default_value = "human")]
    pub(super) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Human,
    Json,
}

impl Arguments {
    pub(super) fn attempts(&self) -> Attempts {
        match (self.repeat, self.retry) {
            (None | Some(1), 0) => Attempts::Once,
            (Some(all), _) => Attempts::Repeat(all),
            (None, more) => Attempts::Retry(more),
        }
    }
}

/// The only cell of a plan for `what`, which takes no more; an error lists them.
pub(super) fn only_cell<'a>(cells: &'a [PlannedCell], what: &str) -> Result<&'a PlannedCell, Failure> {
    match cells {
        [cell] => Ok(cell),
        cells => {
            let keys: Vec<_> = cells.iter().map(|cell| cell.key.as_str()).collect();
            Err(Failure::Usage {
                message: format!("these are {} cells, and {what}", keys.len()),
                hint: Some(format!("one of {}", keys.join(", "))),
            })
        }
    }
}

pub(super) fn run(context: &Context, mut arguments: Arguments) -> Result<u8, Failure> {
    let bisect = arguments.bisect;
    // Under `git bisect run` what is wrong with the arguments is wrong for all commits.
    let coded = |exit: u8| {
        move |failure| match bisect {
            true => Failure::Coded { failure: Box::new(failure), exit },
            false => failure,
        }
    };
    let lab = context.lab().map_err(coded(BISECT_STOP))?;
    let mut planned = match arguments.failed {
        true => match failed::cells(&context.places()?.state, &lab)? {
            Some((planned, parts)) => {
                arguments.parts = arguments.parts.or(parts);
                planned
            }
            None => {
                complain("nothing was tested: every cell of the latest run passed or was skipped");
                return Ok(NOTHING_TESTED);
            }
        },
        false => planned(&lab, &arguments.what, &arguments.kernels).map_err(coded(BISECT_STOP))?,
    };
    if arguments.gdb {
        only_cell(&planned.cells, "--gdb is for one").map_err(coded(BISECT_STOP))?;
    }
    if arguments.dry_run {
        for cell in &planned.cells {
            say(&cell.key)?;
        }
        return Ok(0);
    }
    arguments.parts.check(&context.places()?).map_err(coded(BISECT_STOP))?;
    for cell in &mut planned.cells {
        cell.repeat.extend(arguments.parts.words());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::io("cannot start"))?;
    let carried = runtime.block_on(carry_out::carry_out(context, &lab, planned, arguments));
    let exit = carried.map_err(coded(BISECT_SKIP))?;
    Ok(if bisect { bisect_exit(exit) } else { exit })
}
