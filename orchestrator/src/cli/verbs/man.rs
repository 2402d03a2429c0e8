//! `s2lab man`: manual pages, from the same source as `--help`.

use crate::cli::{Cli, exit, failure::Failure, render::say_bytes};
use clap::{Args, CommandFactory};
use clap_mangen::{Man, generate_to};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Write a page for s2lab and one for each verb there, instead of s2lab's to stdout
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn man(arguments: &Arguments) -> Result<u8, Failure> {
    // `help` has no page.
    let command = Cli::command().disable_help_subcommand(true);
    match &arguments.out {
        Some(folder) => std::fs::create_dir_all(folder)
            .and_then(|()| generate_to(command, folder))
            .map_err(Failure::io(format!("cannot write in {}", folder.display())))?,
        None => {
            let mut page = vec![];
            Man::new(command).render(&mut page).map_err(Failure::io("cannot make the page"))?;
            say_bytes(&page)?;
        }
    }
    Ok(exit::FINE)
}
