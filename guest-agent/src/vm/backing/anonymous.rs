//! Anonymous memory.

use super::reserve;
use crate::fault;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use s2lab_protocol::Failure;
use std::ffi::c_void;
use std::ptr::NonNull;

/// Maps `size` bytes of zeroes.
pub(crate) fn map(size: u64) -> Result<NonNull<c_void>, Failure> {
    let failed = |why: &dyn std::fmt::Display| fault::system("map", format_args!("{size} bytes"), why);
    let length = usize::try_from(size).map_err(|why| failed(&why))?;
    let (base, _) = reserve(length).map_err(|why| failed(&why))?;
    // SAFETY: the range is reserved for this mapping.
    let mapped = unsafe {
        mmap_anonymous(
            base.as_ptr(),
            length,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::FIXED,
        )
    };
    let mapped = mapped.map_err(|why| failed(&why))?;
    NonNull::new(mapped).ok_or_else(|| failed(&"it lies at address 0"))
}
