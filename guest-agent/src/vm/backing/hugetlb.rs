//! Pages of 2 MiB from hugetlbfs. The host's pool of them is empty. It gets the pages for a mapping, and
//! its old size again once they are mapped: then they are surplus pages, which the host frees with the
//! mapping (Linux Documentation/admin-guide/mm/hugetlbpage.rst).

use crate::{fault, root::Root};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use s2lab_protocol::{Facility, Failure, HUGE_PAGE};
use std::ffi::c_void;
use std::ptr::NonNull;

/// The size of the pool, in pages.
const POOL: &str = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// Maps `length` bytes at `at`, where they are reserved.
pub(super) fn map(root: &Root, at: NonNull<c_void>, length: usize) -> Result<(), Failure> {
    let pages = length as u64 / HUGE_PAGE;
    if pages * HUGE_PAGE != length as u64 {
        return Err(fault::invalid(format_args!("{length:#x} bytes are not whole pages of 2 MiB")));
    }
    let pool = root.read(POOL).map_err(|why| {
        fault::missing(Facility::HugePages, format_args!("there are no pages of 2 MiB: /{POOL}: {why}"))
    })?;
    let before: u64 = pool.parse().map_err(|why| fault::system("read", POOL, why))?;
    root.write(POOL, &before.saturating_add(pages).to_string())?;
    let flags =
        MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::HUGETLB | MapFlags::HUGE_2MB | MapFlags::POPULATE;
    // SAFETY: the range is reserved for this mapping.
    let mapped = unsafe { mmap_anonymous(at.as_ptr(), length, ProtFlags::READ | ProtFlags::WRITE, flags) };
    let restored = root.write(POOL, &pool);
    // A host without so much free memory in one piece adds fewer pages to the pool.
    mapped.map_err(|why| fault::system("map", format_args!("{pages} pages of 2 MiB"), why))?;
    restored
}

#[cfg(test)]
mod tests {
    use super::super::reserve;
    use super::*;
    use s2lab_protocol::FailureKind;

    /// This machine's pool is empty, so a pool that is only a text gives no page.
    #[test]
    fn the_pool_has_its_old_size_again_and_its_absence_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let length = 2 * HUGE_PAGE as usize;
        let (at, _) = reserve(length).unwrap();
        let failure = map(&root, at, length).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Missing(Facility::HugePages), "{}", failure.message);
        std::fs::create_dir_all(root.path(POOL).parent().unwrap()).unwrap();
        std::fs::write(root.path(POOL), "3").unwrap();
        if let Err(failure) = map(&root, at, length) {
            assert!(failure.message.contains("2 pages of 2 MiB"), "{}", failure.message);
        }
        assert_eq!(root.read(POOL).unwrap(), "3");
        assert_eq!(map(&root, at, length + 4096).unwrap_err().kind, FailureKind::Invalid);
    }
}
