//! The run that a verb uses.

use crate::{
    cli::{context::Context, failure::Failure, render::complain},
    run::folder::RunFolder,
};
use s2lab_model::event::BUILT_IN;
use std::{io, path::Path};

/// The word for the latest run of the lab folder.
pub(crate) const LATEST: &str = "latest";

/// Opens the run that an argument names: a bundle, a run's folder, or the folder's name. Every
/// argument that means a run comes here.
pub(crate) fn open(context: &Context, run: Option<&str>) -> Result<RunFolder, Failure> {
    let Some(run) = run else { return latest(context) };
    let path = Path::new(run);
    if path.is_file() {
        return Ok(RunFolder::of_bundle(path)?);
    }
    RunFolder::open(&context.places()?.state, run).map_err(|source| Failure::Usage {
        message: source.to_string(),
        hint: Some("`s2lab run` makes one".into()),
    })
}

/// Returns the run with this name or folder, or in this bundle, if there is one.
pub(crate) fn named(context: &Context, run: &str) -> Result<Option<RunFolder>, Failure> {
    let path = Path::new(run);
    if path.is_file() {
        return Ok(Some(RunFolder::of_bundle(path)?));
    }
    match RunFolder::open(&context.places()?.state, run) {
        Ok(run) => Ok(Some(run)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io(run.to_owned())(error)),
    }
}

/// The latest run of the lab folder, which is printed. A run of another lab folder is never taken.
pub(crate) fn latest(context: &Context) -> Result<RunFolder, Failure> {
    let (state, lab) = (context.places()?.state, context.lab_name()?);
    let which =
        if lab == BUILT_IN { "the built-in lab folder".into() } else { format!("the lab folder {lab}") };
    let run = RunFolder::latest(&state, &lab).map_err(Failure::io(state.display().to_string()))?;
    let run = run.ok_or_else(|| Failure::Usage {
        message: format!("there is no run of {which}"),
        hint: Some("`s2lab run` makes one; any other run is taken by its name or its folder".into()),
    })?;
    if !context.common.quiet {
        complain(&format!("the latest run of {which}: {}", run.path().display()));
    }
    Ok(run)
}
