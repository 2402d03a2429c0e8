//! The step `store`: a guest stores to a BAR, and L0 reads the BAR's memory from outside.

use super::super::{cell::CellContext, stages::Stop};
use crate::host::{deadlines::Deadline, link::Patience};
use s2lab_model::{
    event::{self, Observation},
    scenario::StoreStep,
};
use s2lab_protocol::{
    Peer,
    ask::{Store, Stored},
    pattern,
};

impl CellContext<'_, '_> {
    pub(super) async fn store(&mut self, index: usize, step: &StoreStep) -> Result<(), Stop> {
        let patience = Patience { whole: self.due(Deadline::Store), idle: Some(self.due(Deadline::Idle)) };
        for &width in &step.width {
            let seed = self.session.nonce ^ (index as u64) << 32 ^ u64::from(width);
            let ask = Store {
                device: step.device.clone(),
                address: self.guest_address(&step.guest, &step.device)?,
                map: step.map,
                width,
                offset: 0,
                bytes: step.bytes.0,
                seed,
            };
            let stored = self.ask_guest(&step.guest, ask, patience).await?;
            if (stored.map, stored.width, stored.bytes) != (step.map, width, step.bytes.0) {
                let peer = Peer::Guest(step.guest.clone());
                return Err(Stop::wrong_answer::<Store>(peer, &stored, "another store was asked for"));
            }
            let Stored { map, width, bytes, result } = stored;
            let memory = self
                .session
                .host
                .bytes(&step.device)
                .ok_or_else(|| Stop::lab(format!("no BAR of `{}`", step.device)))?;
            let file_difference = (0..step.bytes.0)
                .step_by(size_of::<u64>())
                .find(|&offset| memory.word(offset) != Some(pattern(seed, offset)));
            let (guest, device) = (step.guest.clone(), step.device.clone());
            let stored = event::Stored { guest, device, map, width, bytes, result, file_difference };
            self.observed(index, Observation::Stored(stored));
        }
        Ok(())
    }
}
