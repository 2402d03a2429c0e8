//! `s2lab list`: the cells that there are.

use super::{
    Context, Failure,
    kernels::{KernelArguments, planned},
    plain, say,
};
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Scenarios, keys, globs of either, or scenario files; default: all scenarios
    #[arg(value_name = "GLOB|KEY|FILE")]
    what: Vec<String>,
    #[command(flatten)]
    kernels: KernelArguments,
}

pub(super) fn list(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let planned = planned(&context.lab()?, &arguments.what, &arguments.kernels)?;
    let width = planned.cells.iter().map(|cell| cell.key.len()).max().unwrap_or_default();
    for cell in &planned.cells {
        say(&format!("{:<width$}  {}", cell.key, plain(&cell.scenario.about)))?;
    }
    Ok(0)
}
