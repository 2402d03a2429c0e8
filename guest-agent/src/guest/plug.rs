//! A device that is unplugged, and plugged again.

use super::{Guest, machine::Machine};
use crate::agent::Answers;
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{DeviceDone, Plug};

impl<M: Machine> Answers<Plug> for Guest<M> {
    fn answer(&mut self, ask: Plug) -> Result<DeviceDone, Failure> {
        self.machine.plug(&ask)?;
        Ok(DeviceDone { operation: ask.operation })
    }
}
