//! Binding a platform device to vfio-platform, and taking it back.

use crate::modules::ModuleError;
use crate::platform::{self, Name};
use crate::{fault, root::Root};
use s2lab_protocol::{AssignKind, BoundDevice, Facility, Failure};

const DRIVER: &str = "sys/bus/platform/drivers/vfio-platform";
const PROBE: &str = "sys/bus/platform/drivers_probe";
/// VFIO takes a device without an IOMMU if the person at the machine says so (Linux 6.1
/// drivers/vfio/vfio_main.c, vfio_noiommu_group_alloc). The kernel is tainted by `U` from then on.
const NO_IOMMU: &str = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";

/// Binds a device to vfio-platform, unless it is.
pub(super) fn bind(
    root: &Root,
    device: &str,
    name: &str,
    failed: &[ModuleError],
) -> Result<BoundDevice, Failure> {
    let name = Name::parse(name)?;
    needs(root, failed)?;
    if !root.exists(name.folder()) {
        return Err(fault::invalid(format_args!("there is no platform device {name}")));
    }
    let (driver, folder) = (AssignKind::VfioPlatform.name(), name.folder());
    let bound_to = || root.link_name(folder.join("driver"));
    if bound_to().as_deref() != Some(driver) {
        let refused = |why: Failure| fault::refused(Facility::VfioPlatform, why.message);
        root.write(NO_IOMMU, "1").map_err(refused)?;
        root.write(folder.join("driver_override"), driver).map_err(refused)?;
        if root.exists(folder.join("driver")) {
            root.write(folder.join("driver/unbind"), &name.to_string()).map_err(refused)?;
        }
        root.write(PROBE, &name.to_string()).map_err(refused)?;
    }
    match bound_to() {
        Some(found) if found == driver => Ok(BoundDevice {
            device: device.to_owned(),
            vendor: 0,
            id: 0,
            driver: found,
            iommu_group: Some(platform::group(root, &name)?),
            bars: platform::regions(root, &name)?,
            address: name.to_string(),
        }),
        found => {
            let found = found.unwrap_or_else(|| "no driver".to_owned());
            let what = format_args!("cannot bind {name} to {driver}: it is bound to {found}");
            Err(fault::refused(Facility::VfioPlatform, what))
        }
    }
}

fn needs(root: &Root, failed: &[ModuleError]) -> Result<(), Failure> {
    let wanted = [
        (DRIVER, "driver vfio-platform", Facility::VfioPlatform),
        (NO_IOMMU, "mode without an IOMMU of VFIO", Facility::VfioNoIommu),
    ];
    for (path, what, facility) in wanted {
        if !root.exists(path) {
            let why: String = failed.iter().map(|module| format!("; {module}")).collect();
            return Err(fault::missing(facility, format_args!("there is no {what}{why}")));
        }
    }
    Ok(())
}

/// Takes a device from its driver.
///
/// # Errors
/// Always: the kernel stays tainted, so the host serves no other cell.
pub(super) fn release(root: &Root, name: &Name) -> Result<(), Failure> {
    let folder = name.folder();
    if root.exists(folder.join("driver")) {
        root.write(folder.join("driver/unbind"), &name.to_string())?;
    }
    root.write(folder.join("driver_override"), "\n")?;
    Err(fault::invalid(format_args!("VFIO has tainted the kernel for {name}, which has no IOMMU")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_protocol::FailureKind;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    /// Makes the flash of QEMU's machine `virt`, bound to vfio-platform: a fixture has no kernel that
    /// probes.
    fn fixture(folder: &Path) -> (Root, PathBuf) {
        let flash = folder.join("sys/bus/platform/devices/0.flash");
        fs::create_dir_all(flash.join("of_node")).unwrap();
        fs::create_dir_all(folder.join(DRIVER)).unwrap();
        fs::create_dir_all(folder.join(NO_IOMMU).parent().unwrap()).unwrap();
        let reg = [0u64, 64 << 20, 64 << 20, 64 << 20].map(u64::to_be_bytes).concat();
        fs::write(flash.join("of_node/reg"), reg).unwrap();
        for file in [folder.join(NO_IOMMU), folder.join(PROBE), flash.join("driver_override")] {
            fs::write(file, "N").unwrap();
        }
        symlink("/sys/bus/platform/drivers/vfio-platform", flash.join("driver")).unwrap();
        symlink("/sys/kernel/iommu_groups/3", flash.join("iommu_group")).unwrap();
        (Root::at(folder), flash)
    }

    #[test]
    fn a_bound_device_is_described() {
        let folder = tempfile::tempdir().unwrap();
        let (root, flash) = fixture(folder.path());
        let bound = bind(&root, "flash", "0.flash", &[]).unwrap();
        assert_eq!((bound.address.as_str(), bound.driver.as_str()), ("0.flash", "vfio-platform"));
        assert_eq!((bound.iommu_group, bound.bars.len(), bound.bars[0].size), (Some(3), 2, 64 << 20));
        assert_eq!(fs::read_to_string(folder.path().join(NO_IOMMU)).unwrap(), "N", "it was bound already");
        fs::remove_file(flash.join("iommu_group")).unwrap();
        let failure = bind(&root, "flash", "0.flash", &[]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Missing(Facility::VfioNoIommu));
    }

    #[test]
    fn a_device_without_driver_is_probed_without_an_iommu() {
        let folder = tempfile::tempdir().unwrap();
        let (root, flash) = fixture(folder.path());
        fs::remove_file(flash.join("driver")).unwrap();
        let failure = bind(&root, "flash", "0.flash", &[]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Refused(Facility::VfioPlatform), "nobody probes in a fixture");
        let text = |file: PathBuf| fs::read_to_string(file).unwrap();
        assert_eq!(text(folder.path().join(NO_IOMMU)), "1");
        assert_eq!(text(flash.join("driver_override")), "vfio-platform");
        assert_eq!(text(folder.path().join(PROBE)), "0.flash");
    }

    #[test]
    fn what_the_kernel_lacks_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (root, _) = fixture(folder.path());
        let kind = |name: &str| bind(&root, "flash", name, &[]).unwrap_err().kind;
        assert_eq!(kind("1000.flash"), FailureKind::Invalid);
        assert_eq!(kind("../0.flash"), FailureKind::Invalid);
        fs::remove_file(folder.path().join(NO_IOMMU)).unwrap();
        assert_eq!(kind("0.flash"), FailureKind::Missing(Facility::VfioNoIommu));
        fs::remove_dir(folder.path().join(DRIVER)).unwrap();
        assert_eq!(kind("0.flash"), FailureKind::Missing(Facility::VfioPlatform));
    }

    #[test]
    fn a_released_device_has_no_driver_and_its_host_serves_no_other_cell() {
        let folder = tempfile::tempdir().unwrap();
        let (root, flash) = fixture(folder.path());
        fs::remove_file(flash.join("driver")).unwrap();
        fs::create_dir(flash.join("driver")).unwrap();
        fs::write(flash.join("driver/unbind"), "").unwrap();
        let failure = release(&root, &Name::parse("0.flash").unwrap()).unwrap_err();
        assert!(failure.message.contains("tainted"), "{}", failure.message);
        assert_eq!(fs::read_to_string(flash.join("driver/unbind")).unwrap(), "0.flash");
        assert_eq!(fs::read_to_string(flash.join("driver_override")).unwrap(), "\n");
    }
}
