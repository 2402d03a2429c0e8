//! A device that is taken from the host while the VM runs, and comes back.
//!
//! The kernel waits with the removal of a device until nobody has it open, and asks its VMM for it (Linux 6.1 to
//! 7.2 drivers/vfio/vfio_main.c, vfio_unregister_group_dev). The VMM removes the memslot, unmaps the BAR and closes
//! all files, as QEMU does (QEMU 10.0 hw/vfio/pci.c, vfio_req_notifier_handler).

use super::machine::{Calls, Vm};
use super::memslot::{self, Slot};
use crate::fault;
use rustix::io::Errno;
use s2lab_protocol::ask::Plug;
use s2lab_protocol::{DeviceOperation, Failure};

/// Gives a device up when VFIO asks for it, or takes it again.
pub(super) fn operate<C: Calls>(vm: &mut Vm<C>, Plug { address, operation }: &Plug) -> Result<(), Failure> {
    let (number, device) = memslot::find(&vm.devices, address)?;
    if vm.joined.is_some_and(|joined| joined.has(number)) {
        return Err(fault::invalid("the memslot is joined with another"));
    }
    match operation {
        DeviceOperation::Unplug => {
            device.backing.wait_for_request()?;
            set(vm, number, "remove", device.slot().removed())?;
            memslot::device(&mut vm.devices, address)?.backing.give_up()
        }
        DeviceOperation::Plug => {
            let device = memslot::device(&mut vm.devices, address)?;
            device.take(&vm.root)?;
            let slot = device.slot();
            set(vm, number, "add", slot)
        }
        other => Err(fault::invalid(format_args!("a VMM does not make {other}"))),
    }
}

fn set<C: Calls>(vm: &Vm<C>, number: u32, doing: &str, slot: Slot) -> Result<(), Failure> {
    match vm.free()?.set_slot(number, slot) {
        None => Ok(()),
        Some(errno) => Err(fault::system(doing, "a memslot", Errno::from_raw_os_error(errno))),
    }
}
