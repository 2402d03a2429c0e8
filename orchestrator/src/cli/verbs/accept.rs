//! `s2lab accept`: makes the reports that a person has read the accepted ones.

use crate::cli::{context::Context, exit, failure::Failure, render::say, shared::acceptance::Acceptance};
use crate::show::review;
use clap::Args;
use s2lab_model::{diagnostic::suggest, plan::glob, review::Kind, summary::CellSummary};

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
}

pub(crate) fn accept(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let acceptance = Acceptance::open(context, arguments.run.as_deref())?;
    let cells = chosen(&acceptance, arguments)?;
    if cells.is_empty() {
        say("no cell differs in its shape alone")?;
    }
    for group in acceptance.groups(cells.iter().copied()) {
        say(&review::announcement(&group))?;
    }
    let mut code = exit::FINE;
    for cell in cells {
        code = code.max(acceptance.accept(cell)?);
    }
    Ok(code)
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
    let fits = |wanted: &String, cell: &CellSummary| glob(wanted, cell.key.as_str());
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
