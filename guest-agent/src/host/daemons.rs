//! The daemons of the host's kernel that move pages by themselves, which wait.
//!
//! khugepaged collects pages into huge ones, and kcompactd moves them. Such a page is gone from stage 2 until the guest
//! accesses it again (Linux mm/khugepaged.c, collapse_huge_page; mm/migrate.c). A look in this moment would find a
//! table of the guest's stage 1 missing. Huge pages that a fault or madvise(2) asks for come as before.

use crate::root::Root;

/// The pause of khugepaged in milliseconds: the most that the kernel takes.
const KHUGEPAGED: (&str, &str) =
    ("sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "4294967295");
/// The part of the memory for which kcompactd works ahead of need, in percent.
const KCOMPACTD: (&str, &str) = ("proc/sys/vm/compaction_proactiveness", "0");

/// Makes them wait. A kernel without one of them has nothing to write to.
pub(super) fn wait(root: &Root) {
    for (file, value) in [KHUGEPAGED, KCOMPACTD] {
        drop(root.write(file, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn those_that_the_kernel_has_wait() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        wait(&root);
        assert!(!root.exists(KHUGEPAGED.0) && !root.exists(KCOMPACTD.0));
        let file = folder.path().join(KHUGEPAGED.0);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "10000\n").unwrap();
        wait(&root);
        assert_eq!(fs::read_to_string(file).unwrap().parse::<u32>(), Ok(u32::MAX));
        assert!(!root.exists(KCOMPACTD.0));
        let file = folder.path().join(KCOMPACTD.0);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "2").unwrap();
        wait(&root);
        assert_eq!(fs::read_to_string(file).unwrap(), "0");
    }
}
