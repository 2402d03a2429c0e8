//! `s2lab accept`: a person has read the reports and agrees.

use crate::cli::{
    context::Context, context::own_lab, exit, failure::Failure, render::say, shared::judged::Judged,
    shared::runs::open,
};
use crate::{lab::shown, review::accept as write, show::standings::reason};
use clap::Args;
use s2lab_model::{
    report::{Outcome, Standing},
    summary::CellSummary,
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Keys of the cells to accept; default: all of the run
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// A run's folder or its name; default: the latest
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
}

pub(crate) fn accept(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let reports = own_lab(context, "nothing can be accepted")?.reports();
    let folder = open(context, arguments.run.as_deref())?;
    let judged = Judged::read(&folder)?;
    let cells = judged.summary(&folder, Some(&reports)).cells;
    for key in &arguments.keys {
        if cells.iter().all(|cell| cell.key != **key) {
            let near = s2lab_model::diagnostic::suggest(key, cells.iter().map(|cell| cell.key.as_str()));
            return Err(Failure::Usage { message: format!("the run has no cell `{key}`"), hint: Some(near) });
        }
    }
    let chosen =
        |cell: &&CellSummary| arguments.keys.is_empty() || arguments.keys.iter().any(|key| cell.key == **key);
    let mut refused = false;
    for CellSummary { key, standing, .. } in cells.iter().filter(chosen) {
        match (standing, judged.reports.get(key)) {
            (Some(Standing::Compared(Outcome::Same)), _) => say(&format!("{key}: as accepted"))?,
            (Some(Standing::Missing(gap)), _) => {
                refused = true;
                say(&format!("{key}: not accepted, {}", reason(gap)))?;
            }
            (_, Some(report)) => {
                let path = write(&reports, key, &report.text())?;
                say(&format!("{key}: accepted, {}", shown(&path)))?;
            }
            (_, None) => {}
        }
    }
    Ok(if refused { exit::LAB } else { exit::FINE })
}
