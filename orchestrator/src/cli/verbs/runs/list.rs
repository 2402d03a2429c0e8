//! `s2lab runs list`.

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::say,
    shared::{answers::answer, judged::Judged},
};
use crate::{
    run::retention::{KeptRun, kept},
    show::{
        answer::{Answer, RunContent, RunEntry},
        past::minute,
        terminal::endings_of,
    },
};
use s2lab_model::{escape, summary::RunSummary, verdict::Verdict};
use s2lab_os::size::Size;
use std::collections::BTreeMap;

pub(super) fn list(context: &Context, json: bool) -> Result<u8, Failure> {
    let state = context.places()?.state;
    let runs = kept(&state).map_err(Failure::io(state.display().to_string()))?;
    let read = |run: &KeptRun| Judged::read(&run.folder).map(|judged| judged.summary(&run.folder, None));
    let read: Vec<_> = runs.iter().map(|run| (run, read(run))).collect();
    if json {
        answer(&Answer::Runs { runs: read.iter().map(|(run, summary)| entry(run, summary)).collect() })?;
        return Ok(exit::FINE);
    }
    let width = runs.iter().map(|run| run.name.chars().count()).max().unwrap_or_default();
    for (run, summary) in &read {
        let (size, why) = (Size(run.bytes).to_string(), run.why.word());
        let content = match summary {
            Ok(summary) => format!("{}  {}", minute(&summary.started), of_cells(summary)),
            Err(failure) => format!("not readable: {failure}"),
        };
        say(escape::plain(&format!("{:<width$}  {size:>9}  {why:<9}  {content}", run.name)).trim_end())?;
    }
    Ok(exit::FINE)
}

fn of_cells(summary: &RunSummary) -> String {
    format!("{}  {}", endings_of(summary), summary.lab.as_deref().unwrap_or_default())
}

fn entry(run: &KeptRun, summary: &Result<RunSummary, Failure>) -> RunEntry {
    RunEntry {
        run: run.name.clone(),
        folder: run.folder.path().display().to_string(),
        bytes: run.bytes,
        kept: run.why.word(),
        content: summary.as_ref().ok().map(content),
        unreadable: summary.as_ref().err().map(ToString::to_string),
    }
}

fn content(summary: &RunSummary) -> RunContent {
    let mut cells = BTreeMap::new();
    for cell in &summary.cells {
        let verdict = cell.verdict.as_ref().map_or("none", Verdict::name);
        *cells.entry(verdict.to_owned()).or_default() += 1;
    }
    let RunSummary { started, lab, exit, .. } = summary;
    RunContent { started: started.clone(), lab: lab.clone(), exit: *exit, cells }
}
