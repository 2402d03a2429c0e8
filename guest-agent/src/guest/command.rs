//! Memory space in the command register of a device, as a driver switches it.

use super::Guest;
use super::machine::Machine;
use crate::agent::Answers;
use crate::fault;
use crate::pci::{self, Address};
use crate::root::Root;
use s2lab_protocol::ask::{Command, DeviceDone};
use s2lab_protocol::{DeviceOperation, Failure};
use std::os::unix::fs::FileExt;

impl<M: Machine> Answers<Command> for Guest<M> {
    fn answer(&mut self, Command { address, operation }: Command) -> Result<DeviceDone, Failure> {
        let on = match operation {
            DeviceOperation::MemoryOff => false,
            DeviceOperation::MemoryOn => true,
            other => return Err(fault::invalid(format_args!("a guest cannot make {other}"))),
        };
        self.machine.set_memory_space(&address, on)?;
        Ok(DeviceDone { operation })
    }
}

/// Writes the command register by the file `config` of sysfs. The count in `enable` stays: no driver
/// has the device.
pub(super) fn set_memory_space(root: &Root, address: &Address, on: bool) -> Result<(), Failure> {
    let file = address.folder().join("config");
    let path = root.path(&file);
    let set = || {
        let config = std::fs::OpenOptions::new().read(true).write(true).open(&path)?;
        let mut command = [0; 2];
        config.read_exact_at(&mut command, pci::COMMAND)?;
        config.write_all_at(&pci::with_memory_space(command, on), pci::COMMAND)
    };
    set().map_err(|why| fault::system("write the command register in", file.display(), why))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ADDRESS, fixture};
    use super::*;

    #[test]
    fn only_the_bit_of_memory_space_changes() {
        let folder = tempfile::tempdir().unwrap();
        let root = fixture(folder.path());
        let address = Address::parse(ADDRESS).unwrap();
        let file = root.path(address.folder()).join("config");
        std::fs::write(&file, [0xf4, 0x1a, 0x10, 0x11, 0x07, 0x05, 0x10, 0]).unwrap();
        let command = || std::fs::read(&file).unwrap()[4..6].to_vec();
        set_memory_space(&root, &address, false).unwrap();
        assert_eq!(command(), [0x05, 0x05]);
        set_memory_space(&root, &address, true).unwrap();
        assert_eq!(command(), [0x07, 0x05]);
        std::fs::remove_file(&file).unwrap();
        assert!(set_memory_space(&root, &address, true).unwrap_err().message.contains("config"));
    }
}
