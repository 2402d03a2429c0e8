//! A BAR through VFIO, by group and container: like QEMU without iommufd (Linux
//! Documentation/driver-api/vfio.rst, "VFIO Usage Example"). Only a virtual function makes DMA: the guest's RAM is
//! mapped for it.

use super::{Backing, Source, length, map_aligned};
use crate::pci::{self, Address};
use crate::platform::{self, Name};
use crate::vfio::{self, Dma, Iommu};
use crate::{fault, root::Root};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use s2lab_protocol::{Bar, Facility, Failure};
use std::fmt::Display;

/// Maps a BAR of a function. If `dma` is given, the function may access that memory.
pub(super) fn map(root: &Root, address: &Address, bar: Bar, dma: Option<Dma>) -> Result<Backing, Failure> {
    let way = Way { device: address, iommu: Iommu::Type1, facility: Facility::VfioPci };
    let opened = way.open(root, &pci::group(root, address)?.to_string())?;
    vfio::set_memory_space(&opened.device, true).map_err(|why| way.refused("enable", &why))?;
    let request =
        eventfd(0, EventfdFlags::CLOEXEC).map_err(|why| fault::system("make", "an eventfd", why))?;
    vfio::signal_request(&opened.device, request.as_raw_fd())
        .map_err(|why| way.refused("get requests for", &why))?;
    if let Some(dma) = dma {
        vfio::map_dma(&opened.container, dma).map_err(|why| way.refused("map memory for", &why))?;
        vfio::set_bus_master(&opened.device).map_err(|why| way.refused("enable DMA of", &why))?;
    }
    way.map(opened, bar, Some(request))
}

/// Maps a region of a platform device. Its group has a name of its own, because there is no IOMMU (Linux
/// 6.1 drivers/vfio/vfio_main.c, vfio_group_alloc).
pub(super) fn map_platform(root: &Root, name: &Name, region: Bar) -> Result<Backing, Failure> {
    let way = Way { device: name, iommu: Iommu::None, facility: Facility::VfioPlatform };
    let opened = way.open(root, &format!("noiommu-{}", platform::group(root, name)?))?;
    way.map(opened, region, None)
}

/// The way to a device.
struct Way<'a> {
    device: &'a dyn Display,
    iommu: Iommu,
    /// The facility that refuses if a call fails.
    facility: Facility,
}

/// A device's file, and those without which it would go.
struct Opened {
    device: OwnedFd,
    group: OwnedFd,
    container: OwnedFd,
}

impl Way<'_> {
    fn refused(&self, doing: &str, why: &dyn Display) -> Failure {
        fault::refused(self.facility, format_args!("cannot {doing} {} through VFIO: {why}", self.device))
    }

    /// Opens the device of a group by the file's name of the group.
    fn open(&self, root: &Root, group: &str) -> Result<Opened, Failure> {
        let opened = |name: &str| {
            let path = root.path("dev/vfio").join(name);
            open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|why| {
                self.refused("open the group or container of", &format_args!("{}: {why}", path.display()))
            })
        };
        let (container, group) = (opened("vfio")?, opened(group)?);
        vfio::attach(&group, container.as_raw_fd())
            .map_err(|why| self.refused("attach the group of", &why))?;
        vfio::use_iommu(&container, self.iommu).map_err(|why| self.refused("use the IOMMU for", &why))?;
        let device = vfio::device(&group, &self.device.to_string());
        let device = device.map_err(|why| self.refused("open", &why))?;
        Ok(Opened { device, group, container })
    }

    fn map(
        &self,
        Opened { device, group, container }: Opened,
        bar: Bar,
        request: Option<OwnedFd>,
    ) -> Result<Backing, Failure> {
        let region = vfio::region(&device, bar.index.into());
        let region = region.map_err(|why| self.refused("find a BAR of", &why))?;
        if region.size != bar.size || !region.may_map() {
            let what = format!("a region of {:#x} bytes, flags {:#x}", region.size, region.flags);
            return Err(self.refused("map a BAR of", &what));
        }
        let (length, offset) = (length(bar)?, region.offset);
        let base = map_aligned(device.as_fd(), offset, length, &self.device)?;
        let source = Source { file: device, offset, _others: vec![group, container], request };
        Ok(Backing { base, length, source: Some(source) })
    }
}
