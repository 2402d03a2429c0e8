//! The memslots of a VM, and the operations on them while it runs.

use super::backing::reserve;
use super::machine::{Calls, Device, Vm};
use super::ram::Ram;
use super::{copy, frames, layout};
use crate::fault;
use rustix::io::Errno;
use s2lab_protocol::ask::{AssignedDevice, Joined, Memslot, MemslotDone};
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
    pub(super) fn removed(self) -> Slot {
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

/// Returns the memslots of RAM and of each device, with their numbers.
pub(super) fn own(ram: &Ram, devices: &[Device]) -> Vec<(u32, Slot)> {
    let (lower, upper) = ram.slots();
    (RAM..).zip(std::iter::once(lower).chain(devices.iter().map(Device::slot)).chain(upper)).collect()
}

/// Two regions with one memslot, by the numbers of the memslots that they have otherwise. The second is
/// right behind the first, as IPAs and in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    first: u32,
    second: u32,
}

impl Pair {
    pub(super) fn of(joined: &Joined, devices: &[AssignedDevice]) -> Result<Pair, Failure> {
        let number = |name: &String| {
            let found = (RAM + 1..).zip(devices).find(|(_, device)| device.device == *name);
            found
                .map(|(number, _)| number)
                .ok_or_else(|| fault::invalid(format_args!("there is no device {name}")))
        };
        let (first, second) = (joined.first.as_ref().map_or(Ok(RAM), number)?, number(&joined.second)?);
        match first == second {
            true => Err(fault::invalid("a region is not joined with itself")),
            false => Ok(Pair { first, second }),
        }
    }

    pub(super) fn has(self, number: u32) -> bool {
        [self.first, self.second].contains(&number)
    }

    /// Returns the place of a memslot's device among all devices, or None for RAM.
    fn device(number: u32) -> Option<usize> {
        Some(number.checked_sub(RAM + 1)? as usize)
    }

    /// Returns the bytes that this process needs right behind its RAM.
    pub(super) fn behind_ram(self, sizes: &[u64]) -> u64 {
        let second = Pair::device(self.second).and_then(|second| sizes.get(second));
        if self.first == RAM { second.copied().unwrap_or_default() } else { 0 }
    }

    /// Like [`layout::place`], for devices of which two are joined, or one with RAM of `memory` bytes.
    pub(super) fn place(self, memory: u64, sizes: &[u64]) -> Option<Vec<u64>> {
        let (first, second) = (Pair::device(self.first), Pair::device(self.second)?);
        let mut whole = sizes.to_vec();
        let size = std::mem::take(whole.get_mut(second)?);
        if let Some(first) = first {
            *whole.get_mut(first)? += size;
        }
        let mut placed = layout::place(whole)?;
        let start = match first {
            Some(first) => placed.get(first)? + sizes.get(first)?,
            None => layout::RAM + memory,
        };
        *placed.get_mut(second)? = start;
        Some(placed)
    }

    /// Moves the mappings in this process.
    pub(super) fn join(self, ram: &Ram, devices: &mut [Device]) -> Result<(), Failure> {
        let unknown = || fault::invalid("a region that is joined is not there");
        let size = |number| {
            let device = Pair::device(number).and_then(|device| devices.get(device));
            device.map(|device| device.slot().size as usize).ok_or_else(unknown)
        };
        let behind = match Pair::device(self.first) {
            None => ram.behind(),
            Some(first) => {
                let (first_size, second_size) = (size(self.first)?, size(self.second)?);
                let reserved = reserve(first_size.saturating_add(second_size));
                let (base, _) = reserved.map_err(|why| fault::system("move", "two BARs together", why))?;
                devices.get_mut(first).ok_or_else(unknown)?.backing.move_to(base)?;
                base.with_addr(base.addr().saturating_add(first_size))
            }
        };
        let second = Pair::device(self.second).and_then(|second| devices.get_mut(second));
        second.ok_or_else(unknown)?.backing.move_to(behind)
    }

