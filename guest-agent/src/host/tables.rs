//! The memory of the host's secondary page tables, in its kernel's own account.

use crate::root::Root;
use s2lab_protocol::TableMemory;
use std::time::{Duration, Instant};

/// The time in which the kernel frees the tables of guests that have ended. It frees some of them
/// after a grace period of RCU (Linux 6.12 arch/arm64/kvm/mmu.c, stage2_free_unlinked_table).
const PATIENCE: Duration = Duration::from_secs(3);
/// The time between two readings.
const PAUSE: Duration = Duration::from_millis(20);

/// Returns `SecPageTables` of `/proc/meminfo` in KiB, or None if the kernel has no such line
/// (before Linux 6.1).
pub(super) fn memory(root: &Root) -> Option<u64> {
    // Each CPU counts for itself, and adds its counts to the total about once a second. A write to
    // this file does it now (mm/vmstat.c, vmstat_refresh). A kernel without it is only less exact.
    drop(root.write("proc/sys/vm/stat_refresh", "1"));
    let text = root.read("proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("SecPageTables:"))?;
    line.strip_suffix(" kB")?.trim().parse().ok()
}

/// Returns the account of guests that have all ended, once nothing of them is left or
/// [`PATIENCE`] is over.
pub(super) fn freed(root: &Root, before: u64) -> Option<TableMemory> {
    let begin = Instant::now();
    loop {
        let after = memory(root)?;
        if after <= before || begin.elapsed() > PATIENCE {
            return Some(TableMemory { before, after });
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a root whose kernel prints this.
    fn root(meminfo: &str) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("proc")).unwrap();
        std::fs::write(folder.path().join("proc/meminfo"), meminfo).unwrap();
        let root = Root::at(folder.path());
        (folder, root)
    }

    #[test]
    fn the_line_is_that_of_the_kernel() {
        let (_folder, root) =
            root("PageTables:          1024 kB\nSecPageTables:        52 kB\nBounce: 0 kB\n");
        assert_eq!(memory(&root), Some(52));
        let is_there = |text: &str| memory(&self::root(text).1).is_some();
        assert!(!is_there("PageTables: 1024 kB\n") && !is_there("SecPageTables: many kB\n"));
        assert!(!is_there("SecPageTables: 4\n"));
    }

    #[test]
    fn what_stays_is_reported_after_a_while() {
        let (_folder, root) = root("SecPageTables:        52 kB\n");
        assert_eq!(freed(&root, 52), Some(TableMemory { before: 52, after: 52 }));
        assert_eq!(freed(&root, 60), Some(TableMemory { before: 60, after: 52 }));
        let begin = Instant::now();
        assert_eq!(freed(&root, 48), Some(TableMemory { before: 48, after: 52 }));
        assert!(begin.elapsed() > PATIENCE);
    }
}
