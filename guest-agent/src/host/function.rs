//! A virtual function of a network controller (SR-IOV), which the controller's own driver igb makes (Linux
//! Documentation/PCI/pci-iov-howto.rst).

use super::bind::{bound_to, to_driver};
use crate::modules::ModuleError;
use crate::pci::Address;
use crate::{fault, root::Root};
use s2lab_protocol::{Facility, Failure};

/// The driver of the physical function.
const DRIVER: &str = "igb";
/// The number of functions, in the folder of the physical one.
const NUMBER: &str = "sriov_numvfs";
/// The link there to the first one.
const FIRST: &str = "virtfn0";

/// Makes a virtual function, without a driver, unless there is one.
pub(super) fn make(root: &Root, physical: &Address, failed: &[ModuleError]) -> Result<Address, Failure> {
    if !root.exists(format!("sys/bus/pci/drivers/{DRIVER}")) {
        let why: String = failed.iter().map(|module| format!("; {module}")).collect();
        return Err(fault::missing(Facility::Igb, format_args!("there is no driver {DRIVER}{why}")));
    }
    to_driver(root, physical, DRIVER, Facility::Igb)?;
    let folder = physical.folder();
    let number = folder.join(NUMBER);
    if !root.exists(&number) {
        let what = format_args!("{physical} has no virtual functions: no /{}", number.display());
        return Err(fault::missing(Facility::VirtualFunctions, what));
    }
    // The kernel may have a driver of them, which is not for the function of a guest.
    root.write(folder.join("sriov_drivers_autoprobe"), "0")?;
    if root.link_name(folder.join(FIRST)).is_none() {
        root.write(number, "1")?;
    }
    first(root, physical)?
        .ok_or_else(|| fault::system("make", "a virtual function", format_args!("{physical} has no {FIRST}")))
}

/// Removes the virtual functions, whose driver releases them first.
pub(super) fn remove(root: &Root, physical: &Address) -> Result<(), Failure> {
    let Some(function) = first(root, physical)? else { return Ok(()) };
    if bound_to(root, &function).is_some() {
        root.write(function.folder().join("driver/unbind"), &function.to_string())?;
    }
    root.write(physical.folder().join(NUMBER), "0")
}

fn first(root: &Root, physical: &Address) -> Result<Option<Address>, Failure> {
    root.link_name(physical.folder().join(FIRST)).map(|name| Address::parse(&name)).transpose()
}

#[cfg(test)]
mod tests {
    use super::super::bind::tests::fixture;
    use super::*;
    use s2lab_protocol::FailureKind;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_the_kernel_lacks_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (root, function) = fixture(folder.path());
        let physical = Address::parse("0000:01:00.0").unwrap();
        let failure = |failed: &[ModuleError]| make(&root, &physical, failed).unwrap_err();
        let broken = ModuleError { name: "igb.ko".into(), why: "Exec format error".into() };
        let without = failure(&[broken]);
        assert_eq!(without.kind, FailureKind::Missing(Facility::Igb));
        assert!(without.message.contains("no driver igb; module igb.ko did not load"), "{}", without.message);
        fs::create_dir_all(folder.path().join("sys/bus/pci/drivers/igb")).unwrap();
        fs::remove_file(function.join("driver")).unwrap();
        // A fixture has no kernel that probes.
        assert_eq!(failure(&[]).kind, FailureKind::Refused(Facility::Igb));
        symlink("/sys/bus/pci/drivers/igb", function.join("driver")).unwrap();
        assert_eq!(failure(&[]).kind, FailureKind::Missing(Facility::VirtualFunctions));
    }

    #[test]
    fn a_function_is_made_once_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (root, function) = fixture(folder.path());
        let physical = Address::parse("0000:01:00.0").unwrap();
        fs::create_dir_all(folder.path().join("sys/bus/pci/drivers/igb")).unwrap();
        fs::remove_file(function.join("driver")).unwrap();
        symlink("/sys/bus/pci/drivers/igb", function.join("driver")).unwrap();
        for file in ["sriov_numvfs", "sriov_drivers_autoprobe"] {
            fs::write(function.join(file), "").unwrap();
        }
        let text = |name: &str| fs::read_to_string(function.join(name)).unwrap();
        let failure = make(&root, &physical, &[]).unwrap_err();
        assert!(failure.message.contains("0000:01:00.0 has no virtfn0"), "{}", failure.message);
        assert_eq!([text("sriov_numvfs"), text("sriov_drivers_autoprobe")], ["1", "0"]);
        remove(&root, &physical).unwrap();
        assert_eq!(text("sriov_numvfs"), "1", "there is none to remove");
        symlink("../0000:01:10.0", function.join("virtfn0")).unwrap();
        fs::write(function.join("sriov_numvfs"), "").unwrap();
        assert_eq!(make(&root, &physical, &[]).unwrap().to_string(), "0000:01:10.0");
        assert_eq!(text("sriov_numvfs"), "", "there is one");
        remove(&root, &physical).unwrap();
        assert_eq!(text("sriov_numvfs"), "0");
    }
}
