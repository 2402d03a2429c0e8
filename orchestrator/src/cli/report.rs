//! `s2lab report`: a run told again, from `events.jsonl` and `raw/` alone.

use super::{Context, Failure, judged::Judged, say};
use crate::{run::folder::RunFolder, show::terminal};
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A run's folder or its name; default: the latest
    run: Option<String>,
    /// Only the cells with these keys, and their reports in full
    #[arg(long, value_name = "KEY")]
    cell: Vec<String>,
}

pub(super) fn report(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let folder = open(context, arguments.run.as_deref())?;
    let judged = Judged::read(&folder)?;
    judged.write_reports(&folder)?;
    for key in &arguments.cell {
        let report = judged.reports.get(key).ok_or_else(|| no_report(key, &judged))?;
        say(report.text().trim_end())?;
    }
    if arguments.cell.is_empty() {
        let summaries = judged.summaries();
        let columns =
            terminal::Columns { key: summaries.iter().map(|cell| cell.key.len()).max().unwrap_or_default() };
        for summary in &summaries {
            let logs = folder.path().join("cells").join(&summary.key);
            say(&terminal::cell(summary, columns, context.paint(), &logs))?;
        }
        let standings = judged.standings(&context.lab()?.reports())?;
        say(&terminal::summary(&summaries, &standings, folder.path()))?;
    }
    Ok(judged.run.exit)
}

/// The run that an argument names.
pub(super) fn open(context: &Context, run: Option<&str>) -> Result<RunFolder, Failure> {
    RunFolder::open(&context.places()?.state, run).map_err(|source| Failure::Usage {
        message: source.to_string(),
        hint: Some("`s2lab run` makes one".into()),
    })
}

fn no_report(key: &str, judged: &Judged) -> Failure {
    let near = s2lab_model::diagnostic::suggest(key, judged.reports.keys().map(String::as_str));
    Failure::Usage { message: format!("the run has no report of `{key}`"), hint: Some(near) }
}
