//! The operations `unplug` and `plug` of the step `host`: a device leaves its slot while the guest runs, and comes
//! back.

use super::super::{cell::CellContext, stages::Stop};
use crate::host::{HostError, Slots, deadlines::Deadline};
use s2lab_model::scenario::Vmm;
use s2lab_os::waits::timeout;
use s2lab_protocol::{
    DeviceOperation,
    ask::{Attach, Bind, Device, Plug},
};

/// The error of a step that plugs in a host without such slots.
const NO_SLOTS: &str = "a device of this kind of host cannot be unplugged from outside";

impl CellContext<'_, '_> {
    /// Takes a device out of its slot: the VMM gives it up, and then the host's kernel releases it.
    pub(super) async fn unplug(&mut self, device: &str) -> Result<(), Stop> {
        let deadline = self.due(Deadline::Plug);
        let release = self.slots()?.unplug(device).await.map_err(HostError::from)?;
        self.ask_guest_of(device, DeviceOperation::Unplug).await?;
        let released = timeout(deadline, release.done()).await;
        let late = |_| Stop::timeout(format!("the host has not released `{device}` in {deadline:?}"));
        released.map_err(late)?.map_err(HostError::from)?;
        self.ask_kernel(device, DeviceOperation::Unplug).await
    }

    /// Puts a device into its slot again. It gets its driver, and the VMM takes it.
    pub(super) async fn plug(&mut self, device: &str) -> Result<(), Stop> {
        let cell = &self.planned.resolved;
        let known = cell.host.devices.get(device).zip(cell.assigned(device));
        let (of_host, way) = known.ok_or_else(|| Stop::lab(format!("`{device}` belongs to no guest")))?;
        self.slots()?.plug(device, of_host.model).await.map_err(HostError::from)?;
        self.ask_kernel(device, DeviceOperation::Plug).await?;
        let ask = Bind { device: device.to_owned(), port: self.session.port_of(device)?, kind: way.into() };
        let bound = self.session.ask_host(ask, self.due(Deadline::Bind)).await?;
        let before = self.session.around.devices.get(device);
        if before.is_none_or(|before| (&before.address, &before.bars) != (&bound.address, &bound.bars)) {
            let what = format!("`{device}` has come back at {} with other BARs", bound.address);
            return Err(Stop::lab(what).hint("s2lab judges a device by the place that it had first"));
        }
        if self.vmm_of(device)? == Vmm::Qemu {
            let ask = Attach { guest: self.owner(device)?, device: device.to_owned() };
            self.session.ask_host(ask, self.due(Deadline::Request)).await?;
        }
        self.ask_guest_of(device, DeviceOperation::Plug).await
    }

    fn slots(&mut self) -> Result<Slots<'_>, Stop> {
        self.session.host.slots().ok_or_else(|| Stop::lab(NO_SLOTS))
    }

    /// Waits until the host's kernel has removed or found a device.
    async fn ask_kernel(&mut self, device: &str, operation: DeviceOperation) -> Result<(), Stop> {
        let ask = Device { guest: self.owner(device)?, device: device.to_owned(), operation };
        self.session.ask_host(ask, self.due(Deadline::Plug)).await?;
        Ok(())
    }

    fn vmm_of(&self, device: &str) -> Result<Vmm, Stop> {
        let guest = self.owner(device)?;
        let guest = self.planned.resolved.guests.get(&guest).map(|guest| guest.vmm);
        guest.ok_or_else(|| Stop::lab(format!("`{device}` belongs to no guest")))
    }

    /// Waits until the built-in VMM has given the device up or taken it, or the guest's own kernel has removed or
    /// found it. QEMU gives it up by itself.
    async fn ask_guest_of(&mut self, device: &str, operation: DeviceOperation) -> Result<(), Stop> {
        let guest = self.owner(device)?;
        let ask = Plug { address: self.guest_address(&guest, device)?, operation };
        self.ask_guest(&guest, ask, self.due(Deadline::Plug)).await?;
        Ok(())
    }
}
