//! The run that a verb uses.

use crate::{
    cli::{context::Context, failure::Failure},
    run::folder::RunFolder,
};

/// Opens the run that an argument names.
pub(crate) fn open(context: &Context, run: Option<&str>) -> Result<RunFolder, Failure> {
    RunFolder::open(&context.places()?.state, run).map_err(|source| Failure::Usage {
        message: source.to_string(),
        hint: Some("`s2lab run` makes one".into()),
    })
}
