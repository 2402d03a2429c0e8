//! The removal of a device from stage 2 of its guest, in each step that makes one: the TLB
//! invalidations meanwhile, and stage 2 right after it.

use super::{
    super::{cell::CellContext, stages::Stop},
    NO_LOOKS,
};
use crate::host::{HostError, Moment, Recorded, TlbiTrace, deadlines::Deadline};
use s2lab_model::steps::{AfterReset, Beside, Invalidated, Observation, Step, TlbiRun};
use s2lab_os::waits::timeout;

/// A moment before a step that removes a device.
pub(super) struct Begin {
    device: String,
    by: &'static str,
    /// None without a plugin.
    moment: Option<Moment>,
}

impl CellContext<'_, '_> {
    /// Returns this moment, before a step that removes a device.
    pub(super) fn begin_removal(&self, step: &Step) -> Option<Begin> {
        let removal = step.removes()?;
        let moment = self.session.host.trace().ok().map(TlbiTrace::now);
        Some(Begin { device: removal.device.to_owned(), by: removal.by, moment })
    }

    /// Logs the TLB invalidations since then, and stage 2 if the guest was looked at before.
    pub(super) async fn end_removal(&mut self, index: usize, begin: Option<Begin>) -> Result<(), Stop> {
        let Some(Begin { device, by, moment }) = begin else { return Ok(()) };
        let guest = self.owner(&device)?;
        self.invalidated(index, &guest, &device, moment);
        self.tables_after(index, &device, by, None).await
    }

    /// Logs stage 2 after a removal, if the guest was looked at before. `round`: that of a loop, from 1.
    pub(super) async fn tables_after(
        &mut self,
        index: usize,
        device: &str,
        by: &str,
        round: Option<u32>,
    ) -> Result<(), Stop> {
        match self.looked.get(&self.owner(device)?).cloned() {
            Some(tables) => self.after_removal(index, device, by, round, tables).await,
            None => Ok(()),
        }
    }

    fn invalidated(&self, index: usize, guest: &str, device: &str, begin: Option<Moment>) {
        let Some((trace, begin)) = self.session.host.trace().ok().zip(begin) else { return };
        let Recorded { instructions, incomplete, .. } = trace.since(begin);
        let (runs, whole) = TlbiRun::of(&instructions);
        let unkept = (!whole).then(|| format!("{} instructions in too many runs", instructions.len()));
        let (guest, device) = (guest.to_owned(), device.to_owned());
        let seen = Invalidated { guest, device, runs, incomplete: incomplete.or(unkept) };
        self.observed(index, Observation::Invalidated(seen));
    }

    async fn after_removal(
        &mut self,
        index: usize,
        device: &str,
        by: &str,
        round: Option<u32>,
        tables: Beside,
    ) -> Result<(), Stop> {
        let deadline = self.due(Deadline::Look);
        let looks = self.session.host.looks().ok_or_else(|| Stop::lab(NO_LOOKS))?;
        let after = looks.after_removal(device, tables, &self.session.around, self.raw);
        let after = timeout(deadline, after).await.map_err(|_| {
            Stop::lab(format!("the tables after the {by} of `{device}` were not read in {deadline:?}"))
        })?;
        let after = AfterReset { round, ..after.map_err(HostError::from)? };
        self.observed(index, Observation::AfterReset(after));
        Ok(())
    }
}
