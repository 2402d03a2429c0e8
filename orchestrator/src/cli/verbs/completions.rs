//! `s2lab completions`: prints a shell completion script.

use crate::cli::{Cli, exit, failure::Failure, render::say_bytes};
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    shell: Shell,
}

pub(crate) fn completions(arguments: &Arguments) -> Result<u8, Failure> {
    let mut script = vec![];
    generate(arguments.shell, &mut Cli::command(), "s2lab", &mut script);
    say_bytes(&script)?;
    Ok(exit::FINE)
}
