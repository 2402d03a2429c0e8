//! Gathers, runs, judges and prints a plan.

use super::{arguments::Arguments, keep::Keep};
use crate::cli::{
    VERSION,
    context::Context,
    failure::Failure,
    render::{self, all, complain, say},
    shared::cells::CellPlan,
    shared::gather::{Provisions, Source},
    shared::judged::{Judged, lacks_to_pass},
    shared::outputs::Outputs,
};
use crate::{
    boot::prepared::HEED,
    lab::{Lab, Places},
    run::{
        Course,
        folder::{self, RunFolder},
        give_up,
        judging::{Judging, RawPages},
        log::{EventLog, Writer},
        operator::{Operator, When},
        report_cache::{self, ReportCache},
        signals::Interruption,
    },
    show::{
        Format,
        progress::{Display, Mode},
        tables,
        terminal::{self, Columns},
    },
};
use jiff::Timestamp;
use s2lab_cache::CacheError;
use s2lab_model::{
    event::{Event, Line, Plan},
    judge::JudgedCell,
    plan::{Key, shuffled},
    summary::{CellSummary, RunSummary},
    verdict::{Interrupt, Verdict},
};
use s2lab_os::private;
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    path::Path,
    sync::Arc,
    time::Duration,
};

/// Between two lines of a cell at work, where progress is lines.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// A run that has ended, judged.
pub(crate) struct Ended {
    pub(crate) run: RunSummary,
    /// It is in the history.
    pub(crate) in_history: bool,
}

/// Gathers, runs and judges the cells; returns the exit code. `ended` gets the run, if its log is
/// whole.
pub(crate) async fn carry_out(
    context: &Context,
    lab: &Lab,
    planned: CellPlan,
    arguments: Arguments,
    keep: Keep,
    ended: impl FnOnce(Ended),
) -> Result<u8, Failure> {
    let (begun, log, writer) = ActiveRun::new(context, lab, &arguments, &planned, keep)?;
    match begun.gather(&planned).await {
        Ok(gathered) => {
            let printed = begun.run(gathered, log, planned).await;
            writer.finish().await.map_err(Failure::io("cannot write the event log"))?;
            begun.finish(&printed.map_err(Failure::io("the run"))?, ended)
        }
        Err(Failure::Cache(CacheError::Cancelled)) => {
            let exit = begun.interrupted(log, writer).await?;
            begun.document(ended)?;
            Ok(exit)
        }
        Err(failure) => {
            // The cache's error quotes the output of its programs; the cells need not.
            give_up(&log, &planned.cells, &failure.to_string(), failure.hint().as_deref());
            drop(log);
            // Both are printed: if the log is not whole, `s2lab report` cannot show the same.
            match writer.finish().await {
                Ok(()) => begun.document(ended).unwrap_or_else(|error| render::failure(&error)),
                Err(error) => complain(&format!("error: cannot write the event log: {error}")),
            }
            Err(failure)
        }
    }
}

/// The verdicts of the cells that were printed.
type Printed = BTreeMap<Key, Option<Verdict>>;

/// A run that has a folder and a log.
struct ActiveRun<'a> {
    context: &'a Context,
    lab: &'a Lab,
    arguments: &'a Arguments,
    outputs: Outputs<'a, RunSummary>,
    places: Places,
    interruption: Interruption,
    display: Arc<Display>,
    folder: RunFolder,
    judging: Judging,
    /// The run is one on mutants: its lines are about mutants, not about cells.
    on_mutants: bool,
}

