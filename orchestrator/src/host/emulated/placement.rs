//! The place of each device's BARs, by QEMU's word: the same fact as in the bound device, from the
//! other side.

use super::{
    argv::device_id,
    qmp::{Qmp, QmpError},
};
use s2lab_protocol::Bar;

/// QEMU's name for a BAR that is no I/O port (qapi/pci.json, PciMemoryRegion).
const MEMORY_REGION: &str = "memory";

#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error("QEMU names BARs of `{0}` that cannot be")]
    Impossible(String),
    #[error("QEMU knows no prefetchable BAR of `{0}`")]
    NoBar(String),
}

/// The machine's own knowledge of its devices' BARs.
pub struct Placement<'a> {
    pub(in crate::host) qmp: &'a mut Qmp,
}

impl Placement<'_> {
    /// The memory BARs of a device that is bound. `chosen`: the scenario means one of them by the device's name.
    pub async fn bars(&mut self, device: &str, chosen: bool) -> Result<Vec<Bar>, PlacementError> {
        let id = device_id(device);
        let buses = self.qmp.execute(qapi::qmp::query_pci {}).await?;
        let on_root = buses.into_iter().flat_map(|bus| bus.devices);
        let all = on_root.flat_map(|port| {
            let behind = port.pci_bridge.clone().and_then(|bridge| bridge.devices).unwrap_or_default();
            std::iter::once(port).chain(behind)
        });
        let regions = all.filter(|function| function.qdev_id == id).flat_map(|function| function.regions);
        let memory = regions.filter(|region| region.type_ == MEMORY_REGION);
        let bars = memory.map(|region| {
            Some(Bar {
                index: u8::try_from(region.bar).ok()?,
                start: u64::try_from(region.address).ok()?,
                size: u64::try_from(region.size).ok()?,
                prefetchable: region.prefetch == Some(true),
            })
        });
        let bars: Option<Vec<_>> = bars.collect();
        let bars = bars.ok_or_else(|| PlacementError::Impossible(device.into()))?;
        match chosen && Bar::chosen(bars.iter().copied()).is_none() {
            true => Err(PlacementError::NoBar(device.into())),
            false => Ok(bars),
        }
    }
}
