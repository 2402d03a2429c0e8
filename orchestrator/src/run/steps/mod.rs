//! The scenario's steps, carried out in a running session: one file a step.

mod count;
mod device;
mod dma;
mod exec;
mod frames;
mod load;
mod look;
mod meanwhile;
mod measure;
mod memslot;
mod plug;
mod probe;
mod removal;
mod store;
mod suite;

use super::{cell::CellContext, stages::Stop};
use crate::host::{
    Bytes,
    deadlines::Deadline,
    link::{LinkError, Patience},
};
use s2lab_model::{
    event::{Event, LoadedPart},
    steps::{Observation, Step},
};
use s2lab_protocol::ask::{Ask, GuestRequest};
use std::time::Duration;

/// The error of a step that reads tables in a host whose tables cannot be read.
pub(super) const NO_LOOKS: &str = "the tables of this kind of host cannot be read from outside";

impl CellContext<'_, '_> {
    /// Carries out the scenario's steps in their order.
    pub(super) async fn steps(&mut self) -> Result<(), Stop> {
        for (index, step) in self.planned.resolved.steps.iter().enumerate() {
            self.record(step).await?;
            let (begin, removal) = (self.begin_count(step), self.begin_removal(step));
            match step {
                Step::Store(step) => self.store(index, step).await?,
                Step::Load(step) => self.load(index, step).await?,
                Step::Look(step) => self.look(index, step).await?,
                Step::Measure(step) => self.measure(index, step).await?,
                Step::Host(step) => self.host(index, step).await?,
                Step::Guest(step) => self.guest(index, step).await?,
                Step::Memslot(step) => self.memslot(index, step).await?,
                Step::While(step) => self.meanwhile(index, step).await?,
                Step::Dma(step) => self.dma(index, step).await?,
                Step::Frames(step) => self.frames(index, step).await?,
                Step::Probe(step) => self.probe(index, step).await?,
                Step::Exec(step) => self.exec(index, step).await?,
                Step::Suite(step) => self.suite(index, step).await?,
            }
            self.end_removal(index, removal).await?;
            self.end_count(index, begin);
        }
        Ok(())
    }

    /// Has the machine record from the first step on that needs it: code that QEMU translates for a plugin that
    /// records is slower.
    async fn record(&mut self, step: &Step) -> Result<(), Stop> {
        if step.removes().is_some() || self.counted(step).is_some() {
            let deadline = self.due(Deadline::Gdb);
            let kernel = self.session.around.loaded.iter().find(|loaded| loaded.part == LoadedPart::Kernel);
            let kernel = kernel.map(|kernel| kernel.start..kernel.start.saturating_add(kernel.size));
            self.session.host.record(kernel, deadline).await?;
        }
        Ok(())
    }

    fn observed(&self, step: usize, data: Observation) {
        self.log.event(Event::Observed { step, data });
    }

    /// Returns the seed of a pattern. No other access of the run has it, so that old bytes differ.
    fn seed(&self, step: usize, width: u32) -> u64 {
        self.session.nonce ^ (step as u64) << 32 ^ u64::from(width)
    }

    /// Returns the memory that a guest accesses by the BAR of a device in a step.
    fn bar(&self, step: usize, device: &str) -> Result<&Bytes, Stop> {
        let device = self.planned.resolved.behind(device, step);
        self.session.host.bytes(device).ok_or_else(|| Stop::lab(format!("no BAR of `{device}`")))
    }

    /// Returns the patience with a guest that accesses a whole BAR.
    fn for_accesses(&self) -> Patience {
        Patience { whole: self.due(Deadline::Store), idle: Some(self.due(Deadline::Idle)) }
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
