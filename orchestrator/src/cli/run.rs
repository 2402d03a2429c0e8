//! `s2lab run`: plan, gather, carry out, judge.

use super::{Context, Failure, VERSION, complain, failed, judged::Judged, parts::PartArguments, say};
use crate::{
    lab::{Lab, scenarios},
    qemu::{factor, process::Launcher},
    run::{
        Course, Run,
        folder::RunFolder,
        give_up,
        images::{ImageChoice, Images, KernelConfig},
        log::{EventLog, Writer},
        preflight::STATE_SPACE,
        signals::Interruption,
        slots::Slots,
        stages::Deadlines,
    },
    show::{
        progress::{Display, Mode},
        terminal::{self, Columns},
    },
    store::{Store, StoreError},
};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use s2lab_model::{
    event::{Attempts, Event, Line, Plan, PlannedCell},
    judge::JudgedCell,
    kernel::Kernels,
    plan::{KernelChoice, Selection, plan},
    report::summary,
    verdict::NOTHING_TESTED,
};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Most attempts at one cell: a log holds them all.
const MOST_ATTEMPTS: i64 = 1000;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Scenarios, keys SCENARIO@KERNEL, globs of either, or scenario files; default: all scenarios
    #[arg(value_name = "GLOB|KEY|FILE")]
    pub(super) what: Vec<String>,
    #[command(flatten)]
    pub(super) kernels: KernelArguments,
    #[command(flatten)]
    pub(super) parts: PartArguments,
    /// Attempt each cell N times; attempts that differ are FLAKY
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_ATTEMPTS))]
    repeat: Option<u32>,
    /// Attempt a cell up to N times more while it is MISS or LOST, which say nothing about the kernel
    #[arg(long, value_name = "N", default_value = "0", conflicts_with = "repeat")]
    #[arg(value_parser = clap::value_parser!(u32).range(..MOST_ATTEMPTS))]
    retry: u32,
    /// The cells of the latest run that neither passed nor were skipped
    #[arg(long, conflicts_with_all = ["what", "kernels", "modules"])]
    failed: bool,
    /// Begin no cell after the first that neither passes nor is skipped
    #[arg(long)]
    fail_fast: bool,
    /// How many cells at a time; default: one for each two cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Do not touch the network: what is not in the store is an error
    #[arg(long)]
    offline: bool,
    /// Print the cells and stop
    #[arg(long)]
    dry_run: bool,
    /// Write the run there instead of under the state folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What goes to stdout; json is the event log as it grows
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

#[derive(Debug, Args, Default)]
pub(super) struct KernelArguments {
    /// A kernel of images/kernels.yaml, or the path of an arm64 Image; repeatable; default: the default kernels
    #[arg(long = "kernel", value_name = "NAME|PATH")]
    pub(super) kernels: Vec<String>,
    /// Modules of the kernel given by its path: a folder with .ko files in any depth; default: all are built in
    #[arg(long, value_name = "DIR", requires = "kernels")]
    pub(super) modules: Option<PathBuf>,
    /// Configuration of the kernel given by its path: what it lacks is named before it boots
    #[arg(long, value_name = "FILE", requires = "kernels")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
}

/// What is to be run.
pub(super) struct Planned {
    pub(super) kernels: Kernels,
    pub(super) images: Vec<ImageChoice>,
    pub(super) cells: Vec<PlannedCell>,
}

