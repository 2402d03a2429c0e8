//! `s2lab review`: shows the cells that are not as accepted in groups that are alike, and accepts or
//! leaves one group at a time.
//!
//! A person answers with a line, not with a key: the terminal stays as it is, so nothing has to be
//! restored after `kill -9`, and editing, pasting and screen readers work as in a shell.

mod answer;
mod decided;

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::say_bytes,
    shared::acceptance::Acceptance,
    shared::answers::{AnswerArguments, FORMAT},
    shared::typed::Typed,
};
use crate::{
    run::signals::Interruption,
    runtime,
    show::review::{self, Review},
};
use answer::{Answer, Choice};
use clap::Args;
use decided::Decided;
use s2lab_model::{review::Group, verdict::Interrupt};
use std::io::{self, IsTerminal, Write};

#[derive(Debug, Args)]
#[command(mut_arg(FORMAT, |format| format.help(
    "Form of the output: lines for people, with questions on a terminal, or a document of which \
     `s2lab schema review` prints the schema; json asks nothing"
)))]
pub(crate) struct Arguments {
    /// A run's folder or its name, or a bundle; default: the latest of the lab folder
    run: Option<String>,
    #[command(flatten)]
    form: AnswerArguments,
}

pub(crate) fn review(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let acceptance = Acceptance::open(context, arguments.run.as_deref())?;
    let review = all(context, arguments, &acceptance);
    let asks = io::stdin().is_terminal() && io::stdout().is_terminal() && !review.groups.is_empty();
    match arguments.form.is_json() {
        true => say_bytes(review::document(&review).as_bytes())?,
        false if asks => return ask_all(&acceptance, &review),
        false => say_bytes(review::lines(&review).as_bytes())?,
    }
    Ok(review.exit)
}

fn all(context: &Context, arguments: &Arguments, acceptance: &Acceptance) -> Review {
    let summary = &acceptance.summary;
    let refused = |cell| Some((cell, acceptance.refusal(cell)?));
    let refused = summary.cells.iter().filter_map(refused);
    let named = |option: &str, value: String| [option.to_owned(), value];
    let run = arguments.run.iter().map(|run| named("--run", run.clone()));
    let lab = context.common.lab.iter().map(|lab| named("--lab", lab.display().to_string()));
    Review {
        folder: summary.folder.clone(),
        groups: acceptance.groups(&summary.cells),
        refused: refused.map(|(cell, refusal)| (cell.key.clone(), refusal.why)).collect(),
        orphaned: summary.orphaned.clone(),
        options: run.chain(lab).flatten().collect(),
        exit: if summary.is_as_accepted() { exit::FINE } else { exit::DIFFERENT },
    }
}

/// Asks about each group, and carries out the answers. Whatever ends the questions, the decisions so
/// far stay.
fn ask_all(acceptance: &Acceptance, review: &Review) -> Result<u8, Failure> {
    let mut decided = Decided::of(&review.groups);
    // The runtime receives the signals; the questions are this thread's.
    let ended = runtime::block_on(async { ask_each(acceptance, review, &mut decided) })?;
    // After Ctrl-C or the end of input the cursor is behind the question.
    let broken = if decided.is_left() { "\n" } else { "" };
    print(&format!("{broken}{}{}", review::rest(review), decided.summary()))?;
    match ended? {
        Some(signal) => Ok(Interrupt::of_signal(signal).exit()),
        None if decided.is_all_accepted() && review.refused.is_empty() && review.orphaned.is_empty() => {
            Ok(exit::FINE)
        }
        None => Ok(exit::DIFFERENT),
    }
}

/// Returns the signal that ended the questions, if one did. It must be called inside of a tokio
/// runtime.
fn ask_each(
    acceptance: &Acceptance,
    review: &Review,
    decided: &mut Decided,
) -> Result<Option<&'static str>, Failure> {
    let interruption = Interruption::listen().map_err(Failure::io("cannot listen for signals"))?;
    let typed = Typed::open(interruption.clone()).map_err(Failure::io("cannot read the terminal"))?;
    for (number, group) in review.groups.iter().enumerate() {
        print(&review::heading(number, review.groups.len(), group))?;
        match ask(acceptance, group, &typed)? {
            Some(Choice::Accept) => accept(acceptance, group, decided)?,
            Some(Choice::Reject) => decided.reject(group),
            Some(Choice::Skip) => decided.skip(group),
            None => break,
        }
    }
    Ok(interruption.signal())
}

/// Asks about a group until there is a choice. Returns None if the person quits, at the end of
/// input, or after a signal.
fn ask(acceptance: &Acceptance, group: &Group, typed: &Typed) -> Result<Option<Choice>, Failure> {
    loop {
        print(answer::QUESTION)?;
        let line = typed.line().map_err(Failure::io("cannot read the terminal"))?;
        match line.map(|line| Answer::read(&line, &group.keys)) {
            Some(Ok(Answer::Choice(choice))) => return Ok(Some(choice)),
            Some(Ok(Answer::Show(key))) => {
                let diff = acceptance.cell(key.as_str()).map(|cell| acceptance.diff(cell));
                print(&diff.unwrap_or_default())?;
            }
            Some(Ok(Answer::Quit)) | None => return Ok(None),
            Some(Err(why)) => print(&format!("{why}\n"))?,
        }
    }
}

/// Accepts the reports of a group. Each is written whole, one after the other.
fn accept(acceptance: &Acceptance, group: &Group, decided: &mut Decided) -> Result<(), Failure> {
    for cell in group.keys.iter().filter_map(|key| acceptance.cell(key.as_str())) {
        print(&format!("{}\n", acceptance.accept(cell)?.line(&cell.key)))?;
        decided.accept(&cell.key);
    }
    Ok(())
}

/// Prints a text that may have no line feed at its end.
fn print(text: &str) -> Result<(), Failure> {
    say_bytes(text.as_bytes())?;
    io::stdout().flush().map_err(Failure::io("stdout"))
}
