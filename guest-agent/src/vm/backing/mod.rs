//! The memory behind a memslot: a file for each kind.

mod anonymous;
mod hugetlb;
mod memfd;
mod module;
mod sysfs;
mod vfio;

use crate::fault;
use crate::pci::{self, Address};
use crate::platform::{self, Name};
use crate::root::Root;
use crate::vfio::Dma;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mm::{
    MapFlags, MprotectFlags, MremapFlags, ProtFlags, mmap, mmap_anonymous, mprotect, mremap_fixed, munmap,
};
use s2lab_protocol::ask::AssignedDevice;
use s2lab_protocol::{AssignKind, Bar, CONTIGUOUS_PAGES, Failure, HUGE_PAGE, ModuleVma, RamKind};
use std::ffi::c_void;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{NonNull, null_mut};

/// The time in which VFIO asks for a device that is unplugged. The slot's driver waits 5 s after its button was
/// pressed (Linux drivers/pci/hotplug/pciehp_ctrl.c, pciehp_handle_button_press).
const REQUESTED: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// Memory of this process that a memslot maps. It stays mapped as long as the process is alive.
#[derive(Debug)]
pub(super) struct Backing {
    base: NonNull<c_void>,
    /// Bytes.
    length: usize,
    /// None: the device was given up.
    source: Option<Source>,
}

/// The files behind a mapping.
#[derive(Debug)]
struct Source {
    /// The file that is mapped, from this offset.
    file: OwnedFd,
    offset: u64,
    /// Other files without which the memory would go.
    _others: Vec<OwnedFd>,
    /// The event with which VFIO asks for the device back.
    request: Option<OwnedFd>,
}

// SAFETY: it is an address, which only KVM uses.
unsafe impl Send for Backing {}
// SAFETY: as above.
unsafe impl Sync for Backing {}

impl Backing {
    /// Returns the address in this process.
    pub(super) fn address(&self) -> u64 {
        self.base.addr().get() as u64
    }

    /// Maps the same memory once more, over that of `other`.
    pub(super) fn map_over(&self, other: &Backing) -> Result<(), Failure> {
        if other.length > self.length {
            let (own, other) = (self.length, other.length);
            return Err(fault::invalid(format_args!("{own:#x} bytes do not replace {other:#x}")));
        }
        let failed = |why| fault::system("map", "one BAR over another", why);
        let Source { file, offset, .. } = self.source()?;
        // SAFETY: this process never reads or writes the memory of a backing itself.
        unsafe { map_at(other.base.as_ptr(), other.length, file, *offset) }.map_err(failed)?;
        Ok(())
    }

    /// Maps the second quarter of the memory once more, over itself. The kernel divides the VMA for that.
    pub(super) fn renew(&self) -> Result<(), Failure> {
        let quarter = self.length / 4;
        if quarter % rustix::param::page_size() != 0 || quarter == 0 {
            return Err(fault::invalid(format_args!(
                "{:#x} bytes are not four times whole pages",
                self.length
            )));
        }
        let at = self.base.with_addr(self.base.addr().saturating_add(quarter)).as_ptr();
        let failed = |why| fault::system("map", "a part of a BAR", why);
        let Source { file, offset, .. } = self.source()?;
        // SAFETY: this process never reads or writes the memory of a backing itself.
        unsafe { map_at(at, quarter, file, offset + quarter as u64) }.map_err(failed)?;
        Ok(())
    }

    fn source(&self) -> Result<&Source, Failure> {
        self.source.as_ref().ok_or_else(|| fault::invalid("the device was given up"))
    }

    /// Waits until VFIO asks for the device back.
    pub(super) fn wait_for_request(&self) -> Result<(), Failure> {
        let request = self.source()?.request.as_ref();
        let request = request.ok_or_else(|| fault::invalid("VFIO does not ask for this kind of device"))?;
        let failed = |why: &dyn std::fmt::Display| fault::system("wait for", "a request of VFIO", why);
        let mut polled = [PollFd::new(request, PollFlags::IN)];
        match poll(&mut polled, Some(&REQUESTED)) {
            Ok(0) => {
                Err(failed(&format_args!("it did not ask for the device in {} seconds", REQUESTED.tv_sec)))
            }
            Ok(_) => Ok(()),
            Err(why) => Err(failed(&why)),
        }
    }