impl<'a> ActiveRun<'a> {
    /// Makes the folder and the log, with the plan in it.
    fn new(
        context: &'a Context,
        lab: &'a Lab,
        arguments: &'a Arguments,
        planned: &CellPlan,
        keep: Keep,
    ) -> Result<(Self, EventLog, Writer), Failure> {
        let outputs = match planned.compare {
            Some(_) => arguments.output.of_compare()?,
            None => arguments.output.of_run("run")?,
        };
        let (places, name) = (context.places()?, lab.name()?);
        let interruption = Interruption::listen().map_err(Failure::io("cannot listen for signals"))?;
        let display = Arc::new(Display::new(mode(context, arguments), interruption.clone()));
        let now = folder::now();
        let folder = run_folder(&places.state, arguments.out.as_deref(), now)?;
        if arguments.out.is_none() {
            if planned.night.is_some() {
                folder.mark_night().map_err(Failure::io("cannot mark the run"))?;
            }
            keep.apply(&folder, now)?;
        }
        folder.note_latest(&places.state, &name).map_err(Failure::io("cannot note the latest run"))?;
        let judging = Judging::new(RawPages::new(folder.raw()));
        let (log, writer) = event_log(&folder, &display, &judging, outputs.format)?;
        log.event(Event::Plan(Plan {
            s2lab: VERSION.into(),
            started: now.to_string(),
            lab: Some(name),
            lab_commit: lab.commit(),
            attempts: arguments.attempts(),
            kernels: planned.origins(lab),
            shuffle: arguments.seed(),
            night: planned.night.clone(),
            mutants: planned.mutants.clone(),
            shard: planned.shard.clone().map(Box::new),
            compare: planned.compare.clone(),
            cells: planned.cells.clone(),
        }));
        let on_mutants = planned.mutants.is_some();
        let begun = Self {
            context,
            lab,
            arguments,
            outputs,
            places,
            interruption,
            display,
            folder,
            judging,
            on_mutants,
        };
        Ok((begun, log, writer))
    }

    async fn gather(&self, planned: &CellPlan) -> Result<Provisions, Failure> {
        let ready = async {
            let trace = self.folder.trace();
            self.context.log_file.open(trace.map_err(Failure::io("cannot write s2lab.log"))?);
            let (parts, offline) = (self.arguments.parts.parts(), self.arguments.offline);
            // A comparison has printed how many boots it takes.
            let counts = planned.compare.is_none();
            let quick_guests = self.arguments.quick_guests;
            let source = Source { places: &self.places, lab: self.lab, parts, offline, quick_guests, counts };
            Provisions::new(planned, source, &self.display).await
        };
        tokio::select! {
            gathered = ready => gathered,
            () = late(&self.interruption) => Err(Failure::Cache(CacheError::Cancelled)),
        }
    }

    /// Runs the cells and prints each when it has ended.
    async fn run(
        &self,
        mut gathered: Provisions,
        log: EventLog,
        CellPlan { cells, compare, .. }: CellPlan,
    ) -> io::Result<Printed> {
        report_cache::prepare();
        let columns = Columns::of(cells.iter().map(|cell| cell.key.as_str()));
        let operator = self.operator();
        let jobs = match (&operator, &compare) {
            (None, None) => gathered.jobs(self.arguments.jobs),
            _ => 1,
        };
        let Arguments { fail_fast, isolate, resume, .. } = *self.arguments;
        let attempts = self.arguments.attempts();
        // The cells of a comparison are printed together, at its end.
        let has_lines = self.outputs.has_lines() && compare.is_none();
        // A saved host has the guests of its cell.
        let isolate = isolate || resume;
        let course = Course { jobs, attempts, fail_fast, isolate, compare };
        let saved = gathered.saved(resume);
        let mut run = gathered.run(self.folder.clone(), log, self.interruption.clone(), operator);
        run.seed = self.arguments.seed();
        run.saved = saved;
        let cells = match self.arguments.seed() {
            Some(seed) => shuffled(cells, seed),
            None => cells,
        };
        let mut printed = Printed::new();
        let ended = |cell: JudgedCell| {
            if has_lines && !self.on_mutants {
                printed.insert(cell.planned.key.clone(), cell.verdict.clone());
                let at = self.folder.cell_path(&cell.planned.key);
                let text = terminal::cell(&CellSummary::of(&cell, at), columns, self.context.paint());
                self.display.print(&text);
            }
        };
        let carried = run.carry_out(cells, course, Some(self.judging.clone()), ended);
        watched(carried, &self.display).await.map(|()| printed)
    }

    /// A person at the hosts, if the arguments want one.
    fn operator(&self) -> Option<Arc<Operator>> {
        let Arguments { keep_on_failure, gdb, .. } = self.arguments;
        let judging = self.judging.clone();
        let lacks = move |key: &Key| lacks_to_pass(&judging, key);
        let shell = keep_on_failure.then(|| When::NotPassed(Box::new(lacks)));
        (*keep_on_failure || *gdb).then(|| Arc::new(Operator::new(shell, *gdb, tables::now)))
    }

