//! The steps `host` and `guest`: an operation on a device.

use super::super::{cell::CellContext, stages::Stop};
use crate::host::deadlines::Deadline;
use s2lab_model::steps::{self, Actor, DeviceOperated, GuestStep, HostStep, Observation};
use s2lab_protocol::{
    DeviceOperation,
    ask::{Command, Device, Reset, ResetDone},
};

impl CellContext<'_, '_> {
    pub(super) async fn host(&mut self, index: usize, step: &HostStep) -> Result<(), Stop> {
        let observation = self.act(step).await?;
        self.observed(index, observation);
        Ok(())
    }

    /// Lets the host act on a device.
    pub(super) async fn act(&mut self, step: &HostStep) -> Result<Observation, Stop> {
        let (device, operation) = step.parts();
        let Some(operation) = operation else {
            let method = self.reset_device(device).await?;
            return Ok(Observation::Reset(steps::Reset { device: device.to_owned(), method }));
        };
        match operation {
            DeviceOperation::Unplug => self.unplug(device).await?,
            DeviceOperation::Plug => self.plug(device).await?,
            _ => {
                let ask = Device { guest: self.owner(device)?, device: device.to_owned(), operation };
                self.session.ask_host(ask, self.due(Deadline::Request)).await?;
            }
        }
        Ok(operated(Actor::Host, device, operation))
    }

    pub(super) async fn guest(&mut self, index: usize, step: &GuestStep) -> Result<(), Stop> {
        let (device, operation) = step.parts();
        let guest = self.owner(device)?;
        let ask = Command { address: self.guest_address(&guest, device)?, operation };
        self.ask_guest(&guest, ask, self.due(Deadline::Request)).await?;
        self.observed(index, operated(Actor::Guest, device, operation));
        Ok(())
    }

    /// Resets a device, and returns the method.
    pub(super) async fn reset_device(&mut self, device: &str) -> Result<String, Stop> {
        let ask = Reset { guest: self.owner(device)?, device: device.to_owned() };
        let ResetDone { method } = self.session.ask_host(ask, self.due(Deadline::Request)).await?;
        Ok(method)
    }

    /// Returns the guest that has the device.
    pub(super) fn owner(&self, device: &str) -> Result<String, Stop> {
        let mut guests = self.planned.resolved.guests.iter();
        let owner = guests.find(|(_, guest)| guest.assign.contains_key(device));
        let (guest, _) = owner.ok_or_else(|| Stop::lab(format!("`{device}` belongs to no guest")))?;
        Ok(guest.clone())
    }
}

fn operated(by: Actor, device: &str, operation: DeviceOperation) -> Observation {
    Observation::DeviceOperated(DeviceOperated { by, device: device.to_owned(), operation })
}
