//! Binding a PCI function to a driver through sysfs. Platform devices are in `platform.rs`.

use super::interface::Interface;
use super::{Host, function, platform};
use crate::agent::Answers;
use crate::modules::ModuleError;
use crate::pci::{self, Address};
use crate::platform::Name;
use crate::{fault, root::Root, waits};
use s2lab_protocol::ask::Bind;
use s2lab_protocol::{AssignKind, BoundDevice, Facility, Failure};
use std::time::Duration;

const DRIVER: &str = "sys/bus/pci/drivers/vfio-pci";

impl Answers<Bind> for Host<'_> {
    fn answer(&mut self, Bind { device, port, kind }: Bind) -> Result<BoundDevice, Failure> {
        let (root, failed) = (&self.agent.root, &self.agent.failed_modules);
        if kind == AssignKind::VfioPlatform {
            self.devices.platform_used_by_cell(Name::parse(&port)?);
            return platform::bind(root, &device, &port, failed);
        }
        let address = pci::below(root, &Address::parse(&port)?)?;
        self.devices.used_by_cell(root, &address)?;
        if kind == AssignKind::VirtualFunction {
            self.devices.functions_used_by_cell(&address);
            let bound = bind_function(root, &device, &address, failed)?;
            self.interfaces.insert(device, Interface::up(root, &address)?);
            return Ok(bound);
        }
        bind(root, &device, &port, kind, failed)
    }
}

/// Makes a virtual function of a physical one, and binds it to vfio-pci.
fn bind_function(
    root: &Root,
    device: &str,
    physical: &Address,
    failed: &[ModuleError],
) -> Result<BoundDevice, Failure> {
    needs(root, failed)?;
    let address = function::make(root, physical, failed)?;
    // QEMU maps the BARs of a virtual function by the function's own bit of memory space, and vfio-pci sets that when a
    // VMM opens it (QEMU 10.0 hw/pci/pci.c, pci_bar_address). A function with a driver is not enabled by hand.
    if bound_to(root, &address).is_none() {
        pci::enable(root, &address)?;
    }
    let group = to_vfio(root, &address)?;
    described(root, device, &address, Some(group))
}

/// Binds the first function below root port `port` to the driver of `kind`, if it has one: vfio-pci
/// or none. A function that is already bound to it stays as it is.
fn bind(
    root: &Root,
    device: &str,
    port: &str,
    kind: AssignKind,
    failed: &[ModuleError],
) -> Result<BoundDevice, Failure> {
    let address = pci::below(root, &Address::parse(port)?)?;
    let iommu_group = match kind {
        AssignKind::VfioPci => {
            needs(root, failed)?;
            Some(to_vfio(root, &address)?)
        }
        AssignKind::Sysfs | AssignKind::SysfsWc | AssignKind::Module => {
            to_none(root, &address)?;
            pci::group(root, &address).ok()
        }
        AssignKind::VfioPlatform | AssignKind::VirtualFunction => {
            return Err(fault::invalid(format_args!("{address} is a PCI function, not for {kind}")));
        }
    };
    described(root, device, &address, iommu_group)
}

/// Binds a function to vfio-pci, and returns its group.
fn to_vfio(root: &Root, address: &Address) -> Result<u32, Failure> {
    let bound = to_driver(root, address, AssignKind::VfioPci.name(), Facility::VfioPci);
    // Without a group the driver refuses the function.
    let group = pci::group(root, address)?;
    bound.map(|()| group)
}

fn described(
    root: &Root,
    device: &str,
    address: &Address,
    iommu_group: Option<u32>,
) -> Result<BoundDevice, Failure> {
    Ok(BoundDevice {
        device: device.to_owned(),
        vendor: pci::identifier(root, address, "vendor")?,
        id: pci::identifier(root, address, "device")?,
        driver: bound_to(root, address).unwrap_or_default(),
        iommu_group,
        bars: pci::bars(root, address)?,
        address: address.to_string(),
    })
}

/// The time in which the kernel binds a function, and the pause between two looks.
const BOUND: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);

