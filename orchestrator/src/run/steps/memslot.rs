//! The step `memslot`: the VMM of a guest operates on a memslot.

use super::super::{cell::CellContext, stages::Stop};
use crate::host::deadlines::Deadline;
use s2lab_model::{
    scenario::RAM,
    steps::{MemslotOperated, MemslotStep, Observation},
};
use s2lab_protocol::ask::{Memslot, MemslotDone};

impl CellContext<'_, '_> {
    pub(super) async fn memslot(&mut self, index: usize, step: &MemslotStep) -> Result<(), Stop> {
        let MemslotStep { guest, of, operation, with } = step.clone();
        let address = match &*of {
            RAM => None,
            device => Some(self.guest_address(&guest, device)?),
        };
        let other = with.as_deref().map(|device| self.guest_address(&guest, device)).transpose()?;
        let ask = Memslot { address, operation, with: other };
        let MemslotDone { errno, .. } = self.ask_guest(&guest, ask, self.due(Deadline::Request)).await?;
        let done = MemslotOperated { guest, of, operation, with, errno };
        self.observed(index, Observation::MemslotOperated(done));
        Ok(())
    }
}
