//! Ending a guest.

use super::{Host, no_guest};
use crate::agent::Answers;
use s2lab_protocol::Failure;
use s2lab_protocol::ask::StopGuest;

impl Answers<StopGuest> for Host<'_> {
    fn answer(&mut self, StopGuest { guest }: StopGuest) -> Result<(), Failure> {
        let stopped = self.guests.remove(&guest);
        self.downlinks.remove(&guest);
        stopped.ok_or_else(|| no_guest(&guest))?.vmm.stop()
    }
}
