//! `s2lab runs list`.

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::say,
    shared::{
        answers::{AnswerArguments, answer},
        history::HistoryArguments,
        judged::Judged,
    },
};
use crate::{
    run::retention::{Kept, KeptRun, kept},
    show::{
        answer::{Answer, RunContent, RunEntry},
        past::minute,
        terminal::counted,
    },
};
use clap::Args;
use s2lab_history::{History, HistoryError};
use s2lab_model::{
    escape,
    history::{CellEnding, PastRun, RunEnding},
    summary::RunSummary,
    verdict::Verdict,
};
use s2lab_os::size::Size;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    history: HistoryArguments,
    #[command(flatten)]
    form: AnswerArguments,
}

pub(super) fn list(context: &Context, arguments: &ListArguments) -> Result<u8, Failure> {
    let state = context.places()?.state;
    let runs = kept(&state).map_err(Failure::io(state.display().to_string()))?;
    let past = EndedRuns::read(arguments.history.open(context));
    let read: Vec<_> = runs.iter().map(|run| (run, content(run, &past))).collect();
    if arguments.form.is_json() {
        answer(&Answer::Runs { runs: read.iter().map(|(run, content)| entry(run, content)).collect() })?;
        return Ok(exit::FINE);
    }
    let width = runs.iter().map(|run| run.name.chars().count()).max().unwrap_or_default();
    for (run, content) in &read {
        let (size, why) = (Size(run.bytes).to_string(), run.why.word());
        let content = match content {
            Ok(Content { started, lab, whole, cells, .. }) => {
                let lab = lab.as_deref().unwrap_or_default();
                format!("{}  {}  {lab}", minute(started), counted(cells, *whole))
            }
            Err(failure) => format!("not readable: {failure}"),
        };
        say(escape::plain(&format!("{:<width$}  {size:>9}  {why:<9}  {content}", run.name)).trim_end())?;
    }
    Ok(exit::FINE)
}

/// The content of a run's log, as far as it is listed.
struct Content {
    started: String,
    lab: Option<String>,
    exit: u8,
    /// The log has the run's end.
    whole: bool,
    cells: Vec<CellEnding>,
}

/// Returns the content of a run: as the history has it if the run has ended and s2lab made its
/// folder as it is, else as its log has it.
fn content(run: &KeptRun, past: &EndedRuns) -> Result<Content, Failure> {
    let has_ended = matches!(run.why, Kept::Failed | Kept::Newest);
    let known = if has_ended { past.content(run) } else { None };
    match known {
        Some(known) => Ok(known),
        None => Judged::read(&run.folder).map(|judged| Content::of(&judged.summary(&run.folder, None))),
    }
}

/// The runs of the history by their folders.
#[derive(Default)]
struct EndedRuns {
    history: Option<History>,
    runs: HashMap<PathBuf, PastRun>,
}

impl EndedRuns {
    /// Reads the runs. Without a history each run is judged, which takes longer and shows the same.
    fn read(history: Result<History, Failure>) -> Self {
        let read = |history: History| -> Result<Self, HistoryError> {
            let runs = history.runs(None)?.into_iter().map(|run| (run.folder.clone(), run)).collect();
            Ok(Self { history: Some(history), runs })
        };
        history.and_then(|history| Ok(read(history)?)).unwrap_or_else(|error| {
            tracing::debug!("the runs are judged again: {error}");
            Self::default()
        })
    }

    fn content(&self, run: &KeptRun) -> Option<Content> {
        let past = self.runs.get(run.folder.path())?;
        let cells = self.history.as_ref()?.endings(past.id).ok()?;
        let PastRun { started, lab, exit, ending, .. } = past.clone();
        Some(Content { started, lab, exit, whole: ending != RunEnding::Lost, cells })
    }
}

impl Content {
    fn of(RunSummary { started, lab, exit, whole, cells, .. }: &RunSummary) -> Self {
        let (started, lab) = (started.clone(), lab.clone());
        Self { started, lab, exit: *exit, whole: *whole, cells: cells.iter().map(CellEnding::of).collect() }
    }
}

fn entry(run: &KeptRun, content: &Result<Content, Failure>) -> RunEntry {
    RunEntry {
        run: run.name.clone(),
        folder: run.folder.path().display().to_string(),
        bytes: run.bytes,
        kept: run.why.word(),
        content: content.as_ref().ok().map(listed),
        unreadable: content.as_ref().err().map(ToString::to_string),
    }
}

fn listed(Content { started, lab, exit, cells: endings, .. }: &Content) -> RunContent {
    let mut cells = BTreeMap::new();
    for CellEnding { verdict, .. } in endings {
        let verdict = verdict.as_ref().map_or("none", Verdict::name);
        *cells.entry(verdict.to_owned()).or_default() += 1;
    }
    RunContent { started: started.clone(), lab: lab.clone(), exit: *exit, cells }
}