    fn judged(&self) -> Result<Judged, Failure> {
        Judged::live(&self.folder, &self.judging, &ReportCache::new(&self.places.cache))
    }

    fn summary(&self, judged: &Judged) -> RunSummary {
        judged.summary(&self.folder, judged.accepted(Some(&self.lab.reports())))
    }

    /// Writes what is derived from the log, and prints what is said of the whole run.
    fn finish(&self, printed: &Printed, ended: impl FnOnce(Ended)) -> Result<u8, Failure> {
        let judged = self.judged()?;
        let reports = judged.write_reports(&self.folder);
        let noted = self.folder.note_end(judged.has_failed());
        let summary = self.summary(&judged);
        let said = match self.outputs.has_lines() {
            true if summary.comparison.is_some() => say(&terminal::run(&summary, self.context.paint())),
            true => self.say_end(&summary, printed),
            false => self.outputs.document(&summary),
        };
        let done = all([
            self.outputs.write(&summary, said),
            self.display.printed().map_err(Failure::io("stdout")),
            reports,
            noted.map_err(Failure::io("cannot note the run's end")),
        ]);
        self.keep(summary, ended);
        done.map(|()| judged.run.exit)
    }

    /// Prints the last line, and before it the cells whose verdict has changed at the end.
    fn say_end(&self, summary: &RunSummary, printed: &Printed) -> Result<(), Failure> {
        let columns = Columns::of(summary.cells.iter().map(|cell| cell.key.as_str()));
        // The findings over all cells of a kernel are known only now.
        let changed = |cell: &&CellSummary| {
            let passed = |verdict: &Option<Verdict>| verdict.as_ref().is_some_and(Verdict::passed);
            cell.verdict == Some(Verdict::Fail) && printed.get(&cell.key).is_some_and(passed)
        };
        if self.on_mutants {
            return say(&terminal::run(summary, self.context.paint()));
        }
        for cell in summary.cells.iter().filter(changed) {
            self.display.print(&terminal::cell(cell, columns, self.context.paint()));
        }
        say(&terminal::last_line(summary))
    }

    /// Prints and writes the requested documents where no host has booted, and adds the run to the
    /// history. People get the error alone.
    fn document(&self, ended: impl FnOnce(Ended)) -> Result<(), Failure> {
        let judged = self.judged()?;
        let summary = self.summary(&judged);
        let said = match self.outputs.has_lines() {
            true => Ok(()),
            false => self.outputs.document(&summary),
        };
        let written = self.outputs.write(&summary, said);
        self.keep(summary, ended);
        written
    }

    /// Adds the run to the history.
    fn keep(&self, run: RunSummary, ended: impl FnOnce(Ended)) {
        // A mutant fails on purpose: it is not a result of its kernel.
        let in_history = !self.on_mutants && self.arguments.history.keep(&self.places, &run);
        ended(Ended { run, in_history });
    }

    async fn interrupted(&self, log: EventLog, writer: Writer) -> Result<u8, Failure> {
        let signal = self.interruption.signal().unwrap_or("SIGINT");
        log.event(Event::Interrupted { signal: signal.into() });
        drop(log);
        writer.finish().await.map_err(Failure::io("cannot write the event log"))?;
        Ok(Interrupt::of_signal(signal).exit())
    }
}

/// The form of progress. A person's shell and bars do not share a terminal, nor do `-v` and bars.
fn mode(context: &Context, arguments: &Arguments) -> Mode {
    let alone = arguments.keep_on_failure || arguments.gdb;
    let bars = io::stderr().is_terminal() && !alone && context.common.verbose == 0;
    match (context.common.quiet, bars) {
        (true, _) => Mode::Quiet,
        (false, true) => Mode::Bars,
        (false, false) => Mode::Lines,
    }
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

/// Resolves some time after the first signal, if gathering does not end: a file system may never
/// answer.
async fn late(interruption: &Interruption) {
    interruption.interrupted().await;
    tokio::time::sleep(HEED).await;
}
