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
use shared::answers;
use std::process::ExitCode;
use verbs::{
    accept, bundle, cache, check, compare, completions, diff, doctor, explain, history, init, lint, list,
    man, merge, mutants, new, nightly, plan, report, review, run, runs, schema, shell, tables, textconv,
    trend,
};

/// End-to-end test lab for KVM on arm64: boots an emulated host, lets KVM in it run guests, reads
/// their stage-2 tables from outside, and reports.
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
    /// Run scenarios and check the results
    Run(run::Arguments),
    /// Run everything as one of many nights: move kernels, compare with the nights before, print what
    /// is new; exit 5 if nothing failed and somebody must look
    Nightly(nightly::Arguments),
    /// List the cells: every scenario on every kernel
    List(list::Arguments),
    /// Show what a cell consists of: scenario, kernel, expectations, QEMU's command lines
    Explain(explain::Arguments),
    /// Open a shell in a cell's host, with its guests running; the scenario's steps are not run
    #[command(after_help = shell::LOOK)]
    Shell(shell::Arguments),
    /// Check scenario files and kernels.yaml without booting anything
    Lint(lint::Arguments),
    /// Write the cells of a run into a file, for several machines
    Plan(plan::Arguments),
    /// Make one run of the runs of several machines
    Merge(merge::Arguments),
    /// Run scenarios on kernels with a deliberate mistake, and show which mistakes they catch; exit 1
    /// if one is not caught
    Mutants(mutants::Arguments),
    /// Show a past run
    Report(report::Arguments),
    /// Print the stage-2 tables of a cell's looks, or what differs between those of two cells; exit 5
    /// if anything does
    Tables(tables::Arguments),
    /// Compare a run's reports with the accepted ones; exit 5 if any differs
    Check(check::Arguments),
    /// Boot two kernels in turns and compare their times and counts; exit 0 SAME, 5 DIFFERENT, 4
    /// INCONCLUSIVE
    Compare(compare::Arguments),
    /// Compare the reports of two runs, folders, git revisions or cells; exit 5 if any differs
    Diff(diff::Arguments),
    /// Show what is not as accepted, alike cells together, and accept or leave each group; exit 5 if
    /// any is left
    Review(review::Arguments),
    /// Make a run's reports the accepted ones
    Accept(accept::Arguments),
    /// Write a run into one file, which `report` and others read on any machine
    Bundle(bundle::Arguments),
    /// List, remove or export the runs that are kept
    Runs(runs::Arguments),
    /// List what past runs say of each cell: last good, first bad, how often it is flaky
    History(history::Arguments),
    /// Draw a cell's past: verdicts, times, numbers, and what changed when it went bad
    Trend(trend::Arguments),
    /// Check that this machine can run s2lab, and say what to do about what is missing; exit 3 if
    /// something is
    Doctor(doctor::Arguments),
    /// Inspect, verify and clean the cache
    Cache(cache::Arguments),
    /// Create your own lab folder, a copy of the built-in one
    Init(init::Arguments),
    /// Create a scenario from a template
    New(new::Arguments),
    /// Print a shell completion script
    Completions(completions::Arguments),
    /// Print the JSON schema of a file format
    Schema(schema::Arguments),
    /// Print what compares of an accepted report, for `git diff`; docs/reports.md has the settings
    Textconv(textconv::Arguments),
    /// Print the manual page
    Man(man::Arguments),
}

/// Parses the command line, runs the verb, and returns the exit code.
pub fn main() -> ExitCode {
    let Cli { common, verb } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    let log_file = trace::LogFile::default();
    trace::trace(&common, log_file.clone());
    let context = Context { common, log_file };
    let done = match verb {
        Verb::Run(arguments) => run::run(&context, arguments),
        Verb::Nightly(arguments) => nightly::nightly(&context, arguments),
        Verb::List(arguments) => list::list(&context, &arguments),
        Verb::Explain(arguments) => explain::explain(&context, &arguments),
        Verb::Shell(arguments) => shell::shell(&context, arguments),
        Verb::Lint(arguments) => lint::lint(&context, &arguments),
        Verb::Plan(arguments) => plan::plan(&context, &arguments),
        Verb::Merge(arguments) => merge::merge(&context, &arguments),
        Verb::Mutants(arguments) => mutants::mutants(&context, arguments),
        Verb::Report(arguments) => report::report(&context, &arguments),
        Verb::Tables(arguments) => tables::tables(&context, &arguments),
        Verb::Check(arguments) => check::check(&context, &arguments),
        Verb::Compare(arguments) => compare::compare(&context, arguments),
        Verb::Diff(arguments) => diff::diff(&context, &arguments),
        Verb::Review(arguments) => review::review(&context, &arguments),
        Verb::Accept(arguments) => accept::accept(&context, &arguments),
        Verb::Bundle(arguments) => bundle::bundle(&context, &arguments),
        Verb::Runs(arguments) => runs::runs(&context, &arguments),
        Verb::History(arguments) => history::history(&context, &arguments),
        Verb::Trend(arguments) => trend::trend(&context, &arguments),
        Verb::Doctor(arguments) => doctor::doctor(&context, &arguments),
        Verb::Cache(arguments) => cache::cache(&context, &arguments),
        Verb::Init(arguments) => init::init(&arguments),
        Verb::New(arguments) => new::new(&context, &arguments),
        Verb::Completions(arguments) => completions::completions(&arguments),
        Verb::Schema(arguments) => schema::schema(&arguments),
        Verb::Textconv(arguments) => textconv::textconv(&arguments),
        Verb::Man(arguments) => man::man(&arguments),
    };
    ExitCode::from(done.unwrap_or_else(|failure| {
        render::failure(&failure);
        let text = failure.text();
        answers::error(
            text.strip_prefix("error: ").unwrap_or(&text).trim_end(),
            failure.hint(),
            failure.exit(),
        );
        failure.exit()
    }))
}

/// Prints the help, the version, or the reason why the arguments are wrong. Returns the exit code.
fn misunderstood(error: &clap::Error) -> ExitCode {
    // A closed stdout or stderr does not change the exit code.
    let _ = error.print();
    let exit = u8::try_from(error.exit_code()).unwrap_or(exit::USAGE);
    if exit != exit::FINE {
        let text = error.to_string();
        let first = text.split("\n\n").next().unwrap_or_default();
        answers::error(first.strip_prefix("error: ").unwrap_or(first).trim_end(), None, exit);
    }
    ExitCode::from(exit)
}
