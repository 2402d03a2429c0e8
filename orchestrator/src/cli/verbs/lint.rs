//! `s2lab lint`: every mistake in every file, and nothing boots.

use crate::cli::{context::Context, exit, failure::Failure, render::say};
use crate::lab::{LabError, Mistakes, scenarios};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Scenario files; default: all of the lab, and its kernels.yaml
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
    let mut mistakes = vec![];
    for read in [lab.kernels().map(drop), scenarios(&files).map(drop)] {
        match read {
            Err(LabError::Mistakes(Mistakes(found))) => mistakes.extend(found),
            other => other?,
        }
    }
    if !mistakes.is_empty() {
        return Err(LabError::Mistakes(Mistakes(mistakes)).into());
    }
    say(&fine(files.len() + 1))?;
    Ok(exit::FINE)
}

fn fine(files: usize) -> String {
    match files {
        1 => "1 file, no mistakes".into(),
        n => format!("{n} files, no mistakes"),
    }
}
