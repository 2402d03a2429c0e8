//! Gathers, runs, judges and prints a plan.

use super::{arguments::Arguments, keep::Keep};
use crate::cli::{
    VERSION,
    context::Context,
    failure::Failure,
    render::complain,
    render::say,
    render::say_bytes,
    shared::cells::Planned,
    shared::gather::{Gathered, Source},
    shared::judged::{Judged, lacks_to_pass},
};
use crate::{
    cache::CacheError,
    lab::Lab,
    private,
    run::{
        Course,
        folder::{self, RunFolder},
        give_up,
        judging::{Judging, RawPages},
        log::{EventLog, Writer},
        operator::{Operator, When},
        signals::Interruption,
    },
    show::{
        Format,
        progress::{Display, Mode},
        terminal::{self, Columns},
    },
};
use jiff::Timestamp;
use s2lab_model::{
    event::{Event, Line, Plan},
    judge::JudgedCell,
    plan::Key,
    summary::CellSummary,
    verdict::Verdict,
};
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long the cache has to end after a signal; more than make has to remove what it has half made.
const HEED: Duration = Duration::from_secs(12);

/// Between two lines of a cell at work, where progress is lines.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// Gathers, runs and judges the cells; returns the exit code.
pub(crate) async fn carry_out(
    context: &Context,
    lab: &Lab,
    planned: Planned,
    arguments: Arguments,
    keep: Keep,
) -> Result<u8, Failure> {
    let places = context.places()?;
    let interruption = Interruption::listen().map_err(Failure::io("cannot listen for signals"))?;
    // A person's shell and bars do not share a terminal.
    let alone = arguments.keep_on_failure || arguments.gdb;
    let bars = io::stderr().is_terminal() && !alone && context.common.verbose == 0;
    let mode = match (context.common.quiet, bars) {
        (true, _) => Mode::Quiet,
        (false, true) => Mode::Bars,
        (false, false) => Mode::Lines,
    };
    let display = Arc::new(Display::new(mode, interruption.clone()));
    let now = folder::now();
    let folder = run_folder(&places.state, arguments.out.as_deref(), now)?;
    if arguments.out.is_none() {
        keep.apply(&folder, now)?;
    }
    let judging = Judging::new(RawPages::new(folder.raw()));
    let (log, writer) = event_log(&folder, &display, &judging, arguments.format)?;
    let attempts = arguments.attempts();
    let started = now.to_string();
    let name = lab.name()?;
    folder.note_latest(&places.state, &name).map_err(Failure::io("cannot note the latest run"))?;
    let cells = planned.cells.clone();
    let plan = Plan { s2lab: VERSION.into(), started, lab: Some(name), attempts, cells };
    log.event(Event::Plan(plan));
    let ready = async {
        let trace = folder.trace();
        context.log_file.open(trace.map_err(Failure::io("cannot write s2lab.log"))?);
        let source =
            Source { places: &places, lab, parts: arguments.parts.parts(), offline: arguments.offline };
        Gathered::new(&planned, source, &display).await
    };
    let gathered = tokio::select! {
        gathered = ready => gathered,
        () = late(&interruption) => Err(Failure::Cache(CacheError::Cancelled)),
    };
    let gathered = match gathered {
        Ok(gathered) => gathered,
        Err(Failure::Cache(CacheError::Cancelled)) => return interrupted(&interruption, log, writer).await,
        Err(failure) => {
            // The cache's error quotes what its programs said; the cells need not.
            give_up(&log, &planned.cells, &failure.to_string(), failure.hint().as_deref());
            drop(log);
            // Both are printed: if the log is not whole, `s2lab report` cannot show the same.
            if let Err(error) = writer.finish().await {
                complain(&format!("error: cannot write the event log: {error}"));
            }
            return Err(failure);
        }
    };
    let cells = planned.cells;
    let columns = Columns::of(cells.iter().map(|cell| cell.key.as_str()));
    let jobs = if alone { 1 } else { arguments.jobs.map_or(gathered.slots(), usize::from) };
    let course = Course { jobs, attempts, fail_fast: arguments.fail_fast };
    let operator = alone.then(|| {
        let judging = judging.clone();
        let lacks = move |key: &Key| lacks_to_pass(&judging, key);
        let shell = arguments.keep_on_failure.then(|| When::NotPassed(Box::new(lacks)));
        Arc::new(Operator::new(shell, arguments.gdb))
    });
    let run = gathered.run(folder.clone(), log, interruption, operator);
    let human = arguments.format == Format::Human;
    let paint = context.paint();
    let printed = Mutex::new(BTreeMap::new());
    let ended = |cell: JudgedCell| {
        if human {
            let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
            printed.insert(cell.planned.key.clone(), cell.verdict.clone());
            let at = folder.cell_path(&cell.planned.key);
            display.print(&terminal::cell(&CellSummary::of(&cell, at), columns, paint));
        }
    };
    let carried = watched(run.carry_out(cells, course, Some(judging.clone()), ended), &display).await;
    writer.finish().await.map_err(Failure::io("cannot write the event log"))?;
    carried.map_err(Failure::io("the run"))?;

    let judged = Judged::live(&folder, &judging)?;
    judged.write_reports(&folder)?;
    folder.note_end(judged.has_failed()).map_err(Failure::io("cannot note the run's end"))?;
    let summary = judged.summary(&folder, Some(&lab.reports()));
    if human {
        // The findings over all cells of a kernel are known only now.
        let printed = printed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let changed = |cell: &&CellSummary| {
            let passed =
                printed.get(&cell.key).is_some_and(|said| said.as_ref().is_some_and(Verdict::passed));
            passed && cell.verdict == Some(Verdict::Fail)
        };
        for cell in summary.cells.iter().filter(changed) {
            display.print(&terminal::cell(cell, columns, paint));
        }
        say(&terminal::last_line(&summary))?;
    }
    if let Some(document) = arguments.format.document() {
        say_bytes(document(&summary).as_bytes())?;
    }
    display.printed().map_err(Failure::io("stdout"))?;
    Ok(judged.run.exit)
}

