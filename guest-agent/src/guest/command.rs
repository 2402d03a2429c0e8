//! Memory space in the command register of a device, as a driver switches it, and the reset of its function.

use super::Guest;
use super::machine::Machine;
use crate::agent::Answers;
use crate::fault;
use s2lab_protocol::ask::{Command, DeviceDone};
use s2lab_protocol::{DeviceOperation, Failure};

impl<M: Machine> Answers<Command> for Guest<M> {
    fn answer(&mut self, Command { address, operation }: Command) -> Result<DeviceDone, Failure> {
        match operation {
            DeviceOperation::MemoryOff => self.machine.set_memory_space(&address, false)?,
            DeviceOperation::MemoryOn => self.machine.set_memory_space(&address, true)?,
            DeviceOperation::FunctionReset => self.machine.reset_function(&address)?,
            other => return Err(fault::invalid(format_args!("a guest cannot make {other}"))),
        }
        Ok(DeviceDone { operation })
    }
}