    /// Returns the memslot of both, and its number.
    fn whole(self, ram: &Ram, devices: &[Device]) -> Result<(u32, Slot), Failure> {
        let whole = self.slots(own(ram, devices)).into_iter().find(|(number, _)| *number == self.first);
        whole.ok_or_else(|| fault::invalid("a region that is joined is not there"))
    }

    /// Makes one memslot of two.
    pub(super) fn slots(self, own: Vec<(u32, Slot)>) -> Vec<(u32, Slot)> {
        let second = own.iter().find(|(number, _)| *number == self.second).map_or(0, |(_, slot)| slot.size);
        let joined = |(number, slot): (u32, Slot)| match number {
            _ if number == self.second => None,
            _ if number == self.first => Some((number, Slot { size: slot.size + second, ..slot })),
            _ => Some((number, slot)),
        };
        own.into_iter().filter_map(joined).collect()
    }
}

/// Carries out an operation on a memslot of the VM, or on the VM.
pub(super) fn operate<C: Calls>(vm: &mut Vm<C>, ask: &Memslot) -> Result<MemslotDone, Failure> {
    let Memslot { address, operation, with } = ask;
    let address = address.as_deref();
    let named = |what| address.ok_or_else(|| fault::invalid(format_args!("RAM is not {what}")));
    if operation.is_of_ram() && address.is_some() {
        return Err(fault::invalid(format_args!("{operation} is an operation of RAM")));
    }
    let errno = match operation {
        MemslotOperation::Fork => {
            vm.free()?;
            copy::make(vm.devices.iter().map(|device| device.backing.address()).collect())?;
            None
        }
        MemslotOperation::Compact => {
            vm.free()?;
            frames::compact(&vm.root, &vm.ram)?;
            None
        }
        MemslotOperation::Log if address.is_some() => log(vm, slot_of(vm, ask)?)?,
        MemslotOperation::Log => set(vm, ask, |_, slot| Ok(vec![slot.with(Flags::Log)]))?,
        MemslotOperation::Remove => set(vm, ask, |_, slot| Ok(vec![slot.removed()]))?,
        MemslotOperation::Unlog => set(vm, ask, |_, slot| Ok(vec![slot]))?,
        MemslotOperation::Add => set(vm, ask, |devices, slot| {
            if let Some(address) = address {
                find(devices, address)?.1.backing.set_writable(true)?;
            }
            Ok(vec![slot])
        })?,
        MemslotOperation::Move => set(vm, ask, |_, slot| Ok(vec![slot.elsewhere(), slot]))?,
        MemslotOperation::ReadOnly => {
            set(vm, ask, |_, slot| Ok(vec![slot.removed(), slot.with(Flags::ReadOnly)]))?
        }
        MemslotOperation::Protect => set(vm, ask, |devices, _| {
            find(devices, named("protected")?)?.1.backing.set_writable(false)?;
            Ok(vec![])
        })?,
        MemslotOperation::Remap => set(vm, ask, |devices, slot| {
            let device = device(devices, named("moved")?)?;
            device.backing.remap()?;
            Ok(vec![slot.removed(), device.slot()])
        })?,
        MemslotOperation::Replace => set(vm, ask, |devices, _| {
            let with = with.as_ref().ok_or_else(|| fault::invalid("nothing replaces the device"))?;
            let ((_, device), (_, with)) = (find(devices, named("replaced")?)?, find(devices, with)?);
            with.backing.map_over(&device.backing)?;
            Ok(vec![])
        })?,
        MemslotOperation::Renew => set(vm, ask, |devices, _| {
            find(devices, named("renewed")?)?.1.backing.renew()?;
            Ok(vec![])
        })?,
        MemslotOperation::Divide => {
            let (number, slot) = slot_of(vm, ask)?;
            find(&vm.devices, named("divided")?)?.1.backing.renew()?;
            vm.divided.push(number);
            divide(vm, number, slot)?
        }
    };
    if operation.is_of_log() && address.is_none() && errno.is_none() {
        vm.marks.logged = *operation == MemslotOperation::Log;
    }
    Ok(MemslotDone { operation: *operation, errno })
}

