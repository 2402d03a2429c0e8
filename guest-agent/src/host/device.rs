//! Operations on an assigned device, in the way of its VMM.
//!
//! vfio-pci removes the BAR's mappings in each of them (Linux 6.1 and 6.12 drivers/vfio/pci/):
//! memory space off in vfio_pci_config.c, vfio_basic_config_write; low power in vfio_pci_core.c,
//! vfio_pci_runtime_pm_entry; the reset of a bus there, too, vfio_pci_dev_set_hot_reset.

use super::Host;
use super::reset::Files;
use crate::agent::Answers;
use crate::pci::Address;
use crate::{fault, vfio};
use rustix::fd::AsRawFd;
use rustix::io::{Errno, Result as SystemResult};
use s2lab_protocol::ask::{Device, DeviceDone};
use s2lab_protocol::{DeviceOperation, Failure};
use std::time::Duration;

/// The tries of a call that answers EBUSY, and the pause between two.
const MOST_TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(1);

impl Answers<Device> for Host<'_> {
    fn answer(&mut self, Device { guest, device, operation }: Device) -> Result<DeviceDone, Failure> {
        let (vmm, address) = self.assigned(&guest, &device)?;
        let files = Files::of(&self.agent.root, vmm, &address)?;
        happen(&files, operation).map_err(|why| failed(operation, &address, why))?;
        Ok(DeviceDone { operation })
    }
}

fn happen(Files { group, device }: &Files, operation: DeviceOperation) -> SystemResult<()> {
    match operation {
        DeviceOperation::MemoryOff => vfio::set_memory_space(device, false),
        DeviceOperation::MemoryOn => vfio::set_memory_space(device, true),
        DeviceOperation::PowerOff => vfio::set_low_power(device, true),
        DeviceOperation::PowerOn => vfio::set_low_power(device, false),
        DeviceOperation::BusReset => unless_busy(|| vfio::hot_reset(device, group.as_raw_fd())),
    }
}

/// Repeats a call that answers EBUSY, once a millisecond and for a second at most. A reset of a bus only tries
/// to get the lock that each fault of a BAR has (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_dev_set_hot_reset,
/// Linux 6.1), so it is refused now and then while a guest faults.
fn unless_busy(mut call: impl FnMut() -> SystemResult<()>) -> SystemResult<()> {
    for _ in 1..MOST_TRIES {
        match call() {
            Err(Errno::BUSY) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    call()
}

fn failed(operation: DeviceOperation, address: &Address, why: Errno) -> Failure {
    let doing = match operation {
        DeviceOperation::MemoryOff => "switch off memory space of",
        DeviceOperation::MemoryOn => "switch on memory space of",
        DeviceOperation::PowerOff => "allow low power for",
        DeviceOperation::PowerOn => "end low power of",
        DeviceOperation::BusReset => "reset the bus of",
    };
    fault::system(doing, address, why)
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
        assert_eq!(fails(u32::MAX, Ok(())), (Err(Errno::BUSY), MOST_TRIES));
    }

    #[test]
    fn a_file_that_is_not_of_vfio_is_refused() {
        let null = || std::fs::File::open("/dev/null").unwrap().into();
        let files = Files { group: null(), device: null() };
        let address = Address::parse("0000:01:00.0").unwrap();
        for operation in DeviceOperation::ALL {
            let why = happen(&files, operation).unwrap_err();
            assert!(failed(operation, &address, why).message.contains("0000:01:00.0"), "{operation}");
        }
    }
}
