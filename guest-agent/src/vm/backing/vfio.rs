//! A BAR through VFIO, by group and container: like QEMU without iommufd (Linux
//! Documentation/driver-api/vfio.rst, "VFIO Usage Example"). No DMA is mapped: the devices make
//! none.

use super::{Backing, length, map_aligned};
use crate::pci::{Address, group};
use crate::vfio;
use crate::{fault, root::Root};
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{Mode, OFlags, open};
use s2lab_protocol::{Bar, Facility, Failure};

/// Maps a BAR.
pub(super) fn map(root: &Root, address: &Address, bar: Bar) -> Result<Backing, Failure> {
    let group = group(root, address)?;
    let refused = |doing: &str, why: &dyn std::fmt::Display| {
        fault::refused(Facility::VfioPci, format_args!("cannot {doing} {address} through VFIO: {why}"))
    };
    let opened = |name: &str| {
        let path = root.path("dev/vfio").join(name);
        open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|why| {
            refused("open the group or container of", &format_args!("{}: {why}", path.display()))
        })
    };
    let (container, group) = (opened("vfio")?, opened(&group.to_string())?);
    vfio::attach(&group, container.as_raw_fd()).map_err(|why| refused("attach the group of", &why))?;
    vfio::use_type1(&container).map_err(|why| refused("use the IOMMU for", &why))?;
    let device = vfio::device(&group, &address.to_string()).map_err(|why| refused("open", &why))?;
    vfio::set_memory_space(&device, true).map_err(|why| refused("enable", &why))?;
    let region = vfio::region(&device, bar.index.into()).map_err(|why| refused("find a BAR of", &why))?;
    if region.size != bar.size || !region.may_map() {
        let what = format!("a region of {:#x} bytes, flags {:#x}", region.size, region.flags);
        return Err(refused("map a BAR of", &what));
    }
    let (length, offset) = (length(bar)?, region.offset);
    let base = map_aligned(device.as_fd(), offset, length, &address)?;
    Ok(Backing { base, length, file: device, offset, _others: vec![group, container] })
}
