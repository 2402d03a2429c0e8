//! The step `probe`: one access that may fault, and end the guest.

use super::super::{cell::CellContext, stages::Stop};
use crate::host::{deadlines::Deadline, link::LinkError};
use s2lab_model::steps::{Observation, ProbeOutcome, ProbeStep, Probed};
use s2lab_protocol::{
    ProbeKind,
    ask::{Probe, ProbeEnd},
};

/// The offset of the access in the BAR.
const PROBE_OFFSET: u64 = 64;
/// The end of the block that the access may touch: the largest is that of DC ZVA, of 2 KiB at most (DDI 0487,
/// DCZID_EL0).
const PROBE_REACH: u64 = 2 << 10;

impl CellContext<'_, '_> {
    pub(super) async fn probe(&mut self, index: usize, step: &ProbeStep) -> Result<(), Stop> {
        let before = self.around_probe(index, &step.device)?;
        let outcome = match self.ended_by_probe.contains(&step.guest) {
            true => ProbeOutcome::NotDone,
            false => self.try_probe(step).await?,
        };
        if matches!(outcome, ProbeOutcome::GuestEnded(_)) {
            self.ended_by_probe.insert(step.guest.clone());
        }
        let completed = matches!(outcome, ProbeOutcome::Answered(ProbeEnd::Ok | ProbeEnd::Wrong));
        // Before a fetch the guest stores the instruction.
        let stores = step.kind != ProbeKind::Fetch;
        let arrived = stores && !completed && self.around_probe(index, &step.device)? != before;
        let ProbeStep { guest, device, map, kind } = step.clone();
        self.observed(index, Observation::Probed(Probed { guest, device, map, kind, outcome, arrived }));
        Ok(())
    }

    /// Returns the words of the BAR's memory that a probe may change.
    fn around_probe(&self, index: usize, device: &str) -> Result<Vec<Option<u64>>, Stop> {
        let bar = self.bar(index, device)?;
        Ok((0..PROBE_REACH).step_by(size_of::<u64>()).map(|offset| bar.word(offset)).collect())
    }

    async fn try_probe(&mut self, step: &ProbeStep) -> Result<ProbeOutcome, Stop> {
        let address = self.guest_address(&step.guest, &step.device)?;
        let ask = Probe { address, map: step.map, kind: step.kind, offset: PROBE_OFFSET };
        match self.ask_guest(&step.guest, ask, self.due(Deadline::Request)).await {
            Ok(done) => Ok(ProbeOutcome::Answered(done.outcome)),
            // The probe was made to find this out; see "What emulation can show" in
            // docs/architecture.md.
            Err(LinkError::GuestEnded { how, .. }) => Ok(ProbeOutcome::GuestEnded(how)),
            Err(error) => Err(error.into()),
        }
    }
}
