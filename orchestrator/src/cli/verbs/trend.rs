//! `s2lab trend`: the past of one cell.

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::say_bytes,
    shared::{
        answers::{AnswerArguments, answer},
        history::PastArguments,
    },
};
use crate::show::{
    answer::{self, Answer},
    trend::{Drawing, lines},
};
use clap::Args;
use s2lab_model::{history::Trend, plan::Key};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The key of the cell, as `s2lab history` prints it
    key: Key,
    /// Only the newest N runs
    #[arg(long, value_name = "N", default_value = "80", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    past: PastArguments,
    #[command(flatten)]
    form: AnswerArguments,
}

pub(crate) fn trend(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let Arguments { key, past, .. } = arguments;
    let (history, lab) = (past.history.open(context)?, past.lab(context)?);
    let all = history.past(key, lab.as_deref())?;
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let left_out = all.len().saturating_sub(limit);
    let cells = all.get(left_out..).unwrap_or_default();
    let Some(trend) = Trend::of(cells) else {
        return Err(past.nothing(&history, lab.as_deref(), &format!("the cell `{key}`")));
    };
    let measures = history.measures(key, lab.as_deref())?;
    let drawing = Drawing { trend, cells, measures: &measures, left_out };
    if arguments.form.is_json() {
        let times: Vec<_> = drawing.times().into_iter().flatten().collect();
        let file = history.path().display().to_string();
        let trend = answer::Trend::of(file, &drawing.trend, cells, &times, &measures);
        answer(&Answer::Trend(Box::new(trend)))?;
    } else {
        say_bytes(lines(&drawing).as_bytes())?;
    }
    Ok(exit::FINE)
}
