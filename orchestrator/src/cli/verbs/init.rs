//! `s2lab init`: creates your own lab folder.

use crate::cli::{
    exit, failure::Failure, render::say, shared::answers::AnswerArguments, shared::answers::answer,
};
use crate::lab::{
    init::{DIFF_COMMAND, DIFF_DRIVER, has_diff_driver, init as write},
    shown,
};
use crate::show::answer::Answer;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder; scenarios/, images/ and reports/ must not exist in it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    form: AnswerArguments,
}

pub(crate) fn init(arguments: &Arguments) -> Result<u8, Failure> {
    write(&arguments.folder)?;
    let shown = shown(&arguments.folder);
    if arguments.form.is_json() {
        answer(&Answer::Init { folder: shown })?;
        return Ok(exit::FINE);
    }
    say(&format!("{shown} is a lab folder: s2lab takes it when it is started there, or with --lab {shown}"))?;
    if !has_diff_driver(&arguments.folder) {
        say(&format!("for `git diff` of reports, add to {shown}/.gitattributes: {DIFF_DRIVER}"))?;
    }
    say(&format!("for `git diff` of reports, in a repository: {DIFF_COMMAND}"))?;
    Ok(exit::FINE)
}
