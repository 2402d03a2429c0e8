//! The slots of devices that may be unplugged while the machine runs.

use super::{
    argv::{PciOption, PciOptions, bus, device_id},
    commands::{DeviceAdd, DeviceDel, with_object},
    memory::SharedMemory,
    qmp::{Qmp, QmpError, QmpEvent},
};
use rustix::fd::AsRawFd;
use s2lab_model::scenario::DeviceModel;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// QEMU's event after the host has released a device (QEMU qapi/qdev.json).
const DELETED: &str = "DEVICE_DELETED";

/// The slots of a machine.
pub struct Slots<'a> {
    pub(in crate::host) qmp: &'a mut Qmp,
    pub(in crate::host) bars: &'a BTreeMap<String, SharedMemory>,
}

with_object! {
    ObjectDel, "object-del", Value;
    ObjectAdd, "object-add", Value;
}

impl Slots<'_> {
    /// Presses the button of a device's slot: the host is asked to release the device.
    pub async fn unplug(&mut self, device: &str) -> Result<Release, QmpError> {
        let (id, events) = (device_id(device), self.qmp.events());
        self.qmp.execute(DeviceDel { id: id.clone() }).await?;
        Ok(Release { id, events })
    }

    /// Puts a device into its empty slot, with the memory of before.
    pub async fn plug(&mut self, device: &str, model: DeviceModel) -> Result<(), QmpError> {
        // QEMU keeps the name of the old memory (QEMU 10.0 hw/misc/ivshmem-pci.c, ivshmem_exit), and ends by an
        // assertion if a device takes it again. So the memory becomes another object over the same file.
        let id = format!("bar-{device}");
        self.qmp.execute(ObjectDel(json!({"id": id}))).await?;
        if let Some(bar) = self.bars.get(device) {
            let path = format!("/proc/{}/fd/{}", std::process::id(), bar.fd().as_raw_fd());
            let file = json!({
                "qom-type": "memory-backend-file", "id": id, "mem-path": path, "share": true, "size": bar.size(),
            });
            self.qmp.execute(ObjectAdd(file)).await?;
        }
        let PciOptions { driver, options } = PciOptions::of(device, model);
        let options = options.into_iter().map(|option| match option {
            PciOption::Text(key, value) => (key, json!(value)),
            PciOption::On(key) => (key, json!("on")),
        });
        let own = [("driver", json!(driver)), ("id", json!(device_id(device))), ("bus", json!(bus(device)))];
        let all = own.into_iter().chain(options).map(|(key, value)| (key.to_owned(), value));
        self.qmp.execute(DeviceAdd(all.collect())).await?;
        Ok(())
    }
}

/// A device that the host was asked to release.
pub struct Release {
    id: String,
    events: Receiver<QmpEvent>,
}

impl Release {
    /// Returns when the device has left the machine.
    pub async fn done(mut self) -> Result<(), QmpError> {
        loop {
            match self.events.recv().await {
                Ok(event) if event.name == DELETED && event.data.get("device") == Some(&json!(self.id)) => {
                    return Ok(());
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(QmpError::Closed(DELETED)),
            }
        }
    }
}
