//! A run that is judged while its log grows: each attempt once, when it has ended.

use super::run::{attempt, cell_verdict, conclude};
use super::{JudgedAttempt, JudgedCell, JudgedRun};
use crate::event::{Attempts, CellEnd};
use crate::plan::Key;
use crate::record::look::Pages;
use crate::record::{Cell, Fold, LogError};
use std::collections::BTreeMap;

/// A log so far, and the judgements of it.
#[derive(Debug, Default)]
pub struct LiveRun {
    fold: Fold,
    /// The judged attempts by the cell's place in the plan.
    judged: BTreeMap<usize, Vec<JudgedAttempt>>,
    judgements: usize,
}

impl LiveRun {
    /// Takes the next line of the log, without its line feed.
    ///
    /// # Errors
    /// See [`Fold::text`].
    pub fn line(&mut self, line: &str) -> Result<(), LogError> {
        self.fold.text(line)
    }

    /// Returns the attempts at the cell `key` that have ended, and judges new ones.
    pub fn attempts(&mut self, key: &Key, pages: &(impl Pages + ?Sized)) -> &[JudgedAttempt] {
        let Some(place) = self.fold.place(key) else { return &[] };
        let ended = self.fold.take_ended(place);
        self.judgements += ended.len();
        let judged = self.judged.entry(place).or_default();
        judged.extend(ended.into_iter().map(|record| attempt(record, false, pages)));
        judged
    }

    /// Returns the judgement of the cell `key` by its attempts so far. An attempt that has not
    /// ended counts as if the log stopped here.
    pub fn cell(&mut self, key: &Key, pages: &(impl Pages + ?Sized)) -> Option<JudgedCell> {
        let mut attempts = self.attempts(key, pages).to_vec();
        let interrupted = self.fold.run()?.interrupted.is_some();
        let Cell { planned, attempts: open, not_run, .. } = self.fold.cell(key)?;
        attempts.extend(open.into_iter().map(|open| attempt(open, interrupted, pages)));
        let verdict = cell_verdict(self.course(), not_run.as_deref(), &attempts, interrupted);
        Some(JudgedCell { planned, verdict, attempts, not_run, damage: None })
    }

    /// Returns the attempt at the cell `key` that has not ended, judged as if it had come to its
    /// end.
    pub fn as_if_complete(&mut self, key: &Key, pages: &(impl Pages + ?Sized)) -> Option<JudgedCell> {
        let Cell { planned, mut attempts, .. } = self.fold.cell(key)?;
        let mut open = attempts.pop()?;
        open.end = Some(CellEnd::Complete);
        open.session.end();
        let attempts = vec![attempt(open, false, pages)];
        let verdict = cell_verdict(Attempts::Once, None, &attempts, false);
        self.judgements += 1;
        Some(JudgedCell { planned, verdict, attempts, not_run: None, damage: None })
    }

    fn course(&self) -> Attempts {
        self.fold.run().map(|run| run.plan.course()).unwrap_or_default()
    }

    /// Returns the number of attempts that were decoded and judged.
    pub fn judgements(&self) -> usize {
        self.judgements
    }

    /// Returns the whole run, up to the end of its log.
    ///
    /// # Errors
    /// If the log has no plan.
    pub fn finish(self, pages: &(impl Pages + ?Sized)) -> Result<JudgedRun, LogError> {
        let Self { fold, mut judged, .. } = self;
        Ok(conclude(fold.finish()?, |place| judged.remove(&place).unwrap_or_default(), pages))
    }
}
