//! `s2lab history`: what past runs say of each cell; and adding runs to it.

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::{say, say_bytes},
    shared::{
        answers::{AnswerArguments, answer},
        history::{HistoryArguments, PastArguments},
        judged::Judged,
        runs::open,
    },
};
use crate::show::{
    answer::{AddedRun, Answer, CellHistory},
    history::{Row, lines},
};
use clap::{Args, Subcommand};
use s2lab_history::Added;
use s2lab_model::{
    escape,
    history::{PastCell, Trend},
    plan::{Key, selects},
};
use std::{cmp::Reverse, collections::BTreeMap};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<HistoryVerb>,
    #[command(flatten)]
    list: ListArguments,
}

#[derive(Debug, Subcommand)]
enum HistoryVerb {
    /// Add past runs; the same run twice is one
    Add(AddArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Globs of keys, or of scenarios; default: all cells
    #[arg(value_name = "GLOB")]
    cells: Vec<String>,
    /// Only the first N cells
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    past: PastArguments,
    #[command(flatten)]
    form: AnswerArguments,
}

#[derive(Debug, Args)]
struct AddArguments {
    /// Runs' folders or names, or bundles
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<String>,
    #[command(flatten)]
    history: HistoryArguments,
    #[command(flatten)]
    form: AnswerArguments,
}

pub(crate) fn history(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.verb {
        Some(HistoryVerb::Add(add)) => add_runs(context, add),
        None => list(context, &arguments.list),
    }
}

fn list(context: &Context, arguments: &ListArguments) -> Result<u8, Failure> {
    let past = &arguments.past;
    let (history, lab) = (past.history.open(context)?, past.lab(context)?);
    let mut cells = history.cells(lab.as_deref())?;
    let is_meant =
        |key: &Key| arguments.cells.is_empty() || arguments.cells.iter().any(|glob| selects(glob, key));
    cells.retain(|key, _| is_meant(key));
    if cells.is_empty() {
        let what = arguments.cells.iter().map(|glob| format!("`{glob}`")).collect::<Vec<_>>().join(", ");
        let what = if what.is_empty() { "any cell".to_owned() } else { what };
        return Err(past.nothing(&history, lab.as_deref(), &what));
    }
    let mut rows = rows(&cells);
    rows.truncate(arguments.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX));
    if arguments.form.is_json() {
        let file = history.path().display().to_string();
        let cells = rows.iter().map(|row| CellHistory::of(&row.trend, row.cells)).collect();
        answer(&Answer::History { file, cells })?;
    } else {
        say_bytes(lines(&rows).as_bytes())?;
    }
    Ok(exit::FINE)
}

/// Returns a row a cell, those of the newest runs first, then by key.
fn rows(cells: &BTreeMap<Key, Vec<PastCell>>) -> Vec<Row<'_>> {
    let rows = cells.values().filter_map(|cells| Some(Row { trend: Trend::of(cells)?, cells }));
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|row| Reverse(row.trend.last.run.began));
    rows
}

fn add_runs(context: &Context, arguments: &AddArguments) -> Result<u8, Failure> {
    let places = context.places()?;
    let mut added = vec![];
    for run in &arguments.runs {
        let folder = open(context, Some(run))?;
        if folder.is_at_work().map_err(Failure::io(folder.events().display().to_string()))? {
            let message = format!("the run {} is still at work", folder.path().display());
            return Err(Failure::Usage { message, hint: Some("it is added at its end".into()) });
        }
        let judged = Judged::read(&folder)?;
        // Another lab folder's accepted reports would say nothing about it.
        let own = context.lab().ok().filter(|lab| lab.name().ok() == judged.run.lab);
        let summary = judged.summary(&folder, own.map(|lab| lab.reports()).as_deref());
        let result = match arguments.history.add(&places, &summary)? {
            Added::New(_) => "added",
            Added::Again(_) => "again",
            Added::Part(_) => "part",
        };
        added.push(AddedRun { run: folder.path().display().to_string(), result });
    }
    if arguments.form.is_json() {
        answer(&Answer::HistoryAdd { runs: added })?;
        return Ok(exit::FINE);
    }
    for AddedRun { run, result } in added {
        let run = escape::plain(&run);
        say(&match result {
            "added" => format!("added {run}"),
            "again" => format!("replaced {run}, which was there"),
            _ => format!("left {run} as it was: the history has more of its cells"),
        })?;
    }
    Ok(exit::FINE)
}
