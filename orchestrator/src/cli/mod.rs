//! The command line: one file a verb in `verbs/`, their common parts in `shared/`.

mod context;
mod exit;
mod failure;
mod render;
mod shared;
mod trace;
mod verbs;

use clap::{Parser, Subcommand};
use context::{Common, Context};
use std::process::ExitCode;
use verbs::{
    accept, cache, check, completions, doctor, explain, init, lint, list, man, new, report, run, shell,
};

/// End-to-end test lab for KVM on arm64: boots an emulated host, lets KVM in it run guests, reads their stage-2 tables from
/// outside, and reports.
#[derive(Debug, Parser)]
#[command(name = "s2lab", version = VERSION, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// The version, with the commit that it was built from.
pub const VERSION: &str = env!("S2LAB_VERSION");

#[derive(Debug, Subcommand)]
enum Verb {
    /// Carry out scenarios and judge what is seen
    Run(run::Arguments),
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
    /// What is in the cache, where, and whether it is whole; remove what nobody uses
    Cache(cache::Arguments),
    /// Write a lab folder of one's own, a copy of the built-in one
    Init(init::Arguments),
    /// Write a scenario to begin with into the lab folder
    New(new::Arguments),
    /// Print what lets a shell complete s2lab's command line
    Completions(completions::Arguments),
    /// Print the manual page
    Man(man::Arguments),
}

/// Parses the command line, runs the verb, and returns the exit code.
pub fn main() -> ExitCode {
    let Cli { common, verb } = Cli::parse();
    let log_file = trace::LogFile::default();
    trace::trace(&common, log_file.clone());
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
        Verb::Cache(arguments) => cache::cache(&context, &arguments),
        Verb::Init(arguments) => init::init(&arguments),
        Verb::New(arguments) => new::new(&context, &arguments),
        Verb::Completions(arguments) => completions::completions(&arguments),
        Verb::Man(arguments) => man::man(&arguments),
    };
    ExitCode::from(done.unwrap_or_else(|failure| {
        render::failure(&failure);
        failure.exit()
    }))
}
