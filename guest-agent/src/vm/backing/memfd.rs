//! A file of memfd_create(2), as VMMs use it to share RAM with other processes.

use super::map_at;
use crate::fault;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use s2lab_protocol::Failure;
use std::ffi::c_void;
use std::ptr::NonNull;

/// Maps `length` bytes of a new file at `at`, where they are reserved. The file lives as long as the
/// mapping.
pub(super) fn map(at: NonNull<c_void>, length: usize) -> Result<(), Failure> {
    let failed = |why| fault::system("map", format_args!("a memfd of {length} bytes"), why);
    let file = memfd_create("ram", MemfdFlags::CLOEXEC).map_err(failed)?;
    ftruncate(&file, length as u64).map_err(failed)?;
    // SAFETY: the range is reserved for this mapping.
    unsafe { map_at(at.as_ptr(), length, &file, 0) }.map(drop).map_err(failed)
}
