//! The VMAs through which a VMM maps a BAR, in the list of the host's kernel.

use super::{At, Record};
use crate::scenario::AssignDriver;
use crate::steps::VmaFlags;
use s2lab_protocol::{Bar, MODULE_DEVICE, Vma};
use std::ops::Range;

/// The shift of a region's index in VFIO's file offsets (VFIO_PCI_OFFSET_SHIFT,
/// include/linux/vfio_pci_core.h).
const VFIO_REGION_SHIFT: u32 = 40;
/// The name of a BAR's file in sysfs follows the PCI address and this.
const SYSFS: &str = "/resource";
/// The smallest page of an arm64 kernel.
const PAGE: u64 = 4096;
/// The largest one. A VMA over a BAR that is smaller may have a whole page.
const LARGEST_PAGE: u64 = 64 << 10;

/// Returns the VMAs of a guest's VMM over the device's BAR: see [`reported`].
pub(crate) fn over_bar<'a>(record: &'a Record, step: usize, guest: &str, device: &str) -> Vec<&'a Vma> {
    let Some(bar) = record.session.around.bar(device) else { return vec![] };
    let bound = record.session.around.devices.get(device);
    let way = record.planned.resolved.assigned(device).unwrap_or(AssignDriver::VfioPci);
    let is_named = |vma: &&Vma| match way {
        AssignDriver::VfioPci | AssignDriver::VfioPlatform | AssignDriver::VirtualFunction => {
            [SYSFS, MODULE_DEVICE].iter().all(|other| !vma.name.contains(other))
        }
        AssignDriver::Sysfs | AssignDriver::SysfsWc => {
            bound.is_some_and(|bound| vma.name.contains(&format!("{}{SYSFS}", bound.address)))
        }
        AssignDriver::Module => vma.name.contains(MODULE_DEVICE),
    };
    // vfio-platform always puts the physical address there (Linux 6.1 and 6.12
    // drivers/vfio/platform/vfio_platform_common.c, vfio_platform_mmap_mmio), and so does the module.
    let is_over = |vma: &&Vma| match way {
        AssignDriver::VfioPlatform | AssignDriver::Module => by_address(vma, bar).is_some(),
        AssignDriver::VfioPci
        | AssignDriver::VirtualFunction
        | AssignDriver::Sysfs
        | AssignDriver::SysfsWc => offset_in(vma, bar).is_some(),
    };
    let all = reported(record, step, guest, device).into_iter().flatten();
    all.filter(is_named).filter(is_over).collect()
}

/// Returns the VMAs in the last report about the guest and the device before the look in `step`, or
/// the first one after it.
pub(crate) fn reported<'a>(record: &'a Record, step: usize, guest: &str, device: &str) -> Option<&'a [Vma]> {
    let of = |flags: &At<'_, VmaFlags>| flags.guest == guest && flags.device == device;
    let reports = || record.all().filter(of);
    let before = reports().filter(|flags| flags.step <= step).max_by_key(|flags| flags.step);
    let report = before.or_else(|| reports().min_by_key(|flags| flags.step))?;
    Some(&report.data.vmas)
}

/// Returns the offset in the BAR at which a VMA begins, if it is one over the BAR.
///
/// Until vfio-pci faulted pages in one by one, it put the physical address where the region had
/// been (Linux 6.1 drivers/vfio/pci/vfio_pci_core.c, vfio_pci_core_mmap rewrites vm_pgoff; 6.12
/// does not). If only the region identifies the BAR, devices with BARs of one size share their
/// VMAs; then all of them must have the same flag.
pub(crate) fn offset_in(vma: &Vma, bar: Bar) -> Option<u64> {
    let in_region = vma.offset >> VFIO_REGION_SHIFT == u64::from(bar.index)
        && vma.end.saturating_sub(vma.start) <= bar.size.max(LARGEST_PAGE);
    let by_region = in_region.then_some(vma.offset & ((1 << VFIO_REGION_SHIFT) - 1));
    by_address(vma, bar).or(by_region)
}

fn by_address(vma: &Vma, bar: Bar) -> Option<u64> {
    vma.offset.checked_sub(bar.start).filter(|offset| *offset < bar.size)
}

/// Returns a property that no VMAs of a mapped BAR can have: not made of pages, beyond the BAR, or
/// over a part of it only.
pub(crate) fn contradiction(record: &Record, device: &str, vmas: &[&Vma]) -> Option<String> {
    let bar = record.session.around.bar(device)?;
    let page = record.session.host.as_ref().map_or(PAGE, |host| u64::from(host.page_size));
    let mut parts = vec![];
    for vma in vmas {
        let whole = || within(vma, bar, page);
        let Some(part) = whole() else {
            let Vma { start, end, offset, .. } = vma;
            return Some(format!("{start:#x}..{end:#x} at offset {offset:#x}"));
        };
        parts.push(part);
    }
    parts.sort_by_key(|part| part.start);
    let reached = parts.iter().fold(0, |reached, part| match part.start <= reached {
        true => part.end.max(reached),
        false => reached,
    });
    (reached < bar.size).then(|| format!("{reached:#x} of {:#x} bytes", bar.size))
}

/// Returns the bytes of the BAR that a VMA maps, if it is made of pages of it. The host has pages of `page` bytes.
fn within(vma: &Vma, bar: Bar, page: u64) -> Option<Range<u64>> {
    let pages = [vma.start, vma.end, vma.offset].iter().all(|number| number.is_multiple_of(PAGE));
    let length = vma.end.checked_sub(vma.start).filter(|length| *length > 0 && pages)?;
    let start = offset_in(vma, bar)?;
    let end = start.checked_add(length)?;
    (end <= bar.size.checked_next_multiple_of(page)?).then_some(start..end)
}
