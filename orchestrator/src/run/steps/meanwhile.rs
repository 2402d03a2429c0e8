//! The step `while`: a guest stores while the host acts. s2lab asks for each operation, so that it can
//! read stage 2 after those that disable the BAR.

use super::super::{cell::CellContext, stages::Stop};
use crate::host::deadlines::Deadline;
use s2lab_model::steps::{Observation, Raced, WhileStep};
use s2lab_protocol::{
    MemslotOperation,
    ask::{BeginStores, EndStores, Memslot, StoresEnded},
};
use tokio::time::sleep;

impl CellContext<'_, '_> {
    pub(super) async fn meanwhile(&mut self, index: usize, step: &WhileStep) -> Result<(), Stop> {
        let store = &step.store;
        let width = store.width.first().copied().ok_or_else(|| Stop::lab("the store has no width"))?;
        let seed = self.seed(index, width);
        // The bytes that are compared are of another pattern.
        let ask = self.store_ask(store, width, seed ^ 1 << 16)?;
        let begin = BeginStores { store: ask, may_fault: step.disables() };
        self.ask_guest(&store.guest, begin, self.due(Deadline::Request)).await?;
        let (mut pauses, mut operations, mut refused) = (step.pauses(), vec![], None);
        for round in 1..=step.rounds {
            refused = refused.or(self.log_ram(step, MemslotOperation::Log).await?);
            for operation in &step.host {
                sleep(pauses.next().unwrap_or_default()).await;
                self.act(operation).await?;
                operations.push(operation.clone());
                if let Some(removal) = operation.disabling() {
                    self.tables_after(index, removal.device, removal.by, Some(round)).await?;
                }
            }
            refused = refused.or(self.log_ram(step, MemslotOperation::Unlog).await?);
        }
        let StoresEnded { passes, faults } =
            self.ask_guest(&store.guest, EndStores {}, self.due(Deadline::Request)).await?;
        let (guest, device) = (store.guest.clone(), store.device.clone());
        let WhileStep { rounds, seed: pauses, log, .. } = *step;
        let raced = Raced { guest, device, rounds, seed: pauses, operations, log, refused, passes, faults };
        self.observed(index, Observation::Raced(raced));
        let stored = self.stored(index, store, width, seed).await?;
        self.observed(index, Observation::Stored(stored));
        Ok(())
    }

    /// Begins or ends the log of the guest's RAM, if the step has one. Returns the error number of a
    /// refusal.
    async fn log_ram(&mut self, step: &WhileStep, operation: MemslotOperation) -> Result<Option<i32>, Stop> {
        if !step.log {
            return Ok(None);
        }
        let ask = Memslot { address: None, operation, with: None };
        Ok(self.ask_guest(&step.store.guest, ask, self.due(Deadline::Request)).await?.errno)
    }
}
