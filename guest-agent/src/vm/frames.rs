//! The frames of the host behind RAM, and compaction, which moves them.

use super::layout::BLOCK;
use super::ram::Ram;
use crate::{fault, root::Root};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use s2lab_protocol::Failure;
use std::ffi::c_void;
use std::os::unix::fs::FileExt;
use std::ptr::{NonNull, null_mut};

/// The frames of this process' pages, an entry each (Linux Documentation/admin-guide/mm/pagemap.rst).
const PAGEMAP: &str = "proc/self/pagemap";
/// Bytes of an entry.
const ENTRY: usize = size_of::<u64>();
/// The bit of an entry whose page is in memory, and the bits of its frame.
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;
/// Who writes to it has all of the host's memory compacted (Linux Documentation/admin-guide/sysctl/vm.rst).
const COMPACT: &str = "proc/sys/vm/compact_memory";

/// Bytes of the memory that has the holes. With less of it than a host's initramfs has freed, they may be below RAM.
const HOLES: usize = 256 << 20;

/// Memory of this process that leaves the most of each huge page free. Compaction moves pages from low addresses to
/// free ones in high blocks, but to none in a block that is free as a whole (Linux 6.1 to 7.2 mm/compaction.c,
/// suitable_migration_target). A host that has just booted has hardly others.
struct Holes(NonNull<c_void>);

impl Holes {
    fn new() -> rustix::io::Result<Holes> {
        let (rights, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of this process.
        let mapped = unsafe { mmap_anonymous(null_mut(), HOLES, rights, flags) }?;
        let holes = Holes(NonNull::new(mapped).ok_or(Errno::NOMEM)?);
        // A kernel without huge pages does not know the advice.
        let _unknown = holes.advise(0, HOLES, Advice::LinuxNoHugepage);
        holes.advise(0, HOLES, Advice::LinuxPopulateWrite)?;
        let page = rustix::param::page_size();
        for block in (0..HOLES).step_by(BLOCK as usize) {
            holes.advise(block + page, BLOCK as usize - page, Advice::LinuxDontNeed)?;
        }
        Ok(holes)
    }

    fn advise(&self, offset: usize, length: usize, advice: Advice) -> rustix::io::Result<()> {
        let at = self.0.with_addr(self.0.addr().saturating_add(offset));
        // SAFETY: a part of the mapping, whose bytes nobody uses.
        unsafe { madvise(at.as_ptr(), length, advice) }
    }
}

impl Drop for Holes {
    fn drop(&mut self) {
        // SAFETY: nobody uses the mapping.
        let _mapped = unsafe { munmap(self.0.as_ptr(), HOLES) };
    }
}

/// Has the host compact its memory.
///
/// # Errors
/// No page of RAM has another frame then.
pub(super) fn compact(root: &Root, ram: &Ram) -> Result<(), Failure> {
    let _holes = Holes::new().map_err(|why| fault::system("map", format_args!("{HOLES} bytes"), why))?;
    let before = entries(root, ram)?;
    root.write(COMPACT, "1")?;
    let (moved, present) = moved(&before, &entries(root, ram)?);
    match moved {
        0 => Err(fault::system("move", "pages of RAM", format_args!("all {present} have their old frames"))),
        _ => Ok(()),
    }
}

/// Returns the entries of RAM.
fn entries(root: &Root, ram: &Ram) -> Result<Vec<u64>, Failure> {
    let failed = |why| fault::system("read", format_args!("/{PAGEMAP}"), why);
    let (page, slot) = (rustix::param::page_size() as u64, ram.slots().0);
    let mut bytes = vec![0; (ram.size() / page) as usize * ENTRY];
    let map = std::fs::File::open(root.path(PAGEMAP)).map_err(failed)?;
    map.read_exact_at(&mut bytes, slot.address / page * ENTRY as u64).map_err(failed)?;
    let entries = bytes.chunks_exact(ENTRY).filter_map(<[u8]>::first_chunk);
    Ok(entries.map(|entry| u64::from_ne_bytes(*entry)).collect())
}

/// Returns the number of pages that have other frames, and of those that were there before.
fn moved(before: &[u64], after: &[u64]) -> (usize, usize) {
    let both = || before.iter().zip(after).filter(|(before, _)| **before & PRESENT != 0);
    let has_moved =
        |(before, after): &(&u64, &u64)| **after & PRESENT != 0 && (*before ^ *after) & FRAME != 0;
    (both().filter(has_moved).count(), both().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_moved_if_it_has_another_frame() {
        let soft_dirty = 1 << 55;
        let before = [PRESENT | 7, PRESENT | 8, 0, PRESENT | 9, PRESENT | 10];
        let after = [PRESENT | soft_dirty | 7, PRESENT | 4, PRESENT | 5, 0, PRESENT | 10];
        assert_eq!(moved(&before, &after), (1, 4));
    }

    #[test]
    fn the_frames_of_ram_are_found() {
        let ram = Ram::anonymous(1 << 20);
        ram.write(super::super::ram::Part { offset: 1 << 19, size: 8 }, b"there");
        let found = entries(&Root::machine(), &ram).unwrap();
        let page = rustix::param::page_size() as usize;
        assert_eq!(found.len(), (1 << 20) / page);
        assert!(found[0] & PRESENT == 0 && found[(1 << 19) / page] & PRESENT != 0, "{found:x?}");
    }

    #[test]
    fn pages_that_stay_are_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let (root, ram) = (Root::at(folder.path()), Ram::anonymous(1 << 20));
        let map = root.path(PAGEMAP);
        std::fs::create_dir_all(map.parent().unwrap()).unwrap();
        let file = std::fs::File::create(&map).unwrap();
        let last = (ram.slots().0.address + ram.size()) / rustix::param::page_size() as u64 * ENTRY as u64;
        file.set_len(last).unwrap();
        file.write_all_at(&(PRESENT | 7).to_ne_bytes(), last - ENTRY as u64).unwrap();
        assert!(compact(&root, &ram).unwrap_err().message.contains(COMPACT));
        std::fs::create_dir_all(root.path(COMPACT).parent().unwrap()).unwrap();
        std::fs::write(root.path(COMPACT), "").unwrap();
        let failure = compact(&root, &ram).unwrap_err();
        assert_eq!(failure.message, "cannot move pages of RAM: all 1 have their old frames");
        assert_eq!(std::fs::read_to_string(root.path(COMPACT)).unwrap(), "1");
    }
}
