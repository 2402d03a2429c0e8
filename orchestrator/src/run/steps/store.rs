//! The step `store`: a guest stores to a BAR, and L0 reads the BAR's memory from outside.

use super::super::{cell::CellContext, stages::Stop};
use s2lab_model::steps::{self, Observation, StoreStep};
use s2lab_protocol::{
    By,
    ask::{Store, Stored},
    pattern,
};

impl CellContext<'_, '_> {
    pub(super) async fn store(&mut self, index: usize, step: &StoreStep) -> Result<(), Stop> {
        for &width in &step.width {
            let stored = self.stored(index, step, width, self.seed(index, width)).await?;
            self.observed(index, Observation::Stored(stored));
        }
        Ok(())
    }

    /// Returns the request for the store of one width.
    pub(super) fn store_ask(&self, step: &StoreStep, width: u32, seed: u64) -> Result<Store, Stop> {
        Ok(Store {
            device: step.device.clone(),
            address: self.guest_address(&step.guest, &step.device)?,
            map: step.map,
            width,
            by: step.by.unwrap_or(By::usual(width)),
            manner: step.manner(),
            bytes: step.bytes.0,
            seed,
        })
    }

    /// Carries out the store of one width, with the pattern of this seed.
    pub(super) async fn stored(
        &mut self,
        index: usize,
        step: &StoreStep,
        width: u32,
        seed: u64,
    ) -> Result<steps::Stored, Stop> {
        let ask = self.store_ask(step, width, seed)?;
        let Stored { map, width, by, manner, bytes, result } =
            self.ask_guest(&step.guest, ask, self.for_accesses()).await?;
        let memory = self.bar(index, &step.device)?;
        let file_difference = (manner.from..manner.from + bytes)
            .step_by(size_of::<u64>())
            .find(|&offset| memory.word(offset) != Some(pattern(seed, offset)));
        let (guest, device) = (step.guest.clone(), step.device.clone());
        let by = (by != By::usual(width)).then_some(by);
        Ok(steps::Stored { guest, device, map, width, by, manner, bytes, result, file_difference })
    }
}
