//! `s2lab completions`: what lets a shell complete s2lab's command line.

use super::{Cli, Failure, say_bytes};
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    shell: Shell,
}

pub(super) fn completions(arguments: &Arguments) -> Result<u8, Failure> {
    let mut script = vec![];
    generate(arguments.shell, &mut Cli::command(), "s2lab", &mut script);
    say_bytes(&script)?;
    Ok(0)
}
