//! The command line: one file a verb. Errors are rendered here, once, with a hint what to do.

mod accept;
mod arguments;
mod carry_out;
mod check;
mod completions;
mod doctor;
mod explain;
mod failed;
mod gather;
mod init;
mod judged;
mod keep;
mod kernels;
mod lint;
mod list;
mod man;
mod new;
mod own;
mod parts;
mod planned;
mod report;
mod run;
mod shell;
mod store;

use crate::{
    host::emulated::factor::FactorError,
    lab::{Lab, LabError, Places, init::InitError},
    limits,
    outside::ReadError,
    private::{self, OpenToOthers},
    review::ReviewError,
    revisions::RevisionsError,
    runtime::NoRuntime,
    series::SeriesError,
    store::{Quiet, Store, StoreError},
    whole::{leads_elsewhere, no_room},
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use s2lab_model::{escape::plain, plan::PlanError, record::LogError};
use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, OnceLock},
};
use tracing_subscriber::{EnvFilter, Layer, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

/// Exit code of what the user can mend: an argument, a file (clap's own is the same).
const USAGE: u8 = 2;
/// Exit code of a failure of the lab.
const LAB: u8 = 3;

/// End-to-end test lab for KVM on arm64: boots an emulated host, lets KVM in it run guests, reads their stage-2 tables from
/// outside, and reports.
#[derive(Debug, Parser)]
#[command(name = "s2lab", version = VERSION, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// The version with the commit that it was built from.
pub const VERSION: &str = env!("S2LAB_VERSION");

#[derive(Debug, Args)]
struct Common {
    /// The lab folder; default: $S2LAB_DIR, else the nearest at or above the working folder, else the built-in one
    #[arg(long, global = true, value_name = "DIR")]
    lab: Option<PathBuf>,
    /// Colour on stdout; also NO_COLOR and CLICOLOR_FORCE
    #[arg(long, global = true, value_enum, default_value = "auto")]
    color: Color,
    /// No progress
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Tell what s2lab does; twice: every detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Carry out scenarios and judge what is seen
    Run(arguments::Arguments),
    /// List the cells: every scenario on every kernel
    List(list::Arguments),
    /// Show what a cell is made of: scenario, kernel, what is expected, QEMU's command line
    Explain(explain::Arguments),
    /// A shell in a cell's host, with its guests running; the scenario's steps are not carried out
    Shell(shell::Arguments),
    /// Check scenario files without booting anything
    Lint(lint::Arguments),
    /// Tell a run again, from its event log
    Report(report::Arguments),
    /// Compare a run's reports with the accepted ones; exit 5 if any differs
    Check(check::Arguments),
    /// Make a run's reports the accepted ones
    Accept(accept::Arguments),
    /// Tell what this machine has and lacks for a run, and what to do about it; exit 3 if it lacks something
    Doctor(doctor::Arguments),
    /// What is in the store, where, and whether it is whole; remove what nobody uses
    Store(store::Arguments),
    /// Write a lab folder of one's own, a copy of the built-in one
    Init(init::Arguments),
    /// Write a scenario to begin with into the lab folder
    New(new::Arguments),
    /// Print what lets a shell complete s2lab's command line
    Completions(completions::Arguments),
    /// Print the manual page
    Man(man::Arguments),
}

/// What any verb can fail with.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error(transparent)]
    Init(#[from] InitError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Open(#[from] OpenToOthers),
    #[error(transparent)]
    Runtime(#[from] NoRuntime),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Series(#[from] SeriesError),
    #[error(transparent)]
    Revisions(#[from] RevisionsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Factor(#[from] FactorError),
    #[error(transparent)]
    Review(#[from] ReviewError),
    #[error("{path}: {source}")]
    Log { path: PathBuf, source: LogError },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    /// A failure with another exit code than its own.
    #[error("{failure}")]
    Coded { failure: Box<Failure>, exit: u8 },
}

impl Failure {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Failure::Io { what: what.into(), source }
    }

    /// What is told of it. A mistake in a file says of itself where it is.
    fn text(&self) -> String {
        match self {
            Failure::Lab(LabError::Mistakes(mistakes)) => mistakes.to_string(),
            Failure::Coded { failure, .. } => failure.text(),
            failure => format!("error: {failure}"),
        }
    }

    fn exit(&self) -> u8 {
        match self {
            Failure::Coded { exit, .. } => *exit,
            Failure::Lab(_)
            | Failure::Open(_)
            | Failure::Plan(_)
            | Failure::Series(_)
            | Failure::Revisions(_)
            | Failure::Store(
                StoreError::Part { .. }
                | StoreError::Given { .. }
                | StoreError::Refused(_)
                | StoreError::BuildPlace { .. },
            )
            | Failure::Init(InitError::Exists { .. })
            | Failure::Usage { .. } => USAGE,
            Failure::Io { source, .. } | Failure::Review(ReviewError::Io { source, .. })
                if leads_elsewhere(source) =>
            {
                USAGE
            }
            Failure::Init(InitError::Io { .. })
            | Failure::Store(_)
            | Failure::Factor(_)
            | Failure::Review(_)
            | Failure::Read(_)
            | Failure::Runtime(_)
            | Failure::Log { .. }
            | Failure::Io { .. } => LAB,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Failure::Lab(error) => error.hint(),
            Failure::Open(error) => Some(error.hint()),
            Failure::Coded { failure, .. } => failure.hint(),
            Failure::Series(error) => error.hint(),
            Failure::Revisions(error) => error.hint(),
            Failure::Init(InitError::Exists { .. }) => Some("name another folder".into()),
            Failure::Store(error) => error.hint(),
            Failure::Runtime(error) => error.hint().map(str::to_owned),
            Failure::Factor(_) => Some("`s2lab doctor` tells what this machine lacks".into()),
            Failure::Usage { hint, .. } => hint.clone(),
            Failure::Io { source, .. } | Failure::Review(ReviewError::Io { source, .. })
                if leads_elsewhere(source) =>
            {
                Some("remove it; s2lab makes a folder in its place".into())
            }
            Failure::Io { source, .. } | Failure::Init(InitError::Io { source, .. }) if no_room(source) => {
                Some("the file system is full, or a limit is reached: make room, and run again".into())
            }
            Failure::Io { source, .. } => limits::hint(source).map(str::to_owned),
            Failure::Read(error) => error.limit_hint().map(str::to_owned),
            _ => None,
        }
    }
}

/// What every verb gets.
struct Context {
    common: Common,
    log_file: LogFile,
}

impl Context {
    fn lab(&self) -> Result<Lab, Failure> {
        let here = std::env::current_dir().map_err(Failure::io("the working folder"))?;
        // An empty variable is none, as everywhere.
        let variable = std::env::var_os("S2LAB_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let given = self.common.lab.clone().or(variable);
        match Lab::find(given.as_deref(), &here)? {
            Some(lab) => Ok(lab),
            // Nothing of it is fetched.
            None => Ok(Lab::built_in(Store::open(&self.places()?.cache, true, Arc::new(Quiet))?)?),
        }
    }

    fn places(&self) -> Result<Places, Failure> {
        let places = Places::find(|name| std::env::var_os(name))?;
        private::check(&places.cache)?;
        private::check(&places.state)?;
        Ok(places)
    }

    fn paint(&self) -> crate::show::terminal::Paint {
        crate::show::terminal::Paint(self.common.colours(&io::stdout()))
    }
}

/// The lab folder, if it is the user's; `what` cannot be done to the built-in one.
fn own_lab(context: &Context, what: &str) -> Result<Lab, Failure> {
    match context.lab()? {
        lab if lab.is_built_in() => Err(Failure::Usage {
            message: format!("{what}: the lab folder is the built-in one, a part of s2lab"),
            hint: Some(
                "`s2lab init DIR` writes one of your own; start s2lab there, or with --lab DIR".into(),
            ),
        }),
        lab => Ok(lab),
    }
}

impl Common {
    /// Whether to colour what goes to `stream`.
    fn colours(&self, stream: &impl IsTerminal) -> bool {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        match self.color {
            Color::Always => true,
            Color::Never => false,
            // Any value of it says no; and who says no is heard first.
            Color::Auto if set("NO_COLOR").is_some() => false,
            Color::Auto => set("CLICOLOR_FORCE").is_some_and(|value| value != "0") || stream.is_terminal(),
        }
    }
}

/// Parses the command line, does what it says, and answers what to exit with.
pub fn main() -> ExitCode {
    let Cli { common, verb } = Cli::parse();
    let log_file = LogFile::default();
    trace(&common, log_file.clone());
    let context = Context { common, log_file };
    let done = match verb {
        Verb::Run(arguments) => run::run(&context, arguments),
        Verb::List(arguments) => list::list(&context, &arguments),
        Verb::Explain(arguments) => explain::explain(&context, &arguments),
        Verb::Shell(arguments) => shell::shell(&context, arguments),
        Verb::Lint(arguments) => lint::lint(&context, &arguments),
        Verb::Report(arguments) => report::report(&context, &arguments),
        Verb::Check(arguments) => check::check(&context, &arguments),
        Verb::Accept(arguments) => accept::accept(&context, &arguments),
        Verb::Doctor(arguments) => doctor::doctor(&context, &arguments),
        Verb::Store(arguments) => store::store(&context, &arguments),
        Verb::Init(arguments) => init::init(&arguments),
        Verb::New(arguments) => new::new(&context, &arguments),
        Verb::Completions(arguments) => completions::completions(&arguments),
        Verb::Man(arguments) => man::man(&arguments),
    };
    ExitCode::from(done.unwrap_or_else(|failure| {
        complain(failure.text().trim_end());
        if let Some(hint) = failure.hint() {
            complain(&format!("  hint: {hint}"));
        }
        failure.exit()
    }))
}

/// A line on stderr; it may quote a file. If even that cannot be written there is nobody to tell.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(line));
}

/// A line on stdout. A reader that has gone away (`s2lab list | head`) is no error, and does not change what is exited with.
fn say(text: &str) -> Result<(), Failure> {
    say_bytes(format!("{text}\n").as_bytes())
}

/// The same for what is more than a line.
fn say_bytes(bytes: &[u8]) -> Result<(), Failure> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Failure::io("stdout")),
    }
}

/// Where `tracing` goes once a run has a folder.
#[derive(Debug, Clone, Default)]
struct LogFile(Arc<OnceLock<File>>);

impl LogFile {
    fn open(&self, file: File) {
        // There is one run in a process; a second file would be ignored.
        let _ = self.0.set(file);
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Box<dyn Write + 'a>;
    fn make_writer(&'a self) -> Self::Writer {
        match self.0.get() {
            Some(file) => Box::new(file),
            None => Box::new(io::sink()),
        }
    }
}

fn trace(common: &Common, file: LogFile) {
    let level = match (common.quiet, common.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "s2lab=info,warn",
        (false, _) => "s2lab=trace,debug",
    };
    // What cannot be written cannot be told either, least of all on a stderr that is closed.
    let console = tracing_subscriber::fmt::layer().with_writer(io::stderr).without_time().with_target(false);
    let console = console.with_ansi(common.colours(&io::stderr())).log_internal_errors(false);
    let kept = tracing_subscriber::fmt::layer().with_writer(file).with_ansi(false).log_internal_errors(false);
    tracing_subscriber::registry()
        .with(console.with_filter(EnvFilter::new(level)))
        .with(kept.with_filter(EnvFilter::new("s2lab=debug,info")))
        .init();
}
