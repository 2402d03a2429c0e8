//! Frames that a guest sends and receives by its virtual function.

use super::igbvf::{InBar, Memory};
use super::machine::{Calls, Vm};
use super::payload::{self, Frames};
use crate::fault;
use crate::guest::machine::Machine;
use s2lab_protocol::ask::{Transfer, Transferred};
use s2lab_protocol::ethernet::frames_of;
use s2lab_protocol::{Failure, MapKind};

/// Sends a pattern, or receives it.
pub(super) fn transfer<C: Calls>(vm: &mut Vm<C>, ask: &Transfer) -> Result<Transferred, Failure> {
    let Transfer { address, direction, bytes, seed } = ask;
    let none = || fault::invalid(format_args!("there is no virtual function {address}"));
    let device = vm.devices.iter().find(|device| device.address() == address && device.has_dma());
    let name = device.ok_or_else(none)?.name().to_owned();
    let part = vm.dma.ok_or_else(none)?;
    let frames = frames_of(*bytes).ok_or_else(|| fault::invalid(format_args!("{bytes} bytes of frames")))?;
    let target = vm.map(&name, address, MapKind::Device)?;
    let no_registers = || fault::invalid(format_args!("{address} has a BAR of {:#x} bytes", target.bar.size));
    // SAFETY: the window is mapped on each vCPU, and the agent of the host gives a guest such functions alone.
    let registers = unsafe { InBar::at(target.base, target.bar.size) }.ok_or_else(no_registers)?;
    // SAFETY: the part is as large as the memory of a driver. It has the same address in the VM, and its IPA for the
    // function.
    let memory = unsafe { Memory::at(vm.ram.at(part), vm.ram.ipa(part)) };
    let of = Frames { registers, memory, direction: *direction, frames, seed: *seed };
    let first_difference = payload::frames(vm.free()?, of)?
        .map_err(|trouble| fault::system("transfer frames of", address, trouble.why()))?;
    Ok(Transferred { direction: *direction, bytes: *bytes, first_difference })
}
