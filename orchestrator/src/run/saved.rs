//! Saved hosts. A host whose guests are up is kept in the cache; a later cell with the same inputs goes on with
//! it, and does not boot one.

use super::{cell::Shared, console::file_name, session::kernel_arguments};
use crate::{
    boot::kernel::ready::KernelFiles,
    host::{
        self, Answers, HostError, SaveError, StartError,
        link::{LinkError, SavedLink},
    },
};
use s2lab_cache::{Cache, CacheError};
use s2lab_model::{
    event::{Loaded, PlannedCell},
    steps::HOST,
};
use s2lab_os::{
    outside::{self, ReadError, kinds},
    whole::{self, Sync},
};
use s2lab_protocol::{BoundDevice, HostMemory};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};

/// The version of the files of a saved host, which is part of its inputs.
const FORMAT: u32 = 2;
/// The files of a saved host: the state of the machine, and what s2lab knows of it.
const STATE: &str = "state";
const FACTS: &str = "host.json";
/// The time in which the cache has a folder. It waits for no other process.
const FOLDER: Duration = Duration::from_secs(30);

/// The saved hosts of a run that uses them.
pub struct SavedHosts {
    cache: Cache,
    /// The digests of files that were read.
    known: Mutex<BTreeMap<PathBuf, String>>,
}

/// The facts about a saved host, beside the state of its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedFacts {
    pub(super) link: SavedLink,
    pub(super) answers: Answers,
    pub(super) loaded: Vec<Loaded>,
    pub(super) memory: HostMemory,
    pub(super) devices: BTreeMap<String, BoundDevice>,
}

/// A saved host in the cache.
pub(super) struct SavedHost {
    /// The state of its machine.
    pub(super) state: PathBuf,
    pub(super) facts: SavedFacts,
    /// The consoles so far, by name.
    pub(super) consoles: BTreeMap<String, Vec<u8>>,
}

/// The reason why a host is not saved, or does not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsaved {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot write in {folder}: {source}")]
    Write { folder: PathBuf, source: io::Error },
    #[error("{path} is damaged: {why}")]
    Facts { path: PathBuf, why: serde_json::Error },
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{0}")]
    Other(String),
}

/// The name and the inputs of the saved host of a cell.
#[derive(Clone)]
pub(super) struct SavedKey {
    cache: Cache,
    /// The scenario's.
    name: String,
    /// All that decides what is in it.
    inputs: BTreeMap<&'static str, String>,
}

impl SavedHosts {
    pub fn new(cache: Cache) -> Self {
        Self { cache, known: Mutex::default() }
    }

    /// Returns the key of the saved host of a cell. None: such a cell has none, because QEMU saves no virtual
    /// functions (QEMU 10.0 hw/net/igbvf.c has no state to save).
    pub(super) fn key(
        &self,
        shared: &Shared<'_>,
        planned: &PlannedCell,
        kernel: &KernelFiles,
        crash: &str,
    ) -> Result<Option<SavedKey>, CacheError> {
        let host = &planned.resolved.host;
        if planned.resolved.has_functions() {
            return Ok(None);
        }
        let own = [&host.arguments, shared.boot.arguments(&planned.kernel)].concat();
        let arguments = host::arguments(host, &kernel_arguments("<nonce>", crash, &own));
        let runs_qemu = planned.resolved.runs_qemu();
        let mut inputs = shared.boot.digests(shared.qemu, kernel, runs_qemu, |path| self.digest(path))?;
        inputs.insert("format", FORMAT.to_string());
        inputs.insert("arguments", arguments.join(" "));
        let guests = serde_json::to_string(&planned.resolved.guests);
        inputs.insert("guests", guests.map_err(|e| CacheError::Task(e.to_string()))?);
        let name = planned.key.scenario().to_owned();
        Ok(Some(SavedKey { cache: self.cache.clone(), name, inputs }))
    }

    /// Returns the digest of a file, which is read once in a run.
    fn digest(&self, path: &Path) -> Result<String, CacheError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known.get(path) {
            return Ok(digest.clone());
        }
        let digest = self.cache.digest(path)?;
        known.insert(path.to_owned(), digest.clone());
        Ok(digest)
    }
}

