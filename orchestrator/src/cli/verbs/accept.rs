//! `s2lab accept`: makes the reports that a person has read the accepted ones.

use crate::cli::{
    context::Context, context::own_lab, exit, failure::Failure, render::say, shared::cells::lab_cells,
    shared::judged::Judged, shared::runs::open,
};
use crate::{lab::shown, review::accept as write, show::standings::reason};
use clap::Args;
use s2lab_model::{
    diagnostic::suggest,
    plan::{Key, glob},
    report::{Outcome, Standing},
    summary::CellSummary,
};
use std::collections::BTreeSet;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Keys of the cells to accept, or globs of keys; default: all of the run
    #[arg(value_name = "KEY|GLOB")]
    keys: Vec<String>,
    /// A run's folder or its name; default: the latest of the lab folder
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
}

pub(crate) fn accept(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let lab = own_lab(context, "nothing can be accepted")?;
    let (reports, known) = (lab.reports(), lab_cells(&lab)?);
    let folder = open(context, arguments.run.as_deref())?;
    let judged = Judged::read(&folder)?;
    let cells = chosen(judged.summary(&folder, Some(&reports)).cells, &arguments.keys)?;
    let mut code = exit::FINE;
    for CellSummary { key, standing, .. } in &cells {
        match (standing, judged.reports.get(key)) {
            (Some(Standing::Compared(Outcome::Same)), _) => say(&format!("{key}: as accepted"))?,
            (Some(Standing::Missing(gap)), _) => {
                code = exit::LAB;
                say(&format!("{key}: not accepted, {}", reason(gap)))?;
            }
            (_, Some(_)) if !known.contains(key) => {
                code = code.max(exit::USAGE);
                say(&format!("{key}: not accepted, {}", not_of_the_lab(key, &known)))?;
            }
            (_, Some(report)) => {
                let path = write(&reports, key, &report.text())?;
                say(&format!("{key}: accepted, {}", shown(&path)))?;
            }
            (_, None) => {}
        }
    }
    Ok(code)
}

/// The cells that the globs mean; all without any.
fn chosen(mut cells: Vec<CellSummary>, globs: &[String]) -> Result<Vec<CellSummary>, Failure> {
    for wanted in globs {
        if !cells.iter().any(|cell| glob(wanted, cell.key.as_str())) {
            let near = suggest(wanted, cells.iter().map(|cell| cell.key.as_str()));
            let message = format!("the run has no cell `{wanted}`");
            return Err(Failure::Usage { message, hint: Some(near) });
        }
    }
    cells.retain(|cell| globs.is_empty() || globs.iter().any(|wanted| glob(wanted, cell.key.as_str())));
    Ok(cells)
}

/// The reason that the lab folder cannot have an accepted report of the cell: `check` would find
/// no cell for it.
fn not_of_the_lab(key: &Key, known: &BTreeSet<Key>) -> String {
    match known.iter().any(|cell| cell.scenario() == key.scenario()) {
        true => format!("kernel {} is not in the lab folder's images/kernels.yaml", key.kernel()),
        false => format!("the lab folder has no scenario {}: move its file to scenarios/", key.scenario()),
    }
}
