//! `s2lab lint`: every mistake in every file, and nothing boots.

use crate::cli::{context::Context, exit, failure::Failure, render::say};
use crate::lab::{LabError, Mistakes, scenarios};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Scenario files; default: all of the lab, its kernels.yaml, and the files that it names
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) fn lint(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    if !arguments.files.is_empty() {
        scenarios(&arguments.files)?;
        say(&fine(arguments.files.len()))?;
        return Ok(exit::FINE);
    }
    let lab = context.lab()?;
    let files = lab.scenario_files()?;
    let (mut mistakes, mut named) = (vec![], 0);
    // What a list that is wrong names is not known.
    let kernels = lab.kernels().and_then(|_| lab.check_named());
    for read in [kernels, scenarios(&files).map(|_| 0)] {
        match read {
            Ok(count) => named += count,
            Err(LabError::Mistakes(Mistakes(found))) => mistakes.extend(found),
            Err(other) => return Err(other.into()),
        }
    }
    if !mistakes.is_empty() {
        return Err(LabError::Mistakes(Mistakes(mistakes)).into());
    }
    say(&fine(files.len() + 1 + named))?;
    Ok(exit::FINE)
}

fn fine(files: usize) -> String {
    match files {
        1 => "1 file, no mistakes".into(),
        n => format!("{n} files, no mistakes"),
    }
}
