//! Anonymous memory, with or without advice about transparent huge pages (madvise(2)).

use crate::fault;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use s2lab_protocol::{Facility, Failure};
use std::ffi::c_void;
use std::ptr::NonNull;

/// The advice for memory with transparent huge pages, and for memory without.
pub(super) const HUGE: Advice = Advice::LinuxHugepage;
pub(super) const SMALL: Advice = Advice::LinuxNoHugepage;

/// Maps `length` bytes of zeroes at `at`, where they are reserved.
pub(super) fn map(at: NonNull<c_void>, length: usize) -> Result<(), Failure> {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    // SAFETY: the range is reserved for this mapping.
    let mapped = unsafe { mmap_anonymous(at.as_ptr(), length, ProtFlags::READ | ProtFlags::WRITE, flags) };
    mapped.map(drop).map_err(|why| fault::system("map", format_args!("{length} bytes"), why))
}

/// Like [`map`], with an advice about huge pages.
pub(super) fn map_advised(at: NonNull<c_void>, length: usize, advice: Advice) -> Result<(), Failure> {
    map(at, length)?;
    // SAFETY: the mapping is new, and the advice does not change its bytes.
    unsafe { madvise(at.as_ptr(), length, advice) }.map_err(|why| match why {
        // A kernel without CONFIG_TRANSPARENT_HUGEPAGE does not know the advice.
        Errno::INVAL => {
            fault::missing(Facility::TransparentHugePages, "madvise knows no transparent huge pages")
        }
        why => fault::system("advise the kernel about", format_args!("{length} bytes"), why),
    })
}
