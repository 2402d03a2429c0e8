//! Operations on a memslot.

use super::{Guest, machine::Machine};
use crate::agent::Answers;
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{Memslot, MemslotDone};

impl<M: Machine> Answers<Memslot> for Guest<M> {
    fn answer(&mut self, ask: Memslot) -> Result<MemslotDone, Failure> {
        self.machine.memslot(&ask)
    }
}
