//! The frames between the interface of a physical function and the guest that has the virtual one.

use s2lab_protocol::{
    ask::Direction,
    ethernet::{FRAME_LENGTH, GUEST_ADDRESS, HOST_ADDRESS, fill_frame, frame_difference, frames_of, start},
};
use std::collections::VecDeque;

/// The side that sends or receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Host,
    Guest,
}

/// The frames that were not received yet.
#[derive(Default)]
pub(crate) struct Wire {
    for_host: VecDeque<[u8; FRAME_LENGTH]>,
    for_guest: VecDeque<[u8; FRAME_LENGTH]>,
}

impl Wire {
    /// Sends or receives the frames of a pattern. Returns the first difference of what was received.
    pub(crate) fn exchange(
        &mut self,
        side: Side,
        direction: Direction,
        bytes: u64,
        seed: u64,
    ) -> Option<u64> {
        let by_guest = (side == Side::Guest) == (direction == Direction::Write);
        let (queue, from, to) = match by_guest {
            true => (&mut self.for_host, GUEST_ADDRESS, HOST_ADDRESS),
            false => (&mut self.for_guest, HOST_ADDRESS, GUEST_ADDRESS),
        };
        let mut differences = (0..frames_of(bytes).unwrap_or_default()).map(|number| match direction {
            Direction::Write => {
                let mut frame = [0; FRAME_LENGTH];
                fill_frame(&mut frame, from, to, number, seed);
                queue.push_back(frame);
                None
            }
            Direction::Read => match queue.pop_front() {
                Some(frame) => frame_difference(&frame, from, to, number, seed),
                None => Some(start(number)),
            },
        });
        let first = differences.by_ref().find_map(|difference| difference);
        differences.for_each(drop);
        first
    }
}
