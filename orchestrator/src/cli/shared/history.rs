//! The history that arguments mean, and the runs that go into it.

use crate::{
    cli::{context::Context, failure::Failure, render::complain},
    home,
    host::emulated::factor::FactorError,
    lab::Places,
};
use clap::Args;
use s2lab_history::{Added, FILE, History};
use s2lab_model::{night::Past, plan::Key, summary::RunSummary};
use s2lab_os::{machine::Machine, private};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

/// The argument that names the history.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HistoryArguments {
    /// The file of the history; default: history.sqlite in the state folder
    #[arg(long, value_name = "FILE", value_parser = home::argument())]
    history: Option<PathBuf>,
}

/// The arguments that choose what is read of a history.
#[derive(Debug, Args)]
pub(crate) struct PastArguments {
    #[command(flatten)]
    pub(crate) history: HistoryArguments,
    /// The runs of all lab folders together; default: those of this one
    #[arg(long)]
    all_labs: bool,
}

impl PastArguments {
    /// Returns the lab folder whose runs are meant; None: all.
    pub(crate) fn lab(&self, context: &Context) -> Result<Option<String>, Failure> {
        if self.all_labs { Ok(None) } else { context.lab_name().map(Some) }
    }

    /// Returns the failure that the history has no run of `what`.
    pub(crate) fn nothing(&self, history: &History, lab: Option<&str>, what: &str) -> Failure {
        let of = lab.map(|lab| format!(" of the lab folder {lab}")).unwrap_or_default();
        let message = format!("the history {} has no run{of} with {what}", history.path().display());
        let others = history.labs().is_ok_and(|labs| labs.iter().any(|other| Some(other.as_str()) != lab));
        let hint =
            (others && lab.is_some()).then(|| "it has runs of other lab folders: --all-labs".to_owned());
        Failure::Usage { message, hint }
    }
}

impl HistoryArguments {
    /// Opens the history, which must exist.
    pub(crate) fn open(&self, context: &Context) -> Result<History, Failure> {
        Ok(History::open(&self.path(&context.places()?))?)
    }

    /// Returns the durations of cells on a machine of this kind. Without a history none is known.
    pub(crate) fn durations(
        &self,
        context: &Context,
        keys: &BTreeSet<Key>,
    ) -> Result<BTreeMap<Key, Duration>, Failure> {
        let path = self.path(&context.places()?);
        if self.history.is_none() && !path.exists() {
            return Ok(BTreeMap::new());
        }
        let machine = Machine::this().map_err(FactorError::from)?;
        Ok(History::open(&path)?.durations(keys, &machine.kind())?)
    }

    /// Adds a run to the history, which is made if there is none.
    pub(crate) fn add(&self, places: &Places, run: &RunSummary) -> Result<Added, Failure> {
        Ok(self.create(places)?.add(run)?)
    }

    /// Opens the history, which is made if there is none.
    fn create(&self, places: &Places) -> Result<History, Failure> {
        if self.history.is_none() {
            private::make(&places.state).map_err(Failure::io("cannot make the state folder"))?;
        }
        Ok(History::create(&self.path(places))?)
    }

    /// Adds a run that has just ended, and returns true if it is in the history. A history that
    /// cannot be written changes nothing about the run: it is a warning.
    pub(crate) fn keep(&self, places: &Places, run: &RunSummary) -> bool {
        self.keep_merged(places, run, &[])
    }

    /// Adds a merged run like [`Self::keep`], in place of the runs of its shards.
    pub(crate) fn keep_merged(
        &self,
        places: &Places,
        run: &RunSummary,
        shards: &[(Option<&str>, &str)],
    ) -> bool {
        let kept = self.create(places).and_then(|mut history| Ok(history.add_merged(run, shards)?));
        if let Err(failure) = &kept {
            complain(&format!("warning: the run is not in the history: {failure}"));
            let hint = failure.hint().map(|hint| format!("{hint}; ")).unwrap_or_default();
            complain(&format!("  hint: {hint}`s2lab history add {}` adds it later", run.folder.display()));
        }
        kept.is_ok()
    }

    /// Returns the nights before a night that has ended. A history that cannot be read is a warning,
    /// unless `silent`.
    pub(crate) fn nights_before(&self, places: &Places, run: &RunSummary, silent: bool) -> Past {
        let past = History::open(&self.path(places)).and_then(|history| history.nights_before(run));
        past.map_err(Failure::from).unwrap_or_else(|failure| {
            if !silent {
                complain(&format!("warning: the nights before this one are not known: {failure}"));
                failure.hint().iter().for_each(|hint| complain(&format!("  hint: {hint}")));
            }
            Past { unread: true, ..Past::default() }
        })
    }

    /// Returns the place of the history.
    fn path(&self, places: &Places) -> PathBuf {
        self.history.clone().unwrap_or_else(|| places.state.join(FILE))
    }
}
