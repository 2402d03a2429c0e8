//! A device that a guest of QEMU's gets again, after it was unplugged and plugged.

use super::{Guest, Host};
use crate::agent::Answers;
use crate::fault;
use s2lab_protocol::ask::Attach;
use s2lab_protocol::{Failure, VmmKind, qemu_device_add};

impl Answers<Attach> for Host<'_> {
    fn answer(&mut self, Attach { guest, device }: Attach) -> Result<(), Failure> {
        let Guest { vmm, spec } = self.running(&guest)?;
        let assigned = spec.devices.iter().find(|assigned| assigned.device == device && assigned.hotplug);
        match (spec.vmm, assigned) {
            (VmmKind::Qemu, Some(assigned)) => vmm.order(&qemu_device_add(assigned)),
            _ => Err(fault::invalid(format_args!("guest {guest} has no slot of QEMU's for {device:?}"))),
        }
    }
}
