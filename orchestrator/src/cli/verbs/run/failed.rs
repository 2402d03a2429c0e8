//! `s2lab run --failed`: the cells of the latest run that are to be run again.

use super::arguments::Arguments;
use crate::cli::{
    context::Context,
    failure::Failure,
    shared::cells::{CellArguments, CellPlan, planned},
    shared::judged::Judged,
    shared::kernels::KernelArguments,
    shared::parts::PartArguments,
    shared::qemu::QemuArguments,
    shared::runs::latest,
    shared::set::SetArguments,
};
use crate::lab::Lab;
use clap::Parser;
use s2lab_model::{judge::JudgedCell, verdict::Verdict};
use std::collections::BTreeSet;

/// Returns the cells of the lab folder's latest run that neither passed nor were skipped, planned
/// from the present lab folder, with the parts that the run was given. Cells that were not run or
/// not judged are among them. Returns None if there is no such cell.
pub(crate) fn cells(context: &Context, lab: &Lab) -> Result<Option<(CellPlan, PartArguments)>, Failure> {
    let folder = latest(context)?;
    if folder.is_at_work().map_err(Failure::io(folder.events().display().to_string()))? {
        let message = format!("the latest run, {}, is still at work", folder.path().display());
        return Err(Failure::Usage { message, hint: Some("wait for its end".into()) });
    }
    let mut failed = Judged::read(&folder)?.run.cells;
    failed.retain(|cell| !matches!(cell.verdict, Some(Verdict::Pass { .. } | Verdict::Skip(_))));
    if failed.is_empty() {
        return Ok(None);
    }
    let keys: BTreeSet<_> = failed.iter().map(|cell| cell.planned.key.as_str()).collect();
    let mut parts = PartArguments::default();
    let mut groups: Vec<((KernelArguments, QemuArguments, SetArguments), Vec<String>)> = vec![];
    for cell in &failed {
        let run = arguments(cell)?;
        let (arguments, what) = ((run.kernels, run.parts.qemu.clone(), run.cells.set), run.cells.what);
        parts = run.parts.or(parts);
        match groups.iter_mut().find(|(of_group, _)| *of_group == arguments) {
            Some((_, together)) => together.extend(what),
            None => groups.push((arguments, what)),
        }
    }
    let mut all: Option<CellPlan> = None;
    for ((kernels, qemu, set), what) in groups {
        let cells = CellArguments { what, set, ..CellArguments::default() };
        let mut planned = planned(lab, &cells, &kernels, &qemu)?;
        // A file with a kernel by its path is several cells, and possibly only some have failed.
        planned.cells.retain(|cell| keys.contains(cell.key.as_str()));
        planned.chosen.retain(|chosen| planned.cells.iter().any(|cell| cell.kernel == chosen.label));
        match &mut all {
            Some(all) => {
                all.cells.extend(planned.cells);
                all.chosen.extend(planned.chosen);
            }
            None => all = Some(planned),
        }
    }
    Ok(all.map(|all| (all, parts)))
}

/// The command line that repeats a cell.
#[derive(Debug, Parser)]
struct Repeat {
    #[command(flatten)]
    run: Arguments,
}

/// Parses the cell's own command.
fn arguments(cell: &JudgedCell) -> Result<Arguments, Failure> {
    // Its first word is the verb, in the place of the program's name.
    let repeat = Repeat::try_parse_from(&cell.planned.repeat);
    repeat.map(|repeat| repeat.run).map_err(|error| Failure::Usage {
        message: format!("{}: the command that repeats it is not understood: {error}", cell.planned.key),
        hint: Some("another s2lab made the latest run; run the cell by its key".into()),
    })
}
