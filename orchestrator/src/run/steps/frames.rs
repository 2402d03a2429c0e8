//! The step `frames`: a guest and the host exchange Ethernet frames through a virtual function.

use super::super::{cell::CellContext, stages::Stop};
use crate::host::deadlines::Deadline;
use s2lab_model::steps::{FramesDone, FramesStep, Observation};
use s2lab_protocol::{
    ask::{Direction, Frames, Transfer},
    ethernet::{FRAME_DATA, MOST_FRAMES},
};

/// The bytes of one request.
const PIECE: u64 = MOST_FRAMES as u64 * FRAME_DATA;
/// The numbers of the first two patterns of a step. Each piece has two of its own.
const BY_GUEST: u32 = 1;
const BY_HOST: u32 = 2;

impl CellContext<'_, '_> {
    pub(super) async fn frames(&mut self, index: usize, step: &FramesStep) -> Result<(), Stop> {
        let FramesStep { guest, device, bytes } = step.clone();
        let (mut host_difference, mut guest_difference) = (None, None);
        for (number, offset) in (0..).zip((0..bytes.0).step_by(PIECE as usize)) {
            let length = PIECE.min(bytes.0 - offset);
            let [by_guest, by_host] = [BY_GUEST, BY_HOST].map(|of| self.seed(index, 2 * number + of));
            // The guest starts its function by the first one, and receives from then on.
            self.by_guest(step, Direction::Write, length, by_guest).await?;
            let of_host = self.by_host(&device, Direction::Read, length, by_guest).await?;
            self.by_host(&device, Direction::Write, length, by_host).await?;
            let of_guest = self.by_guest(step, Direction::Read, length, by_host).await?;
            host_difference = host_difference.or(of_host.map(|at| offset + at));
            guest_difference = guest_difference.or(of_guest.map(|at| offset + at));
        }
        let done = FramesDone { guest, device, bytes: bytes.0, host_difference, guest_difference };
        self.observed(index, Observation::FramesDone(done));
        Ok(())
    }

    /// Returns the offset of the first word that the guest has received and that is not the pattern.
    async fn by_guest(
        &mut self,
        FramesStep { guest, device, .. }: &FramesStep,
        direction: Direction,
        bytes: u64,
        seed: u64,
    ) -> Result<Option<u64>, Stop> {
        let address = self.guest_address(guest, device)?;
        let ask = Transfer { address, direction, bytes, seed };
        Ok(self.ask_guest(guest, ask, self.due(Deadline::Request)).await?.first_difference)
    }

    /// Likewise of the host.
    async fn by_host(
        &mut self,
        device: &str,
        direction: Direction,
        bytes: u64,
        seed: u64,
    ) -> Result<Option<u64>, Stop> {
        let ask = Frames { device: device.to_owned(), direction, bytes, seed };
        Ok(self.session.ask_host(ask, self.due(Deadline::Request)).await?.first_difference)
    }
}
