//! The place of each device's BARs, by QEMU's word: the same fact as in the bound device, from the
//! other side.

use super::{
    argv::{bus, device_id},
    commands::QueryPci,
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
    /// QEMU maps such a BAR at another place than the host's kernel.
    #[error("QEMU takes the BARs of the virtual function of `{0}` for 32-bit ones, so no access reaches it")]
    Narrow(String),
}

/// The machine's own knowledge of its devices' BARs.
pub struct Placement<'a> {
    pub(in crate::host) qmp: &'a mut Qmp,
}

impl Placement<'_> {
    /// The memory BARs of a device that is bound. `chosen`: the scenario means one of them by the device's name.
    /// `function`: those of the device's virtual function at this PCI address. Such a function has no id of ours,
    /// and QEMU names those that are not switched on too, without places. The BARs of such a function of `igb` have
    /// 64 bits, but QEMU 10.0.2 takes them for 32-bit ones; 11.1.3 does not.
    pub async fn bars(
        &mut self,
        device: &str,
        chosen: bool,
        function: Option<&str>,
    ) -> Result<Vec<Bar>, PlacementError> {
        let (id, port) = (device_id(device), bus(device));
        let buses = self.qmp.execute(QueryPci {}).await?;
        let on_root = buses.into_iter().flat_map(|bus| bus.devices);
        // Each function, with whether it is behind the port of the device.
        let all = on_root.flat_map(|mut above| {
            let is_port = above.qdev_id == port;
            let behind = above.pci_bridge.take().map(|bridge| bridge.devices).unwrap_or_default();
            std::iter::once((false, above)).chain(behind.into_iter().map(move |function| (is_port, function)))
        });
        let meant = all.filter(|(is_behind, found)| match function {
            Some(address) => {
                *is_behind && address.ends_with(&format!(":{:02x}.{:x}", found.slot, found.function))
            }
            None => found.qdev_id == id,
        });
        let regions = meant.flat_map(|(_, function)| function.regions);
        let memory: Vec<_> = regions.filter(|region| region.kind == MEMORY_REGION).collect();
        if function.is_some() && memory.iter().any(|region| !region.mem_type_64) {
            return Err(PlacementError::Narrow(device.into()));
        }
        let bars = memory.into_iter().map(|region| {
            Some(Bar {
                index: u8::try_from(region.bar).ok()?,
                start: u64::try_from(region.address).ok()?,
                size: u64::try_from(region.size).ok()?,
                prefetchable: region.prefetch,
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
