//! The requests of VFIO that the agent makes (Linux include/uapi/linux/vfio.h, the same in 6.1 and
//! 7.2).

use crate::pci;
use rustix::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::Result;
use rustix::ioctl::{Ioctl, IoctlOutput, NoArg, Opcode, Setter, Updater, ioctl, opcode};
use std::ffi::{CString, c_void};

/// VFIO_TYPE, VFIO_BASE.
const TYPE: u8 = b';';
const BASE: u8 = 100;
const SET_IOMMU: Opcode = opcode::none(TYPE, BASE + 2);
const GROUP_SET_CONTAINER: Opcode = opcode::none(TYPE, BASE + 4);
const GROUP_GET_DEVICE_FD: Opcode = opcode::none(TYPE, BASE + 6);
const DEVICE_GET_REGION_INFO: Opcode = opcode::none(TYPE, BASE + 8);
const DEVICE_SET_IRQS: Opcode = opcode::none(TYPE, BASE + 10);
const DEVICE_RESET: Opcode = opcode::none(TYPE, BASE + 11);
const DEVICE_PCI_HOT_RESET: Opcode = opcode::none(TYPE, BASE + 13);
const IOMMU_MAP_DMA: Opcode = opcode::none(TYPE, BASE + 13);
const DEVICE_FEATURE: Opcode = opcode::none(TYPE, BASE + 17);
/// VFIO_TYPE1v2_IOMMU.
const TYPE1_V2: usize = 3;
/// VFIO_NOIOMMU_IOMMU.
const NO_IOMMU: usize = 8;
/// VFIO_REGION_INFO_FLAG_MMAP.
const FLAG_MMAP: u32 = 1 << 2;
/// VFIO_PCI_CONFIG_REGION_INDEX: the region of a function's configuration space. That of a BAR has
/// the number of the BAR.
const CONFIGURATION: u32 = 7;
/// VFIO_PCI_REQ_IRQ_INDEX: the kernel asks for the device back.
const REQUEST: u32 = 4;
/// VFIO_IRQ_SET_DATA_EVENTFD with VFIO_IRQ_SET_ACTION_TRIGGER.
const BY_EVENT: u32 = 1 << 2 | 1 << 5;
/// VFIO_DMA_MAP_FLAG_READ with VFIO_DMA_MAP_FLAG_WRITE.
const READ_AND_WRITE: u32 = 1 << 0 | 1 << 1;
/// VFIO_DEVICE_FEATURE_SET with VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY and _EXIT (since Linux 6.1).
const LOW_POWER_ENTRY: u32 = 1 << 17 | 3;
const LOW_POWER_EXIT: u32 = 1 << 17 | 5;

/// `struct vfio_region_info`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Region {
    argsz: u32,
    pub(crate) flags: u32,
    index: u32,
    cap_offset: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// The place in the device's file.
    pub(crate) offset: u64,
}

impl Region {
    pub(crate) fn may_map(&self) -> bool {
        self.flags & FLAG_MMAP != 0
    }
}

/// Puts a group into a container.
pub(crate) fn attach(group: impl AsFd, container: RawFd) -> Result<()> {
    // SAFETY: the kernel reads an int.
    unsafe { ioctl(group, Setter::<GROUP_SET_CONTAINER, RawFd>::new(container)) }
}

/// The IOMMU of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Iommu {
    Type1,
    /// For groups of devices that have none.
    None,
}

/// Gives a container an IOMMU.
pub(crate) fn use_iommu(container: impl AsFd, iommu: Iommu) -> Result<()> {
    let number = match iommu {
        Iommu::Type1 => TYPE1_V2,
        Iommu::None => NO_IOMMU,
    };
    // SAFETY: the argument is a number.
    unsafe { ioctl(container, rustix::ioctl::IntegerSetter::<SET_IOMMU>::new_usize(number)) }
}

/// Memory of this process that the devices of a container may access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dma {
    /// The first address for the devices.
    pub(crate) iova: u64,
    /// The first address in this process.
    pub(crate) address: u64,
    /// Bytes.
    pub(crate) size: u64,
}

/// Maps memory for the devices of a container. The kernel pins it.
pub(crate) fn map_dma(container: impl AsFd, Dma { iova, address, size }: Dma) -> Result<()> {
    /// `struct vfio_iommu_type1_dma_map`.
    #[repr(C)]
    struct Map {
        argsz: u32,
        flags: u32,
        vaddr: u64,
        iova: u64,
        size: u64,
    }
    let argsz = size_of::<Map>() as u32;
    let map = Map { argsz, flags: READ_AND_WRITE, vaddr: address, iova, size };
    // SAFETY: the kernel reads `argsz` bytes. Who uses the memory answers for what devices write to it.
    unsafe { ioctl(container, Setter::<IOMMU_MAP_DMA, Map>::new(map)) }
}

/// Opens the device of a group with this PCI address or name.
pub(crate) fn device(group: impl AsFd, address: &str) -> Result<OwnedFd> {
    let name = CString::new(address).map_err(|_| rustix::io::Errno::INVAL)?;
    // SAFETY: the argument is a string that lives until the call returns, and the result a file of
    // ours.
    unsafe { ioctl(group, GetDevice(name)) }
}

