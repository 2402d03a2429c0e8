//! The memslots of a VM, and the operations on them while it runs.

use super::layout;
use super::machine::{Calls, Device, Vm};
use crate::fault;
use s2lab_protocol::ask::{Memslot, MemslotDone};
use s2lab_protocol::{Failure, MemslotOperation};

/// The number of the memslot of RAM. Those of the devices follow.
pub(super) const RAM: u32 = 0;

/// A memslot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) ipa: u64,
    /// Bytes. A removed one has 0.
    pub(super) size: u64,
    /// The address in this process.
    pub(super) address: u64,
    pub(super) flags: Flags,
}

/// The flags of a memslot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flags {
    None,
    Log,
    ReadOnly,
}

impl Slot {
    fn removed(self) -> Slot {
        Slot { size: 0, ..self }
    }

    /// Returns the memslot at the last IPAs of the VM, which no BAR has.
    fn elsewhere(self) -> Slot {
        Slot { ipa: layout::BARS_END - self.size.next_power_of_two(), ..self }
    }

    fn with(self, flags: Flags) -> Slot {
        Slot { flags, ..self }
    }
}

/// Carries out an operation on a memslot of the VM.
pub(super) fn operate<C: Calls>(vm: &mut Vm<C>, ask: &Memslot) -> Result<MemslotDone, Failure> {
    let Memslot { address, operation, with } = ask;
    let (number, slot) = match address {
        None => (RAM, vm.ram.slot()),
        Some(address) => find(&vm.devices, address).map(|(number, device)| (number, device.slot()))?,
    };
    let steps = match operation {
        MemslotOperation::Remove => vec![slot.removed()],
        MemslotOperation::Add | MemslotOperation::Unlog => vec![slot],
        MemslotOperation::Log => vec![slot.with(Flags::Log)],
        MemslotOperation::Move => vec![slot.elsewhere(), slot],
        MemslotOperation::ReadOnly => vec![slot.removed(), slot.with(Flags::ReadOnly)],
        MemslotOperation::Remap => {
            let device = vm.devices.iter_mut().find(|device| Some(device.address()) == address.as_deref());
            let device = device.ok_or_else(|| fault::invalid("RAM is not moved"))?;
            device.backing.remap()?;
            vec![slot.removed(), device.slot()]
        }
        MemslotOperation::Replace => {
            let (address, with) =
                address.as_ref().zip(with.as_ref()).ok_or_else(|| fault::invalid("RAM is not replaced"))?;
            let ((_, device), (_, with)) = (find(&vm.devices, address)?, find(&vm.devices, with)?);
            with.backing.map_over(&device.backing)?;
            vec![]
        }
    };
    let calls = vm.free()?;
    let errno = steps.into_iter().find_map(|slot| calls.set_slot(number, slot));
    Ok(MemslotDone { operation: *operation, errno })
}

/// Returns the number of the memslot of a device, and the device.
fn find<'a>(devices: &'a [Device], address: &str) -> Result<(u32, &'a Device), Failure> {
    let mut numbered = (RAM + 1..).zip(devices);
    let found = numbered.find(|(_, device)| device.address() == address);
    found.ok_or_else(|| fault::invalid(format_args!("there is no device {address}")))
}
