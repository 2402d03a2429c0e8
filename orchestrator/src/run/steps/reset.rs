//! The step `host: {reset: ...}`: a device is reset through VFIO, and stage 2 of its guest is read
//! again.

use super::{
    super::{cell::CellContext, stages::Stop},
    NO_LOOKS,
};
use crate::host::{HostError, Moment, Recorded, TlbiTrace, deadlines::Deadline};
use s2lab_model::steps::{self, Beside, HostStep, Invalidated, Observation, TlbiRun};
use s2lab_os::waits::timeout;
use s2lab_protocol::ask::{Reset, ResetDone};

impl CellContext<'_, '_> {
    pub(super) async fn reset(&mut self, index: usize, step: &HostStep) -> Result<(), Stop> {
        let device = &step.reset;
        let guest = &self.owner(device)?;
        let begin = self.session.host.trace().ok().map(TlbiTrace::now);
        let method = self.reset_device(device).await?;
        let reset = steps::Reset { device: device.clone(), method };
        self.observed(index, Observation::Reset(reset));
        self.invalidated(index, guest, device, begin);
        match self.looked.get(guest).cloned() {
            Some(tables) => self.after_reset(index, device, tables).await,
            None => Ok(()),
        }
    }

    /// Logs the TLB invalidations since `begin`, in a step that has removed the device from the
    /// guest's stage 2.
    fn invalidated(&self, index: usize, guest: &str, device: &str, begin: Option<Moment>) {
        let Some((trace, begin)) = self.session.host.trace().ok().zip(begin) else { return };
        let Recorded { instructions, incomplete, .. } = trace.since(begin);
        let (runs, whole) = TlbiRun::of(&instructions);
        let unkept = (!whole).then(|| format!("{} instructions in too many runs", instructions.len()));
        let (guest, device) = (guest.to_owned(), device.to_owned());
        let seen = Invalidated { guest, device, runs, incomplete: incomplete.or(unkept) };
        self.observed(index, Observation::Invalidated(seen));
    }

    /// Resets a device, and returns the method.
    pub(super) async fn reset_device(&mut self, device: &str) -> Result<String, Stop> {
        let ask = Reset { guest: self.owner(device)?, device: device.to_owned() };
        let ResetDone { method } = self.session.ask_host(ask, self.due(Deadline::Request)).await?;
        Ok(method)
    }

    /// Returns the guest that has the device.
    fn owner(&self, device: &str) -> Result<String, Stop> {
        let mut guests = self.planned.resolved.guests.iter();
        let owner = guests.find(|(_, guest)| guest.assign.contains_key(device));
        let (guest, _) = owner.ok_or_else(|| Stop::lab(format!("`{device}` belongs to no guest")))?;
        Ok(guest.clone())
    }

    /// Logs the guest's stage 2 after the reset.
    async fn after_reset(&mut self, index: usize, device: &str, tables: Beside) -> Result<(), Stop> {
        let deadline = self.due(Deadline::Look);
        let looks = self.session.host.looks().ok_or_else(|| Stop::lab(NO_LOOKS))?;
        let after = looks.after_reset(device, tables, &self.session.around, self.raw);
        let after = timeout(deadline, after).await.map_err(|_| {
            Stop::lab(format!("the tables after the reset of `{device}` were not read in {deadline:?}"))
        })?;
        let after = after.map_err(HostError::from)?;
        self.observed(index, Observation::AfterReset(after));
        Ok(())
    }
}
