//! The step `measure`: a store several times; the guest's agent times each.

use super::super::{cell::CellContext, stages::Stop};
use s2lab_model::steps::{MeasureStep, Observation, Sample};

impl CellContext<'_, '_> {
    pub(super) async fn measure(&mut self, index: usize, step: &MeasureStep) -> Result<(), Stop> {
        let width = step.store.width.first().copied();
        let width = width.ok_or_else(|| Stop::lab(format!("measure `{}` has no width", step.name)))?;
        let turns = self.turns;
        for number in 0..step.stores() {
            let _turn = match turns {
                Some(turns) => Some(turns.next().await),
                None => None,
            };
            let reset = match &step.reset {
                Some(device) => Some(self.reset_device(device).await?),
                None => None,
            };
            // Widths are small: no two stores of the run have one seed.
            let seed = self.seed(index, width) ^ u64::from(number + 1) << 16;
            let stored = self.stored(index, &step.store, width, seed).await?;
            let (measure, warm_up) = (step.name.clone(), number < step.warm_up);
            let sample = Sample { measure, number, warm_up, reset, stored };
            self.observed(index, Observation::Sample(sample));
        }
        Ok(())
    }
}
