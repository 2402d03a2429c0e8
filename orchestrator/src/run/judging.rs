//! Judgement of a run's cells while its log grows.

use super::bundle::Bundle;
use s2lab_model::{
    event::Attempts,
    hash::{Hasher, is_digest},
    judge::{JudgedAttempt, JudgedCell, JudgedRun, LiveRun, another},
    plan::Key,
    record::{LogError, look::Pages},
    verdict::Verdict,
};
use s2lab_os::outside::{self, kinds};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The table pages of a run.
#[derive(Debug, Clone)]
pub enum RawPages {
    /// The run's folder `raw/`.
    Folder(PathBuf),
    Bundle(Arc<Bundle>),
}

impl RawPages {
    pub fn new(raw: PathBuf) -> Self {
        Self::Folder(raw)
    }
}

impl Pages for RawPages {
    /// Returns the page. A name that is not a digest has none.
    fn page(&self, digest: &str) -> Result<Option<Vec<u8>>, String> {
        if !is_digest(digest) {
            return Ok(None);
        }
        let raw = match self {
            Self::Folder(raw) => raw,
            Self::Bundle(bundle) => return Ok(bundle.get(&format!("raw/{digest}")).map(<[u8]>::to_vec)),
        };
        match outside::read(&raw.join(digest), kinds::TABLE_PAGE) {
            Err(error) if error.is_absent() => Ok(None),
            read => read.map(Some).map_err(|error| error.why.to_string()),
        }
    }
}

/// The judge of a run. Clones are cheap: the log's writer gives each line to one, and the run asks
/// another.
#[derive(Debug, Clone)]
pub struct Judging {
    live: Arc<Mutex<Result<LiveRun, LogError>>>,
    /// The lines that nobody has asked about. The log's writer does not wait during a judgement.
    new: Arc<Mutex<Vec<String>>>,
    /// Has taken all lines.
    log: Arc<Mutex<Hasher>>,
    pages: RawPages,
}

impl Judging {
    pub fn new(pages: RawPages) -> Self {
        Self {
            live: Arc::new(Mutex::new(Ok(LiveRun::default()))),
            new: Arc::default(),
            log: Arc::default(),
            pages,
        }
    }

    /// Takes a line of the log.
    pub fn line(&self, text: &str) {
        locked(&self.log).update(text.as_bytes());
        locked(&self.new).push(text.to_owned());
    }

    /// Returns the run with all lines so far.
    fn live(&self) -> MutexGuard<'_, Result<LiveRun, LogError>> {
        let mut live = locked(&self.live);
        let new = std::mem::take(&mut *locked(&self.new));
        for line in new {
            if let Ok(run) = &mut *live
                && let Err(error) = run.line(line.trim_end_matches('\n'))
            {
                *live = Err(error);
            }
        }
        live
    }

    /// Asks the run, if the log can be read.
    fn ask<T>(&self, question: impl FnOnce(&mut LiveRun, &RawPages) -> T) -> Option<T> {
        self.live().as_mut().ok().map(|run| question(run, &self.pages))
    }

    /// Returns true if the cell needs another attempt, or None if the log cannot be read.
    pub fn another(&self, key: &Key, course: Attempts) -> Option<bool> {
        self.ask(|run, pages| another(course, run.attempts(key, pages)))
    }

    /// Returns true if the attempt `number` at the cell, from 1, has ended and passed.
    pub fn passed(&self, key: &Key, number: usize) -> bool {
        let passed =
            |attempt: &JudgedAttempt| attempt.judgement.verdict.as_ref().is_some_and(Verdict::passed);
        let of = |attempts: &[JudgedAttempt]| attempts.get(number.checked_sub(1)?).map(passed);
        self.ask(|run, pages| of(run.attempts(key, pages))).flatten().unwrap_or_default()
    }

    /// Returns the judgement of the cell so far.
    pub fn cell(&self, key: &Key) -> Option<JudgedCell> {
        self.ask(|run, pages| run.cell(key, pages)).flatten()
    }

    /// Returns the judgement of the current attempt, as if it had come to its end.
    pub fn as_if_complete(&self, key: &Key) -> Option<JudgedCell> {
        self.ask(|run, pages| run.as_if_complete(key, pages)).flatten()
    }

    /// Returns the number of attempts that were judged.
    pub fn judgements(&self) -> usize {
        self.ask(|run, _| run.judgements()).unwrap_or_default()
    }

    /// Returns the whole run, once its log is complete.
    ///
    /// # Errors
    /// If the written lines are not a valid log.
    pub fn finish(&self) -> Result<JudgedRun, LogError> {
        std::mem::replace(&mut *self.live(), Err(LogError::Empty))?.finish(&self.pages)
    }

    /// Returns the digest of all lines, once the log is complete. The file may have changed since.
    pub fn log_digest(&self) -> String {
        std::mem::take(&mut *locked(&self.log)).finish()
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
