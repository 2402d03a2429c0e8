//! Pages from hugetlbfs. The host's pool of pages of a size is empty. It gets the pages for a mapping, and its old
//! size again once they are mapped: then they are surplus pages, which the host frees with the mapping (Linux
//! Documentation/admin-guide/mm/hugetlbpage.rst).

use crate::{fault, root::Root};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use s2lab_protocol::{Facility, Failure};
use std::ffi::c_void;
use std::ptr::NonNull;

/// The place of a page's size, as a logarithm, in the flags of mmap (Linux
/// include/uapi/asm-generic/hugetlb_encode.h).
const SIZE_SHIFT: u32 = 26;

/// Returns the size of the pool, in pages of so many bytes.
fn pool(page: u64) -> String {
    format!("sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages", page >> 10)
}

/// Maps `length` bytes at `at`, where they are reserved, by pages of `page` bytes.
pub(super) fn map(root: &Root, page: u64, at: NonNull<c_void>, length: usize) -> Result<(), Failure> {
    let (pool, size) = (pool(page), page >> 10);
    let pages = length as u64 / page;
    if pages * page != length as u64 {
        return Err(fault::invalid(format_args!("{length:#x} bytes are not whole pages of {size} KiB")));
    }
    let text = root.read(&pool).map_err(|why| {
        fault::missing(Facility::HugePages, format_args!("there are no pages of {size} KiB: /{pool}: {why}"))
    })?;
    let before: u64 = text.parse().map_err(|why| fault::system("read", &pool, why))?;
    root.write(&pool, &before.saturating_add(pages).to_string())?;
    let of_size = MapFlags::from_bits_retain(page.trailing_zeros() << SIZE_SHIFT);
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::HUGETLB | of_size | MapFlags::POPULATE;
    // SAFETY: the range is reserved for this mapping.
    let mapped = unsafe { mmap_anonymous(at.as_ptr(), length, ProtFlags::READ | ProtFlags::WRITE, flags) };
    let restored = root.write(&pool, &text);
    // A host without so much free memory in one piece adds fewer pages to the pool.
    mapped.map_err(|why| fault::system("map", format_args!("{pages} pages of {size} KiB"), why))?;
    restored
}

#[cfg(test)]
mod tests {
    use super::super::reserve;
    use super::*;
    use s2lab_protocol::{FailureKind, HUGE_PAGE, RamKind};

    /// This machine's pools are empty, so a pool that is only a text gives no page.
    #[test]
    fn the_pool_has_its_old_size_again_and_its_absence_is_named() {
        for (kind, length, pages) in [
            (RamKind::Hugetlb, 2 * HUGE_PAGE, "2 pages of 2048 KiB"),
            (RamKind::Hugetlb64K, 3 << 16, "3 pages of 64 KiB"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (root, length) = (Root::at(folder.path()), length as usize);
            let (at, _) = reserve(length).unwrap();
            let page = kind.huge_page().unwrap();
            let failure = map(&root, page, at, length).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Missing(Facility::HugePages), "{}", failure.message);
            let pool = pool(page);
            std::fs::create_dir_all(root.path(&pool).parent().unwrap()).unwrap();
            std::fs::write(root.path(&pool), "3").unwrap();
            if let Err(failure) = map(&root, page, at, length) {
                assert!(failure.message.contains(pages), "{}", failure.message);
            }
            assert_eq!(root.read(&pool).unwrap(), "3");
            assert_eq!(map(&root, page, at, length + 4096).unwrap_err().kind, FailureKind::Invalid);
        }
    }

    /// Linux 6.1 include/uapi/linux/mman.h, MAP_HUGE_2MB.
    #[test]
    fn a_size_is_encoded_as_the_kernel_has_it() {
        assert_eq!(HUGE_PAGE.trailing_zeros() << SIZE_SHIFT, MapFlags::HUGE_2MB.bits());
    }
}
