//! `s2lab report`: a past run, from `events.jsonl` and `raw/` alone.

use crate::cli::{
    context::Context,
    failure::Failure,
    render::say,
    render::say_bytes,
    shared::{judged::Judged, runs::open},
};
use crate::{
    run::folder::RunFolder,
    show::{Format, terminal},
};
use clap::Args;
use s2lab_os::outside::{self, kinds};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A run's folder or its name; default: the latest of the lab folder
    run: Option<String>,
    /// Only the cells with these keys, and their reports in full
    #[arg(long, value_name = "KEY")]
    cell: Vec<String>,
    /// Form of the output: lines for people, or see docs/formats.md
    #[arg(long, value_enum, default_value = "human", conflicts_with = "cell")]
    format: Format,
}

pub(crate) fn report(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let folder = open(context, arguments.run.as_deref())?;
    let judged = Judged::read(&folder)?;
    // A run of elsewhere may be read where nothing can be written: it is shown before that is
    // tried.
    let written = judged.write_reports(&folder);
    match arguments.cell.is_empty() {
        true => show(context, arguments.format, &folder, &judged)?,
        false => {
            for key in &arguments.cell {
                let report = judged.reports.get(key.as_str()).ok_or_else(|| no_report(key, &judged))?;
                say(report.text().trim_end())?;
            }
        }
    }
    written?;
    Ok(judged.run.exit)
}

/// Shows the whole run.
fn show(context: &Context, format: Format, folder: &RunFolder, judged: &Judged) -> Result<(), Failure> {
    let lab = match context.lab() {
        Ok(lab) => Some(lab.reports()),
        // There is none, and no place for the built-in one.
        Err(Failure::Cache(_)) => None,
        Err(other) => return Err(other),
    };
    let summary = judged.summary(folder, lab.as_deref());
    match (format, format.document()) {
        (_, Some(document)) => say_bytes(document(&summary).as_bytes()),
        (Format::Events, _) => say_bytes(&outside::read(&folder.events(), kinds::EVENT_LOG)?),
        (_, None) => say(&terminal::run(&summary, context.paint())),
    }
}

fn no_report(key: &str, judged: &Judged) -> Failure {
    let mut planned = judged.run.cells.iter().map(|cell| cell.planned.key.as_str());
    let hint = match planned.clone().any(|known| known == key) {
        true => "it was planned, but the run ended before it was judged, or did not come to it".into(),
        false => s2lab_model::diagnostic::suggest(key, planned.by_ref()),
    };
    Failure::Usage { message: format!("the run has no report of `{key}`"), hint: Some(hint) }
}
