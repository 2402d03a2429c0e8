//! The scenario's steps, carried out in a running session: one file a step.

mod look;
mod probe;
mod reset;
mod store;

use super::{cell::CellContext, stages::Stop};
use crate::host::{
    deadlines::Deadline,
    link::{LinkError, Patience},
};
use s2lab_model::{
    event::{Event, Observation},
    scenario::Step,
};
use s2lab_protocol::ask::{Ask, GuestRequest};
use std::time::Duration;

/// The error of a step that reads tables in a host whose tables cannot be read.
const NO_LOOKS: &str = "the tables of this kind of host cannot be read from outside";

impl CellContext<'_, '_> {
    /// Carries out the scenario's steps in their order.
    pub(super) async fn steps(&mut self) -> Result<(), Stop> {
        for (index, step) in self.planned.resolved.steps.iter().enumerate() {
            match step {
                Step::Store(step) => self.store(index, step).await?,
                Step::Look(step) => self.look(index, step).await?,
                Step::Host(step) => self.reset(index, step).await?,
                Step::Probe(step) => self.probe(index, step).await?,
            }
        }
        Ok(())
    }

    fn observed(&self, step: usize, data: Observation) {
        self.log.event(Event::Observed { step, data });
    }

    fn due(&self, deadline: Deadline) -> Duration {
        self.session.deadlines.of(deadline)
    }

    async fn ask_guest<A: Ask<Level = GuestRequest>>(
        &mut self,
        guest: &str,
        ask: A,
        patience: impl Into<Patience>,
    ) -> Result<A::Answer, LinkError> {
        self.session.link.ask_guest(guest, ask, patience).await
    }
}