/// Resolves the arguments to cells.
pub(super) fn planned(lab: &Lab, what: &[String], kernels: &KernelArguments) -> Result<Planned, Failure> {
    let (files, selectors): (Vec<_>, Vec<_>) = what.iter().cloned().partition(|argument| is_file(argument));
    let mut paths: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    // Files alone are all there is; with selectors the lab's scenarios are there too.
    if files.is_empty() || !selectors.is_empty() {
        paths.extend(lab.scenario_files()?);
    }
    let scenarios = scenarios(&each_once(paths))?;
    let from_files = files.iter().filter_map(|file| Path::new(file).file_stem()?.to_str().map(str::to_owned));
    let selectors =
        if selectors.is_empty() { selectors } else { selectors.into_iter().chain(from_files).collect() };
    let listed = lab.kernels()?;
    let choices = kernels
        .kernels
        .iter()
        .map(|name| KernelChoice::parse(name, &listed))
        .collect::<Result<Vec<_>, _>>()?;
    let images: Vec<_> = choices
        .iter()
        .filter_map(|choice| match choice {
            KernelChoice::Image { path, label } => Some(ImageChoice {
                label: label.clone(),
                image: path.into(),
                modules: kernels.modules.clone(),
                config: kernels.config.clone(),
            }),
            KernelChoice::Listed(_) => None,
        })
        .collect();
    for (argument, path) in [("--modules", &kernels.modules), ("--config", &kernels.config)] {
        if path.is_some() && images.len() != 1 {
            let number = images.len();
            let message =
                format!("{argument} belongs to one kernel given by its path, and there are {number}");
            return Err(Failure::Usage { message, hint: None });
        }
    }
    // Before anything is made or fetched.
    for image in &images {
        if !image.image.is_file() {
            return Err(no_such("kernel", &image.image, "file"));
        }
        if let Some(modules) = image.modules.as_ref().filter(|modules| !modules.is_dir()) {
            return Err(no_such("modules", modules, "folder"));
        }
        if let Some(config) = &image.config {
            KernelConfig::read(config).map_err(|error| Failure::Usage {
                message: format!("--config {}: {error}", config.display()),
                hint: None,
            })?;
        }
    }
    let mut cells = plan(&scenarios, &listed, &Selection { selectors, kernels: choices })?;
    for cell in &mut cells {
        cell.repeat = repeat(cell, &files, &images);
    }
    Ok(Planned { kernels: listed, images, cells })
}

/// The arguments that carry out one cell alone: files that the lab does not know by name are named again.
fn repeat(cell: &PlannedCell, files: &[String], images: &[ImageChoice]) -> Vec<String> {
    let is_source =
        |file: &&String| Path::new(file).file_stem().is_some_and(|stem| *stem == *cell.scenario.scenario);
    let file = files.iter().find(is_source);
    let image = images.iter().find(|image| image.label == cell.kernel);
    let mut arguments = vec!["run".to_owned(), file.unwrap_or(&cell.key).clone()];
    match image {
        Some(ImageChoice { image, modules, config, .. }) => {
            arguments.extend(["--kernel".to_owned(), image.display().to_string()]);
            let modules = modules.iter().flat_map(|dir| ["--modules".to_owned(), dir.display().to_string()]);
            arguments.extend(modules);
            let config = config.iter().flat_map(|file| ["--config".to_owned(), file.display().to_string()]);
            arguments.extend(config);
        }
        None if file.is_some() => arguments.extend(["--kernel".to_owned(), cell.kernel.clone()]),
        None => {}
    }
    arguments
}

fn no_such(argument: &str, path: &Path, what: &str) -> Failure {
    Failure::Usage {
        message: format!("--{argument} {}: there is no such {what}", path.display()),
        hint: None,
    }
}

/// Without the paths that lead to a file that is there already: one given by hand may lie in the lab.
fn each_once(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut known = BTreeSet::new();
    let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    paths.into_iter().filter(|path| known.insert(real(path))).collect()
}

fn is_file(argument: &str) -> bool {
    argument.contains('/') || argument.ends_with(".yaml")
}

impl Arguments {
    fn attempts(&self) -> Attempts {
        match (self.repeat, self.retry) {
            (None | Some(1), 0) => Attempts::Once,
            (Some(all), _) => Attempts::Repeat(all),
            (None, more) => Attempts::Retry(more),
        }
    }
}

pub(super) fn run(context: &Context, mut arguments: Arguments) -> Result<u8, Failure> {
    let lab = context.lab()?;
    let mut planned = match arguments.failed {
        true => match failed::cells(&context.places()?.state, &lab)? {
            Some((planned, parts)) => {
                arguments.parts = arguments.parts.or(parts);
                planned
            }
            None => {
                complain("nothing was tested: every cell of the latest run passed or was skipped");
                return Ok(NOTHING_TESTED);
            }
        },
        false => planned(&lab, &arguments.what, &arguments.kernels)?,
    };
    if arguments.dry_run {
        for cell in &planned.cells {
            say(&cell.key)?;
        }
        return Ok(0);
    }
    arguments.parts.check(&context.places()?)?;
    for cell in &mut planned.cells {
        cell.repeat.extend(arguments.parts.words());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::io("cannot start"))?;
    runtime.block_on(carry_out(context, &lab, planned, arguments))
}