impl SavedKey {
    /// Returns the saved host, if there is one.
    pub(super) async fn find(&self) -> Result<Option<SavedHost>, Unsaved> {
        let key = self.clone();
        let found = self.cache.blocking(move |cache| cache.saved_host(&key.name, &key.inputs)).await?;
        let Some(folder) = found else { return Ok(None) };
        let path = folder.join(FACTS);
        let text = outside::read(&path, kinds::MANIFEST)?;
        let facts: SavedFacts = serde_json::from_slice(&text).map_err(|why| Unsaved::Facts { path, why })?;
        let names = facts.link.guests().map(str::to_owned).chain([HOST.to_owned()]);
        let read = |name: String| {
            let text = outside::read(&folder.join(file_name(&name)), kinds::CONSOLE)?;
            Ok((name, text))
        };
        let consoles = names.map(read).collect::<Result<_, ReadError>>()?;
        Ok(Some(SavedHost { state: folder.join(STATE), facts, consoles }))
    }

    /// Removes the saved host, which is of no use.
    pub(super) async fn discard(&self) {
        let key = self.clone();
        let discarded = self.cache.blocking(move |cache| cache.discard_host(&key.name, &key.inputs));
        if let Err(error) = discarded.await {
            tracing::debug!("a saved host stays: {error}");
        }
    }

    /// Returns a place for the host in the cache. None: another process saves it, or has done so.
    pub(super) async fn place(&self) -> Result<Option<SavedPlace>, Unsaved> {
        let ((give, folder), (filled, is_filled)) = (oneshot::channel(), oneshot::channel());
        let key = self.clone();
        let kept = Keeping(tokio::task::spawn_blocking(move || {
            key.cache.save_host(&key.name, &key.inputs, |folder| {
                // Who does not wait any more has no need of it.
                let _ = give.send(folder.to_owned());
                is_filled.blocking_recv().map_err(|_| CacheError::Cancelled)
            })
        }));
        match s2lab_os::waits::timeout(FOLDER, folder).await {
            Ok(Ok(folder)) => Ok(Some(SavedPlace { folder, filled, kept })),
            Ok(Err(_)) => match kept.done().await {
                Ok(()) | Err(CacheError::LockTimeout { .. }) => Ok(None),
                Err(why) => Err(why.into()),
            },
            Err(_) => Err(Unsaved::Other(format!("the cache has no folder for it after {FOLDER:?}"))),
        }
    }
}

/// A folder for a saved host, which becomes an object of the cache when it is filled.
pub(super) struct SavedPlace {
    folder: PathBuf,
    filled: oneshot::Sender<()>,
    kept: Keeping,
}

impl SavedPlace {
    /// The file for the state of the machine.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.join(STATE)
    }

    /// Adds the console with this name from the folder of a cell.
    pub(super) fn add_console(&self, cell: &Path, name: &str) -> Result<(), Unsaved> {
        let text = outside::read(&cell.join(file_name(name)), kinds::CONSOLE)?;
        self.write(&file_name(name), &text)
    }

    /// Adds the facts. The folder is complete then, and becomes an object while the host goes on.
    pub(super) fn complete(self, facts: &SavedFacts) -> Result<Keeping, Unsaved> {
        let text = serde_json::to_vec(facts);
        let text = text.map_err(|why| Unsaved::Facts { path: self.folder.join(FACTS), why })?;
        self.write(FACTS, &text)?;
        // Without the receiver the other end reports why.
        let _ = self.filled.send(());
        Ok(self.kept)
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), Unsaved> {
        let written = whole::write(&self.folder.join(file), bytes, Sync::Later);
        written.map_err(|source| Unsaved::Write { folder: self.folder.clone(), source })
    }
}

/// The work that makes a filled folder an object of the cache.
pub(super) struct Keeping(JoinHandle<Result<(), CacheError>>);

impl Keeping {
    /// Waits until it is done.
    pub(super) async fn done(self) -> Result<(), CacheError> {
        self.0.await.map_err(|error| CacheError::Task(error.to_string()))?
    }
}