/// Binds a function to a driver. Waits for it: right after a plug the kernel does not match the function with drivers
/// yet, and binds it by itself a moment later, by the override (Linux 6.1 to 6.12 drivers/pci/bus.c,
/// pci_bus_add_device). The function gets its IOMMU group with the first driver that it meets (drivers/base/dd.c,
/// really_probe: `dma_configure`).
pub(super) fn to_driver(
    root: &Root,
    address: &Address,
    driver: &str,
    facility: Facility,
) -> Result<(), Failure> {
    let (is_vfio, folder) = (facility == Facility::VfioPci, address.folder());
    if bound_to(root, address).as_deref() == Some(driver) {
        return Ok(());
    }
    let refused = |why: Failure| fault::refused(facility, why.message);
    root.write(folder.join("driver_override"), driver).map_err(refused)?;
    if root.exists(folder.join("driver")) {
        // A driver that refuses the function meanwhile need not release it.
        drop(root.write(folder.join("driver/unbind"), &address.to_string()));
    }
    root.write("sys/bus/pci/drivers_probe", &address.to_string()).map_err(refused)?;
    let is_bound = || bound_to(root, address).as_deref() == Some(driver);
    // The link comes before the end of the driver's probe, the folder of VFIO with it (drivers/vfio/vfio_main.c,
    // __vfio_register_dev). Kernels before 6.1 have no such folder.
    let is_ready = || is_bound() && (!is_vfio || root.exists(folder.join("vfio-dev")));
    waits::until(BOUND, PAUSE, || is_ready().then_some(()));
    match bound_to(root, address) {
        Some(found) if found == driver => Ok(()),
        found => {
            let found = found.unwrap_or_else(|| "no driver".to_owned());
            let what = format_args!("cannot bind {address} to {driver}: it is bound to {found}");
            Err(fault::refused(facility, what))
        }
    }
}

/// Takes a function from its driver.
fn to_none(root: &Root, address: &Address) -> Result<(), Failure> {
    if bound_to(root, address).is_none() {
        return Ok(());
    }
    root.write(address.folder().join("driver/unbind"), &address.to_string())?;
    match bound_to(root, address) {
        None => Ok(()),
        Some(found) => {
            Err(fault::system("take", address, format_args!("its driver {found} does not release it")))
        }
    }
}

/// Checks that the kernel has the driver vfio-pci and its requirements.
fn needs(root: &Root, failed: &[ModuleError]) -> Result<(), Failure> {
    let wanted = [
        (DRIVER, "driver vfio-pci", Facility::VfioPci),
        ("sys/module/vfio_iommu_type1", "module vfio_iommu_type1", Facility::VfioIommuType1),
    ];
    for (path, what, facility) in wanted {
        if !root.exists(path) {
            let why: String = failed.iter().map(|module| format!("; {module}")).collect();
            return Err(fault::missing(facility, format_args!("there is no {what}{why}")));
        }
    }
    Ok(())
}

