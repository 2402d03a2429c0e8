//! `s2lab new`: creates a scenario from a template.

use crate::cli::{
    context::Context, context::own_lab, exit, failure::Failure, render::say,
    shared::answers::AnswerArguments, shared::answers::answer,
};
use crate::lab::shown;
use crate::show::answer::Answer;
use clap::Args;
use s2lab_model::scenario::check_name;
use s2lab_os::whole;
use std::io;

/// The template, with `NAME` for its name.
const SKELETON: &str = include_str!("new.yaml");

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The scenario's name: small letters, digits and hyphens
    name: String,
    #[command(flatten)]
    form: AnswerArguments,
}

pub(crate) fn new(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let lab = own_lab(context, "a scenario cannot be written")?;
    check_name(&arguments.name).map_err(|message| Failure::Usage { message, hint: None })?;
    let text = SKELETON.replace("NAME", &arguments.name);
    let path = lab.scenario(&arguments.name);
    let below = path.strip_prefix(&lab.root).unwrap_or(&path);
    whole::write_new_below(&lab.root, below, text.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Usage { message: format!("{} already exists", shown(&path)), hint: None }
        }
        _ => Failure::io(format!("cannot write {}", shown(&path)))(error),
    })?;
    if arguments.form.is_json() {
        answer(&Answer::New { file: shown(&path) })?;
        return Ok(exit::FINE);
    }
    say(&format!(
        "{}: change it, check it with `s2lab lint`, run it with `s2lab run {}`",
        shown(&path),
        arguments.name
    ))?;
    Ok(exit::FINE)
}
