//! The step `dma`: a guest's kernel transfers data to and from a drive, whose memory L0 reads and writes from outside.

use super::{
    super::{cell::CellContext, stages::Stop},
    load::put,
};
use crate::host::{Bytes, deadlines::Deadline};
use s2lab_model::steps::{DmaDone, DmaStep, Observation};
use s2lab_protocol::{
    ask::{Direction, Transfer},
    pattern,
};

/// The numbers of the two patterns of a step.
const WRITTEN: u32 = 1;
const PUT: u32 = 2;

impl CellContext<'_, '_> {
    pub(super) async fn dma(&mut self, index: usize, step: &DmaStep) -> Result<(), Stop> {
        let (DmaStep { guest, device, bytes }, [written, other]) =
            (step.clone(), [WRITTEN, PUT].map(|number| self.seed(index, number)));
        self.transfer(step, Direction::Write, written).await?;
        let drive = self.drive(&device)?;
        let mut words = (0..bytes.0).step_by(size_of::<u64>());
        let drive_difference = words.find(|&offset| drive.word(offset) != Some(pattern(written, offset)));
        let back_difference = self.transfer(step, Direction::Read, written).await?;
        put(self.drive(&device)?, 0..bytes.0, other)?;
        let read_difference = self.transfer(step, Direction::Read, other).await?;
        let bytes = bytes.0;
        let done = DmaDone { guest, device, bytes, drive_difference, back_difference, read_difference };
        self.observed(index, Observation::DmaDone(done));
        Ok(())
    }

    /// Returns the offset of the first word that the guest has read and that is not the pattern.
    async fn transfer(
        &mut self,
        DmaStep { guest, device, bytes }: &DmaStep,
        direction: Direction,
        seed: u64,
    ) -> Result<Option<u64>, Stop> {
        let address = self.guest_address(guest, device)?;
        let ask = Transfer { address, direction, bytes: bytes.0, seed };
        let done = self.ask_guest(guest, ask, self.due(Deadline::Store)).await?;
        Ok(done.first_difference)
    }

    fn drive(&self, device: &str) -> Result<&Bytes, Stop> {
        self.session.host.drive(device).ok_or_else(|| Stop::lab(format!("no drive of `{device}`")))
    }
}
