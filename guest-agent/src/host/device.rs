//! Operations on an assigned device, in the way of its VMM.
//!
//! vfio-pci removes the BAR's mappings in each of them (Linux 6.1 and 6.12 drivers/vfio/pci/):
//! memory space off in vfio_pci_config.c, vfio_basic_config_write; low power in vfio_pci_core.c,
//! vfio_pci_runtime_pm_entry; the reset of a bus there, too, vfio_pci_dev_set_hot_reset.

use super::Host;
use super::reset::Files;
use crate::agent::Answers;
use crate::pci::{self, Address};
use crate::{fault, vfio, waits};
use rustix::fd::AsRawFd;
use rustix::io::{Errno, Result as SystemResult};
use s2lab_protocol::ask::{Device, DeviceDone};
use s2lab_protocol::{DeviceOperation, Failure};
use std::time::Duration;

/// The time in which a call that answers EBUSY is repeated, and the pause between two.
const BUSY: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(1);

impl Answers<Device> for Host<'_> {
    fn answer(&mut self, Device { guest, device, operation }: Device) -> Result<DeviceDone, Failure> {
        let (vmm, address) = self.assigned(&guest, &device)?;
        let root = &self.agent.root;
        match ByVfio::of(operation) {
            Some(call) => {
                let files = Files::of(root, vmm, &address)?;
                self.agent.link.silent(|| call.happen(&files, &address))?;
            }
            None if operation.is_of_slot() => {
                pci::until_plugged(root, &address, operation == DeviceOperation::Plug)?;
            }
            None => return Err(fault::invalid(format_args!("the host cannot make {operation}"))),
        }
        if operation == DeviceOperation::Unplug {
            pci::keep_port_awake(root, &address)?;
        }
        Ok(DeviceDone { operation })
    }
}

/// An operation through VFIO.
struct ByVfio {
    doing: &'static str,
    call: fn(&Files) -> SystemResult<()>,
}

impl ByVfio {
    /// Returns None for an operation of the machine, or of a guest.
    fn of(operation: DeviceOperation) -> Option<ByVfio> {
        fn by(doing: &'static str, call: fn(&Files) -> SystemResult<()>) -> Option<ByVfio> {
            Some(ByVfio { doing, call })
        }
        match operation {
            DeviceOperation::MemoryOff => {
                by("switch off memory space of", |files| vfio::set_memory_space(&files.device, false))
            }
            DeviceOperation::MemoryOn => {
                by("switch on memory space of", |files| vfio::set_memory_space(&files.device, true))
            }
            DeviceOperation::PowerOff => {
                by("allow low power for", |files| vfio::set_low_power(&files.device, true))
            }
            DeviceOperation::PowerOn => {
                by("end low power of", |files| vfio::set_low_power(&files.device, false))
            }
            DeviceOperation::BusReset => by("reset the bus of", |Files { group, device }| {
                unless_busy(|| vfio::hot_reset(device, group.as_raw_fd()))
            }),
            DeviceOperation::FunctionReset | DeviceOperation::Unplug | DeviceOperation::Plug => None,
        }
    }

    fn happen(&self, files: &Files, address: &Address) -> Result<(), Failure> {
        (self.call)(files).map_err(|why| fault::system(self.doing, address, why))
    }
}

/// Repeats a call that answers EBUSY. A reset of a bus only tries
/// to get the lock that each fault of a BAR has (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_dev_set_hot_reset,
/// Linux 6.1), so it is refused now and then while a guest faults.
fn unless_busy(mut call: impl FnMut() -> SystemResult<()>) -> SystemResult<()> {
    let done = waits::until(BUSY, PAUSE, || Some(call()).filter(|done| *done != Err(Errno::BUSY)));
    done.unwrap_or(Err(Errno::BUSY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_repeated_while_it_is_busy() {
        let mut tries = 0;
        let mut fails = |first: u32, then: SystemResult<()>| {
            tries = 0;
            let result = unless_busy(|| {
                tries += 1;
                if tries > first { then } else { Err(Errno::BUSY) }
            });
            (result, tries)
        };
        assert_eq!(fails(3, Ok(())), (Ok(()), 4));
        assert_eq!(fails(2, Err(Errno::PERM)), (Err(Errno::PERM), 3));
        assert_eq!(fails(u32::MAX, Ok(())).0, Err(Errno::BUSY));
    }

    #[test]
    fn a_file_that_is_not_of_vfio_is_refused() {
        let null = || std::fs::File::open("/dev/null").unwrap().into();
        let files = Files { group: null(), device: null() };
        let address = Address::parse("0000:01:00.0").unwrap();
        let calls = DeviceOperation::ALL.into_iter().filter_map(ByVfio::of);
        let refused = calls.map(|call| call.happen(&files, &address).unwrap_err().message);
        assert_eq!(refused.filter(|message| message.contains("0000:01:00.0")).count(), 5);
    }
}
