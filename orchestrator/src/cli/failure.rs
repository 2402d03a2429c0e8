//! The failures of verbs, and their hints.

use crate::{
    host::emulated::factor::FactorError,
    lab::{LabError, init::InitError},
    review::ReviewError,
    run::{bundle::BundleError, retention::RemoveError},
    runtime::NoRuntime,
};
use s2lab_cache::{CacheError, revisions::RevisionsError, series::SeriesError};
use s2lab_history::HistoryError;
use s2lab_model::{
    plan::PlanError,
    record::LogError,
    shards::{Difference, MergeError, PlanFileError},
};
use s2lab_os::{
    limits,
    outside::ReadError,
    private::OpenToOthers,
    whole::{leads_elsewhere, no_room},
};
use std::{io, path::PathBuf};

/// A failure of any verb.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error(transparent)]
    Init(#[from] InitError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Open(#[from] OpenToOthers),
    #[error(transparent)]
    Runtime(#[from] NoRuntime),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Series(#[from] SeriesError),
    #[error(transparent)]
    Revisions(#[from] RevisionsError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Factor(#[from] FactorError),
    #[error(transparent)]
    Review(#[from] ReviewError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Remove(#[from] RemoveError),
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error("{path}: {source}")]
    PlanFile { path: PathBuf, source: PlanFileError },
    #[error("{path} is the plan of another checkout: {source}")]
    OtherCheckout { path: PathBuf, source: Difference },
    #[error("{path}: {source}")]
    Log { path: PathBuf, source: LogError },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    /// A failure with another exit code than its own.
    #[error("{failure}")]
    Coded { failure: Box<Failure>, exit: u8 },
}

impl Failure {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Failure::Io { what: what.into(), source }
    }

    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Failure::Lab(error) => error.hint(),
            Failure::Open(error) => Some(error.hint()),
            Failure::Coded { failure, .. } => failure.hint(),
            Failure::Plan(error) => error.hint().map(str::to_owned),
            Failure::Series(error) => error.hint(),
            Failure::Revisions(error) => error.hint(),
            Failure::Init(InitError::Exists { .. }) => Some("name another folder".into()),
            Failure::Cache(error) => error.hint(),
            Failure::Bundle(BundleError::Refused { .. }) => {
                Some("`s2lab bundle RUN` writes one; a run's folder is named by itself".into())
            }
            Failure::History(error) => error.hint(),
            Failure::Remove(RemoveError::AtWork(_)) => Some("wait for its end".into()),
            Failure::Remove(RemoveError::Foreign(_)) => {
                Some("move them away, or remove the folder by hand".into())
            }
            Failure::Runtime(error) => error.hint().map(str::to_owned),
            Failure::Factor(_) => Some("`s2lab doctor` shows what is missing on this machine".into()),
            Failure::Merge(error) => error.hint().map(str::to_owned),
            Failure::PlanFile { .. } => Some("`s2lab plan` writes one".into()),
            Failure::OtherCheckout { .. } => {
                Some("use the checkout of the plan, or make a plan of this one for all machines".into())
            }
            Failure::Usage { hint, .. } => hint.clone(),
            Failure::Io { source, .. } | Failure::Review(ReviewError::Io { source, .. })
                if leads_elsewhere(source) =>
            {
                Some("remove it; s2lab makes a folder in its place".into())
            }
            Failure::Io { source, .. } | Failure::Init(InitError::Io { source, .. }) if no_room(source) => {
                Some("the file system is full, or a limit is reached: make room, and run again".into())
            }
            Failure::Io { source, .. } => limits::hint(source).map(str::to_owned),
            Failure::Read(error) => error.limit_hint().map(str::to_owned),
            _ => None,
        }
    }
}
