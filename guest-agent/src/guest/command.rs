//! Memory space in the command register of a device, as a driver switches it.

use super::Guest;
use super::machine::Machine;
use crate::agent::Answers;
use crate::fault;
use s2lab_protocol::ask::{Command, DeviceDone};
use s2lab_protocol::{DeviceOperation, Failure};

impl<M: Machine> Answers<Command> for Guest<M> {
    fn answer(&mut self, Command { address, operation }: Command) -> Result<DeviceDone, Failure> {
        let on = match operation {
            DeviceOperation::MemoryOff => false,
            DeviceOperation::MemoryOn => true,
            other => return Err(fault::invalid(format_args!("a guest cannot make {other}"))),
        };
        self.machine.set_memory_space(&address, on)?;
        Ok(DeviceDone { operation })
    }
}