async fn carry_out(
    context: &Context,
    lab: &Lab,
    planned: Planned,
    arguments: Arguments,
) -> Result<u8, Failure> {
    let Planned { kernels, images: chosen, cells } = planned;
    let places = context.places()?;
    let interruption = Interruption::listen().map_err(Failure::io("cannot listen for signals"))?;
    let mode = match (context.common.quiet, io::stderr().is_terminal()) {
        (true, _) => Mode::Quiet,
        (false, true) => Mode::Bars,
        (false, false) => Mode::Lines,
    };
    let display = Arc::new(Display::new(mode, interruption.clone()));
    let now = Timestamp::now();
    let folder = run_folder(&places.state, arguments.out.as_deref(), now)?;
    let (log, writer) = event_log(&folder, &display, arguments.format)?;
    let attempts = arguments.attempts();
    let started = now.to_string();
    log.event(Event::Plan(Plan { s2lab: VERSION.into(), started, attempts, cells: cells.clone() }));
    let ready = async {
        let trace = File::create(folder.path().join("s2lab.log"));
        context.log_file.open(trace.map_err(Failure::io("cannot write s2lab.log"))?);
        let store = Store::open(&places.cache, arguments.offline, display.clone())?;
        let store = store.with_parts(arguments.parts.parts());
        let images = Images::gather(&store, &kernels, &chosen, &cells).await?;
        let slots = Slots::of_machine(&places.cache).map_err(Failure::io("cannot use the cache"))?;
        let launcher = Launcher::start().map_err(Failure::io("cannot start"))?;
        let factor = factor::of_machine(&places.cache, &launcher, images.qemu(), false).await?;
        Ok::<_, Failure>((images, slots, launcher, factor))
    };
    let ready = ready.await;
    display.prepared();
    let (images, slots, launcher, factor) = match ready {
        Ok(ready) => ready,
        Err(Failure::Store(StoreError::Cancelled)) => return interrupted(&interruption, log, writer).await,
        Err(failure) => {
            // The store's error quotes what its programs said; the cells need not.
            give_up(&log, &cells, &failure.to_string(), failure.hint().as_deref());
            drop(log);
            // Both are told: if the log is not whole, `s2lab report` cannot tell the same.
            if let Err(error) = writer.finish().await {
                complain(&format!("error: cannot write the event log: {error}"));
            }
            return Err(failure);
        }
    };
    for image in chosen.iter().filter(|image| image.config.is_none()) {
        tracing::warn!(
            "{}: its configuration is not known, so what it lacks cannot be named; --config FILE tells",
            image.label
        );
    }
    let columns = Columns::of(cells.iter().map(|cell| cell.key.as_str()));
    let course = Course {
        jobs: arguments.jobs.map_or(slots.count(), usize::from),
        attempts,
        fail_fast: arguments.fail_fast,
    };
    let run = Run {
        folder: folder.clone(),
        log,
        images,
        slots,
        launcher,
        interruption,
        deadlines: Deadlines::default().times(factor),
        factor,
        least_space: STATE_SPACE,
        visit: None,
    };
    let human = arguments.format == Format::Human;
    let paint = context.paint();
    let of_log = |key: &str| Judged::read(&folder).ok()?.run.cells.into_iter().find(|c| c.planned.key == key);
    let ended = |cell: JudgedCell| {
        if human {
            let at = folder.cell_path(&cell.planned.key);
            display.print(&terminal::cell(&summary(&cell), columns, paint, &at));
        }
    };
    let carried = run.carry_out(cells, course, of_log, ended).await;
    writer.finish().await.map_err(Failure::io("cannot write the event log"))?;
    carried.map_err(Failure::io("the run"))?;

    let judged = Judged::read(&folder)?;
    judged.write_reports(&folder)?;
    if human {
        let standings = judged.standings(&lab.reports())?;
        let summaries = judged.summaries();
        say(&terminal::summary(&summaries, judged.is_whole(), Some(&standings), folder.path()))?;
    }
    display.printed().map_err(Failure::io("stdout"))?;
    Ok(judged.run.exit)
}

fn run_folder(state: &Path, out: Option<&Path>, now: Timestamp) -> Result<RunFolder, Failure> {
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
    format: Format,
) -> Result<(EventLog, Writer), Failure> {
    let display = Arc::clone(display);
    let observe = move |line: &Line, text: &str| {
        display.event(line);
        if format == Format::Json {
            display.print(text.trim_end());
        }
    };
    let file = folder.log().map_err(Failure::io("cannot make the event log"))?;
    Ok(EventLog::begin(file, observe))
}

async fn interrupted(interruption: &Interruption, log: EventLog, writer: Writer) -> Result<u8, Failure> {
    let signal = interruption.signal().unwrap_or("SIGINT");
    log.event(Event::Interrupted { signal: signal.into() });
    drop(log);
    writer.finish().await.map_err(Failure::io("cannot write the event log"))?;
    Ok(s2lab_model::verdict::Interrupt::of_signal(signal).exit())
}
