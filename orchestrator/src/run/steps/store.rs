//! The step `store`: a guest stores to a BAR, and L0 reads the BAR's memory from outside.

use super::super::{cell::CellContext, stages::Stop};
use s2lab_model::steps::{self, Observation, StoreStep};
use s2lab_protocol::{
    ask::{Store, Stored},
    pattern,
};

impl CellContext<'_, '_> {
    pub(super) async fn store(&mut self, index: usize, step: &StoreStep) -> Result<(), Stop> {
        for &width in &step.width {
            let seed = self.seed(index, width);
            let ask = Store {
                device: step.device.clone(),
                address: self.guest_address(&step.guest, &step.device)?,
                map: step.map,
                width,
                offset: 0,
                bytes: step.bytes.0,
                seed,
            };
            let Stored { map, width, bytes, result } =
                self.ask_guest(&step.guest, ask, self.for_accesses()).await?;
            let memory = self.bar(&step.device)?;
            let file_difference = (0..step.bytes.0)
                .step_by(size_of::<u64>())
                .find(|&offset| memory.word(offset) != Some(pattern(seed, offset)));
            let (guest, device) = (step.guest.clone(), step.device.clone());
            let stored = steps::Stored { guest, device, map, width, bytes, result, file_difference };
            self.observed(index, Observation::Stored(stored));
        }
        Ok(())
    }
}