fn run_folder(state: &Path, out: Option<&Path>, now: Timestamp) -> Result<RunFolder, Failure> {
    out.map_or(Ok(()), private::check)?;
    let place = out.unwrap_or(state).display();
    RunFolder::create(state, out, now).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Usage { message: format!("--out {place}: {error}"), hint: None }
        }
        _ => Failure::io(format!("cannot make a run's folder in {place}"))(error),
    })
}

fn event_log(
    folder: &RunFolder,
    display: &Arc<Display>,
    judging: &Judging,
    format: Format,
) -> Result<(EventLog, Writer), Failure> {
    let (display, judging) = (Arc::clone(display), judging.clone());
    let run = folder.clone();
    let observe = move |line: &Line, text: &str| {
        if let (Some(key), Event::CellStarted { .. }) = (&line.cell, &line.event) {
            tracing::info!("{key}  consoles and logs: {}", run.cell_path(key).display());
        }
        judging.line(text);
        display.event(line);
        if format == Format::Events {
            display.print(text.trim_end());
        }
    };
    let file = folder.log().map_err(Failure::io("cannot make the event log"))?;
    Ok(EventLog::begin(file, observe))
}

/// Drives the run; meanwhile the display prints now and then what is at work.
async fn watched<T>(run: impl Future<Output = T>, display: &Display) -> T {
    let mut run = std::pin::pin!(run);
    let mut ticks = tokio::time::interval(SIGN_OF_LIFE);
    // The first tick comes at once.
    ticks.tick().await;
    loop {
        tokio::select! {
            done = &mut run => return done,
            _ = ticks.tick() => display.sign_of_life(),
        }
    }
}

/// Resolves some time after the first signal, if what is gathered does not heed it: a file system may never answer.
async fn late(interruption: &Interruption) {
    interruption.interrupted().await;
    tokio::time::sleep(HEED).await;
}

async fn interrupted(interruption: &Interruption, log: EventLog, writer: Writer) -> Result<u8, Failure> {
    let signal = interruption.signal().unwrap_or("SIGINT");
    log.event(Event::Interrupted { signal: signal.into() });
    drop(log);
    writer.finish().await.map_err(Failure::io("cannot write the event log"))?;
    Ok(s2lab_model::verdict::Interrupt::of_signal(signal).exit())
}