    /// Gives the memory up: nothing of it is mapped after that, and its files are closed. The addresses stay
    /// reserved.
    pub(super) fn give_up(&mut self) -> Result<(), Failure> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: this process never reads or writes the memory of a backing itself.
        let unmapped = unsafe { mmap_anonymous(self.base.as_ptr(), self.length, ProtFlags::empty(), flags) };
        unmapped.map_err(|why| fault::system("unmap", "a BAR", why))?;
        self.source = None;
        Ok(())
    }

    /// Gives this process permission to write to the memory, or takes it.
    pub(super) fn set_writable(&self, write: bool) -> Result<(), Failure> {
        let write = if write { MprotectFlags::WRITE } else { MprotectFlags::empty() };
        // SAFETY: this process never reads or writes the memory of a backing itself.
        let set = unsafe { mprotect(self.base.as_ptr(), self.length, MprotectFlags::READ | write) };
        set.map_err(|why| fault::system("change", "the permissions of a BAR's mapping", why))
    }

    /// Moves the mapping to another address of this process, which is aligned alike.
    pub(super) fn remap(&mut self) -> Result<(), Failure> {
        let reserved = reserve(self.length);
        let (base, _) = reserved.map_err(|why| fault::system("move", "the mapping of a BAR", why))?;
        self.move_to(base)
    }

    /// Moves the mapping to `base`, where so many bytes are reserved.
    pub(super) fn move_to(&mut self, base: NonNull<c_void>) -> Result<(), Failure> {
        let (from, length) = (self.base.as_ptr(), self.length);
        // SAFETY: the new range is reserved for this mapping; only KVM uses the old one.
        let moved = unsafe { mremap_fixed(from, length, length, MremapFlags::MAYMOVE, base.as_ptr()) };
        moved.map_err(|why| fault::system("move", "the mapping of a BAR", why))?;
        self.base = base;
        Ok(())
    }
}

/// Returns the BAR of a device that a guest gets.
pub(super) fn bar(
    root: &Root,
    AssignedDevice { kind, host_address, .. }: &AssignedDevice,
) -> Result<Bar, Failure> {
    let bars = match kind {
        AssignKind::VfioPci
        | AssignKind::Sysfs
        | AssignKind::SysfsWc
        | AssignKind::Module
        | AssignKind::VirtualFunction => pci::bars(root, &Address::parse(host_address)?),
        AssignKind::VfioPlatform => platform::regions(root, &Name::parse(host_address)?),
    };
    let none = || fault::invalid(format_args!("{host_address} has no prefetchable BAR"));
    Bar::chosen(bars?).ok_or_else(none)
}

/// Maps that BAR. If `dma` is given, the device may access that memory.
pub(super) fn of(
    root: &Root,
    AssignedDevice { kind, host_address, vma, .. }: &AssignedDevice,
    bar: Bar,
    dma: Option<Dma>,
) -> Result<Backing, Failure> {
    let address = || Address::parse(host_address);
    match kind {
        AssignKind::VfioPci | AssignKind::VirtualFunction => vfio::map(root, &address()?, bar, dma),
        AssignKind::Sysfs => sysfs::map(root, &address()?, bar, ""),
        AssignKind::SysfsWc => sysfs::map(root, &address()?, bar, "_wc"),
        AssignKind::VfioPlatform => vfio::map_platform(root, &Name::parse(host_address)?, bar),
        AssignKind::Module => module::map(root, &address()?, bar, of_module(*vma)?),
    }
}

/// Returns the VMA that a request has for the module.
fn of_module(vma: Option<ModuleVma>) -> Result<ModuleVma, Failure> {
    vma.ok_or_else(|| fault::invalid("the request says nothing about the module's VMA"))
}