pub(super) fn bound_to(root: &Root, address: &Address) -> Option<String> {
    root.link_name(address.folder().join("driver"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use s2lab_protocol::FailureKind;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    /// Makes a root port with an ivshmem below it, already bound to vfio-pci: a fixture has no
    /// kernel that probes.
    pub(crate) fn fixture(folder: &Path) -> (Root, PathBuf) {
        let port = folder.join("sys/bus/pci/devices/0000:00:01.0");
        let function = port.join("0000:01:00.0");
        fs::create_dir_all(&function).unwrap();
        for other in ["power", "0000:01:00.1"] {
            fs::create_dir_all(port.join(other)).unwrap();
        }
        symlink("0000:00:01.0/0000:01:00.0", folder.join("sys/bus/pci/devices/0000:01:00.0")).unwrap();
        let files = [
            ("vendor", "0x1af4\n"),
            ("device", "0x1110\n"),
            ("driver_override", ""),
            ("resource", "0x10000000 0x100000ff 0x40200\n0x0 0x0 0x0\n0x8000000000 0x8000ffffff 0x14220c\n"),
        ];
        for (name, text) in files {
            fs::write(function.join(name), text).unwrap();
        }
        fs::create_dir_all(folder.join("sys/bus/pci/drivers/vfio-pci")).unwrap();
        fs::create_dir_all(folder.join("sys/module/vfio_iommu_type1")).unwrap();
        fs::write(folder.join("sys/bus/pci/drivers_probe"), "").unwrap();
        symlink("/sys/bus/pci/drivers/vfio-pci", function.join("driver")).unwrap();
        symlink("/sys/kernel/iommu_groups/7", function.join("iommu_group")).unwrap();
        (Root::at(folder), function)
    }

    fn run(root: &Root) -> Result<BoundDevice, Failure> {
        bind(root, "nic", "0000:00:01.0", AssignKind::VfioPci, &[])
    }

    #[test]
    fn a_bound_device_is_described() {
        let folder = tempfile::tempdir().unwrap();
        let (root, _) = fixture(folder.path());
        let bound = run(&root).unwrap();
        assert_eq!((bound.address.as_str(), bound.vendor, bound.id), ("0000:01:00.0", 0x1af4, 0x1110));
        assert_eq!((bound.iommu_group, bound.bars.len(), bound.bars[1].size), (Some(7), 2, 16 << 20));
    }

    #[test]
    fn a_device_without_driver_is_probed_with_an_override() {
        let folder = tempfile::tempdir().unwrap();
        let (root, function) = fixture(folder.path());
        fs::remove_file(function.join("driver")).unwrap();
        let failure = run(&root).unwrap_err();
        let refused = FailureKind::Refused(Facility::VfioPci);
        assert_eq!(failure.kind, refused, "nobody probes in a fixture");
        assert!(failure.message.contains("no driver"), "{}", failure.message);
        assert_eq!(fs::read_to_string(function.join("driver_override")).unwrap(), "vfio-pci");
        assert_eq!(
            fs::read_to_string(folder.path().join("sys/bus/pci/drivers_probe")).unwrap(),
            "0000:01:00.0"
        );
    }

    /// The kernel of a fixture does not answer to `drivers_probe`, but binds the function later, as after a plug.
    #[test]
    fn a_device_that_the_kernel_binds_later_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (root, function) = fixture(folder.path());
        fs::remove_file(function.join("iommu_group")).unwrap();
        // A driver that no longer has the function, so that it cannot release it.
        fs::remove_file(function.join("driver")).unwrap();
        fs::create_dir(function.join("driver")).unwrap();
        let probe = folder.path().join("sys/bus/pci/drivers_probe");
        let kernel = std::thread::Builder::new().spawn(move || {
            while fs::read_to_string(&probe).unwrap().is_empty() {}
            fs::remove_dir(function.join("driver")).unwrap();
            symlink("/sys/kernel/iommu_groups/7", function.join("iommu_group")).unwrap();
            symlink("/sys/bus/pci/drivers/vfio-pci", function.join("driver")).unwrap();
            std::thread::sleep(PAUSE * 20);
            fs::create_dir(function.join("vfio-dev")).unwrap();
            fs::read_to_string(function.join("driver_override")).unwrap()
        });
        let bound = run(&root).unwrap();
        assert!(folder.path().join("sys/bus/pci/devices/0000:01:00.0/vfio-dev").exists());
        assert_eq!((bound.driver.as_str(), bound.iommu_group), ("vfio-pci", Some(7)));
        assert_eq!(kernel.unwrap().join().unwrap(), "vfio-pci");
    }

    #[test]
    fn what_the_kernel_lacks_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (root, function) = fixture(folder.path());
        fs::remove_file(function.join("iommu_group")).unwrap();
        let failure = run(&root).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Missing(Facility::Iommu), "{}", failure.message);
        fs::remove_dir(folder.path().join("sys/module/vfio_iommu_type1")).unwrap();
        let broken = ModuleError { name: "vfio.ko".into(), why: "Exec format error".into() };
        let failure = bind(&root, "nic", "0000:00:01.0", AssignKind::VfioPci, &[broken]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Missing(Facility::VfioIommuType1));
        assert!(failure.message.contains("vfio.ko did not load: Exec format"), "{}", failure.message);
    }

    #[test]
    fn nothing_outside_pci_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let (root, _) = fixture(folder.path());
        let kind = |port| bind(&root, "nic", port, AssignKind::VfioPci, &[]).unwrap_err().kind;
        assert_eq!(kind("0000:00:02.0"), FailureKind::Invalid);
        assert_eq!(kind("0000:00:01.0/.."), FailureKind::Invalid);
        assert_eq!(kind("0000:01:00.0"), FailureKind::Invalid, "a function has nothing below it");
    }

    #[test]
    fn a_device_for_sysfs_has_no_driver_and_needs_no_vfio() {
        let folder = tempfile::tempdir().unwrap();
        let (root, function) = fixture(folder.path());
        fs::remove_dir(folder.path().join("sys/bus/pci/drivers/vfio-pci")).unwrap();
        let sysfs = || bind(&root, "nic", "0000:00:01.0", AssignKind::Sysfs, &[]);
        // A fixture has no kernel that releases a device.
        let unbind = folder.path().join("unbind");
        fs::create_dir(&unbind).unwrap();
        fs::write(unbind.join("unbind"), "").unwrap();
        fs::remove_file(function.join("driver")).unwrap();
        symlink(&unbind, function.join("driver")).unwrap();
        let failure = sysfs().unwrap_err();
        assert!(failure.message.contains("its driver unbind does not release it"), "{}", failure.message);
        assert_eq!(fs::read_to_string(unbind.join("unbind")).unwrap(), "0000:01:00.0");
        fs::remove_file(function.join("driver")).unwrap();
        let bound = sysfs().unwrap();
        assert_eq!((bound.driver.as_str(), bound.iommu_group), ("", Some(7)));
        fs::remove_file(function.join("iommu_group")).unwrap();
        assert_eq!(sysfs().unwrap().iommu_group, None);
    }
}
