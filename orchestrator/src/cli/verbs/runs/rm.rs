//! `s2lab runs rm`.

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::{say, say_bytes},
    shared::{
        answers::{AnswerArguments, answer},
        typed::Typed,
    },
};
use crate::{
    run::{
        retention::{KeptRun, kept},
        signals::Interruption,
    },
    runtime,
    show::answer::Answer,
};
use clap::Args;
use s2lab_model::{diagnostic::suggest, verdict::Interrupt};
use s2lab_os::size::Size;
use std::io::{self, IsTerminal, Write as _};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Names as `s2lab runs` prints them
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    form: AnswerArguments,
}

/// The answer of a person.
enum Consent {
    Yes,
    No,
    /// A signal came in place of an answer.
    Interrupted(&'static str),
}

/// Removes all of the runs, or none if one of them cannot be removed.
pub(super) fn rm(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let state = context.places()?.state;
    let all = kept(&state).map_err(Failure::io(state.display().to_string()))?;
    let mut runs: Vec<&KeptRun> = vec![];
    for name in &arguments.names {
        let run = all.iter().find(|run| run.name == *name).ok_or_else(|| unknown(name, &all))?;
        run.check()?;
        if !runs.iter().any(|other| other.name == run.name) {
            runs.push(run);
        }
    }
    let bytes = runs.iter().map(|run| run.bytes).fold(0, u64::saturating_add);
    let sum = match runs.len() {
        1 => format!("1 run, {}", Size(bytes)),
        n => format!("{n} runs, {}", Size(bytes)),
    };
    if !arguments.yes {
        match ask(&sum, arguments.form.is_json())? {
            Consent::Yes => {}
            Consent::No => return Ok(exit::FINE),
            Consent::Interrupted(signal) => return Ok(Interrupt::of_signal(signal).exit()),
        }
    }
    runs.iter().try_for_each(|run| run.remove())?;
    if arguments.form.is_json() {
        let removed = runs.iter().map(|run| run.name.clone()).collect();
        answer(&Answer::RunsRm { removed, bytes })?;
    } else {
        say(&format!("removed {sum}"))?;
    }
    Ok(exit::FINE)
}

fn unknown(name: &str, all: &[KeptRun]) -> Failure {
    let hint = suggest(name, all.iter().map(|run| run.name.as_str()));
    Failure::Usage { message: format!("no run has the name `{name}`"), hint: Some(hint) }
}

/// Asks at the terminal.
///
/// # Errors
/// There is no terminal, or the output is for a program.
fn ask(sum: &str, json: bool) -> Result<Consent, Failure> {
    if json || !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        let message = format!("{sum}: nobody can be asked here, so nothing is removed");
        return Err(Failure::Usage { message, hint: Some("--yes removes without a question".into()) });
    }
    say_bytes(format!("remove {sum}? y yes, anything else no > ").as_bytes())?;
    io::stdout().flush().map_err(Failure::io("stdout"))?;
    runtime::block_on(async {
        let interruption = Interruption::listen().map_err(Failure::io("cannot listen for signals"))?;
        let typed = Typed::open(interruption.clone()).map_err(Failure::io("cannot read the terminal"))?;
        let line = typed.line().map_err(Failure::io("cannot read the terminal"))?;
        let is_yes = line.is_some_and(|line| ["y", "yes"].contains(&line.trim()));
        Ok(match interruption.signal() {
            Some(signal) => Consent::Interrupted(signal),
            None if is_yes => Consent::Yes,
            None => Consent::No,
        })
    })?
}
