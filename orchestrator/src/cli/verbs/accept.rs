//! `s2lab accept`: makes the reports that a person has read the accepted ones.

use crate::cli::{
    context::Context,
    exit,
    failure::Failure,
    render::say,
    shared::acceptance::{Acceptance, Accepted},
    shared::answers::{AnswerArguments, answer},
};
use crate::show::{
    answer::{AcceptedGroup, Answer},
    review,
};
use clap::Args;
use s2lab_model::{
    diagnostic::suggest,
    plan::{Key, glob},
    review::{Group, Kind},
    summary::CellSummary,
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Keys of the cells to accept, or globs of keys; default: all of the run
    #[arg(value_name = "KEY|GLOB")]
    keys: Vec<String>,
    /// All cells that are alike with this one: the same list of changes, whatever the key and the
    /// kernel
    #[arg(long, value_name = "KEY", conflicts_with_all = ["keys", "shape"])]
    like: Option<String>,
    /// All cells whose only difference is the shape of their tables
    #[arg(long, conflicts_with = "keys")]
    shape: bool,
    /// A run's folder or its name, or a bundle; default: the latest of the lab folder
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    form: AnswerArguments,
}

pub(crate) fn accept(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let acceptance = Acceptance::open(context, arguments.run.as_deref())?;
    let cells = chosen(&acceptance, arguments)?;
    let groups = acceptance.groups(cells.iter().copied());
    if arguments.form.is_json() {
        return as_document(&acceptance, &groups, &cells);
    }
    if cells.is_empty() {
        say("no cell differs in its shape alone")?;
    }
    for group in &groups {
        say(&review::announcement(group))?;
    }
    let mut code = exit::FINE;
    for cell in cells {
        let accepted = acceptance.accept(cell)?;
        say(&accepted.line(&cell.key))?;
        code = code.max(accepted.exit());
    }
    Ok(code)
}

/// Accepts the cells, and prints one document at the end.
fn as_document(acceptance: &Acceptance, groups: &[Group], cells: &[&CellSummary]) -> Result<u8, Failure> {
    let group = |group: &Group| AcceptedGroup {
        changes: group.decision.sentences().map(str::to_owned).collect(),
        keys: group.keys.iter().map(Key::to_string).collect(),
    };
    let accepted = cells.iter().map(|cell| acceptance.accept(cell)).collect::<Result<Vec<_>, _>>()?;
    let answers = cells.iter().zip(&accepted).map(|(cell, accepted)| accepted.answer(&cell.key));
    answer(&Answer::Accept { groups: groups.iter().map(group).collect(), cells: answers.collect() })?;
    Ok(accepted.iter().map(Accepted::exit).max().unwrap_or(exit::FINE))
}

fn chosen<'a>(acceptance: &'a Acceptance, arguments: &Arguments) -> Result<Vec<&'a CellSummary>, Failure> {
    let cells = &acceptance.summary.cells;
    if let Some(key) = &arguments.like {
        let cell = acceptance.cell(key).ok_or_else(|| unknown(key, cells))?;
        return Ok(acceptance.alike(cell));
    }
    if arguments.shape {
        let is_shape = |cell: &&CellSummary| {
            acceptance.decision(cell).is_some_and(|decision| decision.kind == Kind::Shape)
        };
        return Ok(cells.iter().filter(is_shape).collect());
    }
    let globs = &arguments.keys;
    let is_key = |wanted: &str| cells.iter().any(|cell| glob(wanted, cell.key.as_str()));
    // A key without axes that is no cell's means all points of its axes.
    let fits = |wanted: &String, cell: &CellSummary| match is_key(wanted) {
        true => glob(wanted, cell.key.as_str()),
        false => !wanted.contains('+') && glob(wanted, cell.key.plain()),
    };
    if let Some(wanted) = globs.iter().find(|wanted| !cells.iter().any(|cell| fits(wanted, cell))) {
        return Err(unknown(wanted, cells));
    }
    let is_chosen = |cell: &CellSummary| globs.is_empty() || globs.iter().any(|wanted| fits(wanted, cell));
    Ok(cells.iter().filter(|cell| is_chosen(cell)).collect())
}

fn unknown(wanted: &str, cells: &[CellSummary]) -> Failure {
    let near = suggest(wanted, cells.iter().map(|cell| cell.key.as_str()));
    Failure::Usage { message: format!("the run has no cell `{wanted}`"), hint: Some(near) }
}
