//! The reset of an assigned device, in the way of its VMM, and the files that this needs.
//!
//! A reset through sysfs leaves the BAR's mappings as they are. VFIO's own reset removes them from
//! the VMM's page tables, and with them the guest's stage-2 entries go (Linux
//! drivers/vfio/pci/vfio_pci_core.c, vfio_pci_ioctl_reset). It needs a file of the device, and a
//! group that is in use cannot be opened a second time. So the agent takes the *group's* file from
//! the VMM, which its link identifies (`/dev/vfio/GROUP`), and requests one more file of the device
//! by its PCI address: a device may be opened more than once that way (drivers/vfio/vfio_main.c,
//! vfio_df_open).

use super::{Guest, Host};
use crate::agent::{Agent, Answers};
use crate::link::Link;
use crate::pci::{self, Address};
use crate::{fault, root::Root, vfio};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use s2lab_protocol::Failure;
use s2lab_protocol::ask::{Reset, ResetDone};

impl Answers<Reset> for Host<'_> {
    fn answer(&mut self, Reset { guest, device }: Reset) -> Result<ResetDone, Failure> {
        let (vmm, address) = self.assigned(&guest, &device)?;
        let Agent { root, link, .. } = self.agent;
        reset(root, link, vmm, &address).map(|method| ResetDone { method })
    }
}

impl Host<'_> {
    /// Returns the process of the guest's VMM and the address of the guest's device in the host.
    pub(super) fn assigned(&self, guest: &str, device: &str) -> Result<(u32, Address), Failure> {
        let Guest { vmm, spec } = self.running(guest)?;
        let assigned = spec.devices.iter().find(|assigned| assigned.device == device);
        let assigned =
            assigned.ok_or_else(|| fault::invalid(format_args!("guest {guest} has no device {device:?}")))?;
        Ok((vmm.pid(), Address::parse(&assigned.host_address)?))
    }
}

/// Resets the function at `address`, which the VMM with process id `vmm` has opened. Returns the
/// kernel's reset methods from sysfs, in the order in which it tries them.
fn reset(root: &Root, link: &Link, vmm: u32, address: &Address) -> Result<String, Failure> {
    let file = address.folder().join("reset_method");
    let method = root.read(&file).unwrap_or_default();
    if method.is_empty() {
        return Err(fault::invalid(format_args!(
            "{address} has no reset method: /{} is absent or empty",
            file.display()
        )));
    }
    let files = Files::of(root, vmm, address)?;
    link.silent(|| vfio::reset(&files.device)).map_err(|why| fault::system("reset", address, why))?;
    Ok(method)
}

/// Files of a device that a VMM has opened.
pub(super) struct Files {
    pub(super) group: OwnedFd,
    pub(super) device: OwnedFd,
}

impl Files {
    /// Opens the function at `address`, which the VMM with process id `vmm` has opened.
    pub(super) fn of(root: &Root, vmm: u32, address: &Address) -> Result<Files, Failure> {
        let number = group_file(root, vmm, pci::group(root, address)?)?;
        let failed = |doing| move |why| fault::system(doing, address, why);
        let pid = i32::try_from(vmm)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| fault::invalid(format_args!("{vmm} is no process id")))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(failed("open the VMM of"))?;
        let group = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty())
            .map_err(failed("take out the VFIO group of"))?;
        let device = vfio::device(&group, &address.to_string()).map_err(failed("get a file of"))?;
        Ok(Files { group, device })
    }
}

/// Returns the number of the VMM's file of a VFIO group.
fn group_file(root: &Root, vmm: u32, group: u32) -> Result<i32, Failure> {
    let folder = format!("proc/{vmm}/fd");
    let wanted = root.path(format!("dev/vfio/{group}"));
    let entries = std::fs::read_dir(root.path(&folder)).map_err(|why| fault::system("list", &folder, why))?;
    entries
        .flatten()
        .find(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == wanted))
        .and_then(|entry| entry.file_name().to_str()?.parse().ok())
        .ok_or_else(|| fault::invalid(format_args!("process {vmm} has not opened VFIO group {group}")))
}

#[cfg(test)]
mod tests {
    use super::super::bind::tests::fixture;
    use super::*;
    use s2lab_protocol::FailureKind;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_group_is_found_by_its_whole_name() {
        let folder = tempfile::tempdir().unwrap();
        let (root, _) = fixture(folder.path());
        let fds = folder.path().join("proc/42/fd");
        std::fs::create_dir_all(&fds).unwrap();
        for (number, target) in [("3", "dev/vfio/vfio"), ("9", "dev/vfio/70"), ("12", "dev/vfio/7")] {
            symlink(folder.path().join(target), fds.join(number)).unwrap();
        }
        symlink("anon_inode:[vfio-device]", fds.join("13")).unwrap();
        assert_eq!(group_file(&root, 42, 7).unwrap(), 12);
        assert_eq!(group_file(&root, 42, 8).unwrap_err().kind, FailureKind::Invalid);
    }

    #[test]
    fn without_a_reset_method_nothing_is_tried() {
        let folder = tempfile::tempdir().unwrap();
        let (root, _) = fixture(folder.path());
        let link = Link::new(s2lab_protocol::Peer::Host, 7, std::io::sink());
        let failure = reset(&root, &link, 42, &Address::parse("0000:01:00.0").unwrap()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid);
        assert!(failure.message.contains("no reset method"), "{}", failure.message);
    }
}
