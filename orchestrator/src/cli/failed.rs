//! `s2lab run --failed`: what the latest run leaves to be done again.

use super::{
    Failure,
    judged::Judged,
    kernels::{KernelArguments, Planned, planned},
    parts::PartArguments,
    run::Arguments,
};
use crate::{lab::Lab, run::folder::RunFolder};
use clap::Parser;
use s2lab_model::{judge::JudgedCell, verdict::Verdict};
use std::{collections::BTreeSet, path::Path};

/// The cells of the latest run that neither passed nor were skipped, planned from what the lab holds now; those that were not
/// run or not judged are among them. With them the parts that the run was given. None if there is none.
pub(super) fn cells(state: &Path, lab: &Lab) -> Result<Option<(Planned, PartArguments)>, Failure> {
    let usage = |message: String, hint: &str| Failure::Usage { message, hint: Some(hint.into()) };
    let folder = RunFolder::open(state, None).map_err(|e| usage(e.to_string(), "`s2lab run` makes one"))?;
    if folder.is_at_work().map_err(Failure::io(folder.events().display().to_string()))? {
        let message = format!("the latest run, {}, is still at work", folder.path().display());
        return Err(usage(message, "wait for its end"));
    }
    let mut failed = Judged::read(&folder)?.run.cells;
    failed.retain(|cell| !matches!(cell.verdict, Some(Verdict::Pass { .. } | Verdict::Skip(_))));
    if failed.is_empty() {
        return Ok(None);
    }
    let keys: BTreeSet<_> = failed.iter().map(|cell| cell.planned.key.as_str()).collect();
    let (what, kernels, parts) = arguments(&failed)?;
    let mut planned = planned(lab, &what, &kernels)?;
    // A file with a kernel by its path is several cells, of which not all may have failed.
    planned.cells.retain(|cell| keys.contains(cell.key.as_str()));
    planned.images.retain(|image| planned.cells.iter().any(|cell| cell.kernel == image.label));
    Ok(Some((planned, parts)))
}

/// The command line that repeats a cell.
#[derive(Debug, Parser)]
struct Repeat {
    #[command(flatten)]
    run: Arguments,
}

/// What the cells' own commands say, together.
fn arguments(cells: &[JudgedCell]) -> Result<(Vec<String>, KernelArguments, PartArguments), Failure> {
    let (mut what, mut kernels, mut parts) = (vec![], KernelArguments::default(), PartArguments::default());
    for cell in cells {
        let repeat = Repeat::try_parse_from(&cell.planned.repeat).map_err(|error| Failure::Usage {
            message: format!("{}: the command that repeats it is not understood: {error}", cell.planned.key),
            hint: Some("another s2lab made the latest run; run the cell by its key".into()),
        })?;
        let run = repeat.run;
        what.extend(run.what);
        kernels.kernels.extend(run.kernels.kernels);
        kernels.modules = run.kernels.modules.or(kernels.modules);
        kernels.config = run.kernels.config.or(kernels.config);
        kernels.system_map = run.kernels.system_map.or(kernels.system_map);
        parts = run.parts.or(parts);
    }
    let mut known = BTreeSet::new();
    kernels.kernels.retain(|kernel| known.insert(kernel.clone()));
    Ok((what, kernels, parts))
}