/// Returns a region of a device.
pub(crate) fn region(device: impl AsFd, index: u32) -> Result<Region> {
    let mut region = Region { argsz: size_of::<Region>() as u32, index, ..Region::default() };
    // SAFETY: the kernel reads and writes `argsz` bytes.
    unsafe { ioctl(device, Updater::<DEVICE_GET_REGION_INFO, Region>::new(&mut region)) }?;
    Ok(region)
}

/// Resets a device.
pub(crate) fn reset(device: impl AsFd) -> Result<()> {
    // SAFETY: the request takes no argument.
    unsafe { ioctl(device, NoArg::<DEVICE_RESET>::new()) }
}

/// Makes the kernel signal an eventfd when it asks for a PCI device back.
pub(crate) fn signal_request(device: impl AsFd, event: RawFd) -> Result<()> {
    /// `struct vfio_irq_set` with one eventfd.
    #[repr(C)]
    struct IrqSet {
        argsz: u32,
        flags: u32,
        index: u32,
        start: u32,
        count: u32,
        event: RawFd,
    }
    let argsz = size_of::<IrqSet>() as u32;
    let set = IrqSet { argsz, flags: BY_EVENT, index: REQUEST, start: 0, count: 1, event };
    // SAFETY: the kernel reads `argsz` bytes.
    unsafe { ioctl(device, Setter::<DEVICE_SET_IRQS, IrqSet>::new(set)) }
}

/// Lets a function decode its memory addresses, or not.
pub(crate) fn set_memory_space(device: impl AsFd, on: bool) -> Result<()> {
    change_command(device, |command| pci::with_memory_space(command, on))
}

/// Lets a function access memory by itself.
pub(crate) fn set_bus_master(device: impl AsFd) -> Result<()> {
    change_command(device, pci::with_bus_master)
}

/// Changes the command register of a function.
fn change_command(device: impl AsFd, change: impl Fn([u8; 2]) -> [u8; 2]) -> Result<()> {
    let configuration = region(&device, CONFIGURATION)?.offset;
    pci::change_command(device, configuration, change)
}

/// Lets a device go into a state of low power, or takes it out of it.
pub(crate) fn set_low_power(device: impl AsFd, low: bool) -> Result<()> {
    /// `struct vfio_device_feature` without data.
    #[repr(C)]
    struct Feature {
        argsz: u32,
        flags: u32,
    }
    let flags = if low { LOW_POWER_ENTRY } else { LOW_POWER_EXIT };
    let mut feature = Feature { argsz: size_of::<Feature>() as u32, flags };
    // SAFETY: the kernel reads `argsz` bytes.
    unsafe { ioctl(device, Updater::<DEVICE_FEATURE, Feature>::new(&mut feature)) }
}

/// Resets the bus of a device, all of whose devices belong to this group.
pub(crate) fn hot_reset(device: impl AsFd, group: RawFd) -> Result<()> {
    /// `struct vfio_pci_hot_reset` with one group.
    #[repr(C)]
    struct HotReset {
        argsz: u32,
        flags: u32,
        count: u32,
        group: RawFd,
    }
    let argsz = size_of::<HotReset>() as u32;
    let mut reset = HotReset { argsz, flags: 0, count: 1, group };
    // SAFETY: the kernel reads `argsz` bytes.
    unsafe { ioctl(device, Updater::<DEVICE_PCI_HOT_RESET, HotReset>::new(&mut reset)) }
}

/// `VFIO_GROUP_GET_DEVICE_FD`: a string in, a file descriptor out.
struct GetDevice(CString);

// SAFETY: the kernel reads the string up to its end and changes nothing; it returns a new file
// descriptor.
unsafe impl Ioctl for GetDevice {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        GROUP_GET_DEVICE_FD
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.0.as_ptr().cast_mut().cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<OwnedFd> {
        // SAFETY: the call succeeded, so `output` is a file descriptor that nobody else knows.
        Ok(unsafe { OwnedFd::from_raw_fd(output) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_kernels() {
        // include/uapi/linux/vfio.h as the preprocessor sees it.
        let of = [SET_IOMMU, GROUP_SET_CONTAINER, GROUP_GET_DEVICE_FD, DEVICE_GET_REGION_INFO, DEVICE_RESET];
        assert_eq!(of, [0x3b66, 0x3b68, 0x3b6a, 0x3b6c, 0x3b6f]);
        assert_eq!([DEVICE_SET_IRQS, DEVICE_PCI_HOT_RESET, DEVICE_FEATURE], [0x3b6e, 0x3b71, 0x3b75]);
        // The same number as that of another request, which is made of a device.
        assert_eq!(IOMMU_MAP_DMA, DEVICE_PCI_HOT_RESET);
        assert_eq!(size_of::<Region>(), 32);
    }

    #[test]
    fn a_file_that_is_not_of_vfio_is_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(attach(&null, 0).is_err() && use_iommu(&null, Iommu::None).is_err() && reset(&null).is_err());
        assert!(signal_request(&null, 0).is_err());
        assert!(device(&null, "0000:01:00.0").is_err() && region(&null, 0).is_err());
    }
}
