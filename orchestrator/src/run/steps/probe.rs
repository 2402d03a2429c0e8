//! The step `probe`: one unaligned store, which may end the guest.

use super::super::{cell::CellContext, stages::Stop};
use crate::host::{deadlines::Deadline, link::LinkError};
use s2lab_model::steps::{Observation, ProbeOutcome, ProbeStep, Probed};
use s2lab_protocol::ask::Unaligned;

/// The offset of the unaligned store in the BAR.
const PROBE_OFFSET: u64 = 64;

impl CellContext<'_, '_> {
    pub(super) async fn probe(&mut self, index: usize, step: &ProbeStep) -> Result<(), Stop> {
        let address = self.guest_address(&step.guest, &step.device)?;
        let ask = Unaligned { address, map: step.map, offset: PROBE_OFFSET };
        let outcome = match self.ask_guest(&step.guest, ask, self.due(Deadline::Request)).await {
            Ok(store) => ProbeOutcome::Answered(store.outcome),
            // The store was made to find this out; see "What emulation can show" in
            // docs/architecture.md.
            Err(LinkError::GuestEnded { how, .. }) => ProbeOutcome::GuestEnded(how),
            Err(error) => return Err(error.into()),
        };
        let (guest, device) = (step.guest.clone(), step.device.clone());
        let probed = Probed { guest, device, map: step.map, outcome };
        self.observed(index, Observation::Probed(probed));
        Ok(())
    }
}