/// Returns the memslot of a request, and its number. Only the log of a BAR may be about a memslot of two
/// regions.
fn slot_of<C: Calls>(vm: &Vm<C>, ask: &Memslot) -> Result<(u32, Slot), Failure> {
    let (number, slot) = match &ask.address {
        None => match vm.ram.slots() {
            (whole, None) => (RAM, whole),
            (_, Some(_)) => return Err(fault::invalid("RAM has two memslots")),
        },
        Some(address) => find(&vm.devices, address).map(|(number, device)| (number, device.slot()))?,
    };
    if vm.divided.contains(&number) {
        return Err(fault::invalid("the memslot is divided"));
    }
    match vm.joined.filter(|joined| joined.has(number)) {
        None => Ok((number, slot)),
        Some(joined) if ask.operation == MemslotOperation::Log && ask.address.is_some() => {
            joined.whole(&vm.ram, &vm.devices)
        }
        Some(_) => Err(fault::invalid("the memslot is joined with another")),
    }
}

/// Gives the memslot of a request each of these forms in turn. Returns the error number of the first one
/// that the kernel refuses.
fn set<C: Calls>(
    vm: &mut Vm<C>,
    ask: &Memslot,
    forms: impl FnOnce(&mut [Device], Slot) -> Result<Vec<Slot>, Failure>,
) -> Result<Option<i32>, Failure> {
    let (number, slot) = slot_of(vm, ask)?;
    let forms = forms(&mut vm.devices, slot)?;
    let calls = vm.free()?;
    Ok(forms.into_iter().find_map(|slot| calls.set_slot(number, slot)))
}

/// Asks for a log of the dirty pages of a memslot over a BAR: of the memslot, which has none yet, and of a
/// new one over the same memory, which has it from the beginning. Returns the error number with which the
/// kernel has refused both.
fn log<C: Calls>(vm: &Vm<C>, (number, slot): (u32, Slot)) -> Result<Option<i32>, Failure> {
    let calls = vm.free()?;
    let flags = calls.set_slot(number, slot.with(Flags::Log));
    // RAM may have two, the second behind those of the devices.
    let (unused, new) = (RAM + 2 + vm.devices.len() as u32, slot.elsewhere().with(Flags::Log));
    let created = calls.set_slot(unused, new);
    if created.is_none()
        && let Some(errno) = calls.set_slot(unused, new.removed())
    {
        return Err(fault::system("remove", "a memslot", Errno::from_raw_os_error(errno)));
    }
    let both = flags.zip(created);
    Ok(both.map(|(flags, created)| if flags == Errno::INVAL.raw_os_error() { created } else { flags }))
}

/// Returns a device.
pub(super) fn device<'a>(devices: &'a mut [Device], address: &str) -> Result<&'a mut Device, Failure> {
    let found = devices.iter_mut().find(|device| device.address() == address);
    found.ok_or_else(|| fault::invalid(format_args!("there is no device {address}")))
}

/// Removes a memslot, and adds one for the first three quarters and one for the last. Returns the error number with
/// which the kernel has refused it.
fn divide<C: Calls>(vm: &Vm<C>, number: u32, slot: Slot) -> Result<Option<i32>, Failure> {
    let calls = vm.free()?;
    let first = slot.size / 4 * 3;
    let lower = Slot { size: first, ..slot };
    let upper =
        Slot { ipa: slot.ipa + first, size: slot.size - first, address: slot.address + first, ..slot };
    // Behind the number that `log` uses.
    let unused = RAM + 2 + vm.devices.len() as u32 + number;
    let mut slots = [(number, slot.removed()), (number, lower), (unused, upper)].into_iter();
    Ok(slots.find_map(|(number, slot)| calls.set_slot(number, slot)))
}

/// Returns the number of the memslot of a device, and the device.
pub(super) fn find<'a>(devices: &'a [Device], address: &str) -> Result<(u32, &'a Device), Failure> {
    let mut numbered = (RAM + 1..).zip(devices);
    let found = numbered.find(|(_, device)| device.address() == address);
    found.ok_or_else(|| fault::invalid(format_args!("there is no device {address}")))
}
