//! `s2lab report`: a past run, from `events.jsonl` and `raw/` alone.

use crate::cli::{
    context::Context,
    failure::Failure,
    render::{all, say, say_bytes},
    shared::{
        judged::Judged,
        outputs::{OutputArguments, Outputs},
        runs::open,
    },
};
use crate::{
    run::folder::RunFolder,
    show::{Format, terminal},
};
use clap::Args;
use s2lab_model::{plan::Key, summary::RunSummary};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A run's folder or its name, or a bundle; default: the latest of the lab folder
    run: Option<String>,
    /// Only the cells with these keys, and their reports in full; a key without axes means all points
    #[arg(long, value_name = "KEY", conflicts_with_all = ["format", "output"])]
    cell: Vec<String>,
    #[command(flatten)]
    output: OutputArguments,
}

pub(crate) fn report(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let outputs = arguments.output.of_run("report")?;
    let folder = open(context, arguments.run.as_deref())?;
    let judged = Judged::read_as_far(&folder)?;
    // A run of elsewhere may be read where nothing can be written: it is shown before that is
    // tried.
    let written = judged.write_reports(&folder);
    let shown = match arguments.cell.is_empty() {
        true => show(context, &outputs, &folder, &judged),
        false => show_reports(&arguments.cell, &judged),
    };
    all([shown, written])?;
    Ok(judged.run.exit)
}

fn show_reports(keys: &[String], judged: &Judged) -> Result<(), Failure> {
    let mut shown = vec![];
    for key in keys {
        let of_key = |known: &&Key| match judged.reports.contains_key(key.as_str()) {
            true => *known == key.as_str(),
            // A key without axes that is no cell's means all points of its axes.
            false => known.plain() == key,
        };
        let found: Vec<_> = judged.reports.keys().filter(of_key).collect();
        if found.is_empty() {
            return Err(no_report(key, judged));
        }
        shown.extend(found.into_iter().filter_map(|key| judged.reports.get(key)));
    }
    shown.into_iter().try_for_each(|report| say(report.text().trim_end()))
}

/// Shows the whole run.
fn show(
    context: &Context,
    outputs: &Outputs<'_, RunSummary>,
    folder: &RunFolder,
    judged: &Judged,
) -> Result<(), Failure> {
    let lab = match context.lab() {
        Ok(lab) => Some(lab.reports()),
        // There is none, and no place for the built-in one.
        Err(Failure::Cache(_)) => None,
        Err(other) => return Err(other),
    };
    let summary = judged.summary(folder, judged.accepted(lab.as_deref()));
    let printed = match outputs.format {
        Format::Human => say(&terminal::run(&summary, context.paint())),
        Format::Events => folder.read_log().map_err(Failure::from).and_then(|log| say_bytes(&log)),
        _ => outputs.document(&summary),
    };
    outputs.write(&summary, printed)
}

fn no_report(key: &str, judged: &Judged) -> Failure {
    let mut planned = judged.run.cells.iter().map(|cell| cell.planned.key.as_str());
    let hint = match planned.clone().any(|known| known == key) {
        true => "it was planned, but the run ended before it was judged, or did not come to it".into(),
        false => s2lab_model::diagnostic::suggest(key, planned.by_ref()),
    };
    Failure::Usage { message: format!("the run has no report of `{key}`"), hint: Some(hint) }
}