/// Maps RAM of this kind at `at`, where `length` bytes are reserved. `vma` is that of [`RamKind::Module`].
pub(super) fn ram(
    root: &Root,
    (kind, vma): (RamKind, Option<ModuleVma>),
    at: NonNull<c_void>,
    length: usize,
) -> Result<(), Failure> {
    match kind {
        RamKind::Anonymous => anonymous::map(at, length),
        RamKind::Memfd => memfd::map(at, length),
        RamKind::Hugetlb => hugetlb::map(root, HUGE_PAGE, at, length),
        RamKind::Hugetlb64K => hugetlb::map(root, CONTIGUOUS_PAGES, at, length),
        RamKind::Thp | RamKind::ThpAskew => anonymous::map_advised(at, length, anonymous::HUGE),
        RamKind::NoThp => anonymous::map_advised(at, length, anonymous::SMALL),
        RamKind::Module => module::map_ram(root, of_module(vma)?, at, length),
    }
}

/// Returns the length of a BAR in this address space.
fn length(bar: Bar) -> Result<usize, Failure> {
    let length = usize::try_from(bar.size).ok();
    length.ok_or_else(|| {
        fault::invalid(format_args!("a BAR of {} bytes does not fit the address space", bar.size))
    })
}

/// Maps `length` bytes of `file` from `offset`, shared, at an address that is aligned like the BAR,
/// so that the host's kernel may map it by blocks: as QEMU does (QEMU 10.0 hw/vfio/region.c,
/// vfio_region_mmap).
fn map_aligned(
    file: impl AsFd,
    offset: u64,
    length: usize,
    what: &dyn std::fmt::Display,
) -> Result<NonNull<c_void>, Failure> {
    let failed = |why| fault::system("map", what, why);
    let (base, _reserved) = reserve(length).map_err(failed)?;
    // SAFETY: the range is reserved for this mapping.
    let mapped = unsafe { map_at(base.as_ptr(), length, file, offset) }.map_err(failed)?;
    NonNull::new(mapped).ok_or_else(|| fault::system("map", what, "it lies at address 0"))
}

/// Maps a file, shared, at this address.
///
/// # Safety
/// Nobody uses what is mapped there before.
unsafe fn map_at(
    at: *mut c_void,
    length: usize,
    file: impl AsFd,
    offset: u64,
) -> rustix::io::Result<*mut c_void> {
    let (rights, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED);
    // SAFETY: the caller's.
    unsafe { mmap(at, length, rights, flags, file, offset) }
}

/// Reserves `length` bytes at an address that is a multiple of their size, rounded up to a power of
/// two.
pub(super) fn reserve(length: usize) -> rustix::io::Result<(NonNull<c_void>, usize)> {
    let align = length.next_power_of_two();
    let whole = length.saturating_add(align);
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of this process.
    let base = unsafe {
        mmap_anonymous(null_mut(), whole, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)
    }?;
    let start = base.addr().next_multiple_of(align);
    let (before, after) = (start - base.addr(), base.addr() + whole - (start + length));
    // Pages of any size: a rest of less than one stays.
    let page = rustix::param::page_size();
    let (behind, after) = ((start + length).next_multiple_of(page), after / page * page);
    // SAFETY: both ranges are parts of the new mapping that nobody uses.
    unsafe {
        if before > 0 {
            munmap(base, before)?;
        }
        if after > 0 {
            munmap(base.with_addr(behind), after)?;
        }
    }
    NonNull::new(base.with_addr(start)).map(|base| (base, length)).ok_or(rustix::io::Errno::NOMEM)
}

#[cfg(test)]
impl Backing {
    /// Makes VFIO ask for the device back.
    pub(super) fn ask(&mut self) {
        let event = rustix::event::eventfd(1, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        self.source.as_mut().unwrap().request = Some(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn a_file_is_mapped_at_a_multiple_of_its_size() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 3 << 20]).unwrap();
        let base = map_aligned(file.as_fd(), 1 << 20, 2 << 20, &"a file").unwrap();
        assert_eq!(base.addr().get() % (2 << 20), 0);
        // SAFETY: within the mapping.
        assert_eq!(unsafe { base.cast::<u8>().add((2 << 20) - 1).read() }, 7);
    }
}
