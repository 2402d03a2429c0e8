//! The kinds of files from outside, and the limit of each. `docs/formats.md` lists the limits.

use std::fmt;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A kind of file, and its limit, which is far more than any such file has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The name with its article.
    pub name: &'static str,
    /// The limit in bytes.
    pub limit: u64,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $limit:expr;)*) => {
        $($(#[$doc])* pub const $constant: Kind = Kind { name: $name, limit: $limit };)*
        /// All kinds.
        #[cfg(test)]
        pub const ALL: &[Kind] = &[$($constant),*];
    };
}

kinds! {
    /// `events.jsonl`. A cell writes some 100 KiB into it.
    EVENT_LOG = "an event log", 256 * MIB;
    /// A run in one file. The limit holds for what it unpacks to as well.
    BUNDLE = "a bundle", GIB;
    /// A console of a cell, or another log in its folder. Consoles are kept up to 64 MiB.
    CONSOLE = "a console", 65 * MIB;
    /// A page of a table in `raw/`; the largest granule has 64 KiB.
    TABLE_PAGE = "a table page", 64 * KIB;
    /// An accepted report.
    REPORT = "a report", 4 * MIB;
    /// A version of an accepted report, or of what was in its place, that git compares.
    COMPARED = "a file that git compares", 256 * MIB;
    /// A file of `s2lab plan`. A cell has some 4 KiB in it.
    PLAN = "a plan", 64 * MIB;
    /// A scenario or a list of kernels. The parser's limit is lower, and its error shows the place.
    YAML = "a YAML file", 16 * MIB;
    /// A mailbox or a patch; the longest series on kernel lists have some 5 MB.
    PATCHES = "a series", 64 * MIB;
    /// quilt's `series`.
    PATCH_LIST = "a list of patches", MIB;
    /// `.config` and fragments of one; Debian's have 0.3 MB.
    CONFIG = "a kernel configuration", 16 * MIB;
    /// One with all of Debian's drivers has 8 MB.
    SYSTEM_MAP = "a System.map", 256 * MIB;
    /// Debian's with pages of 16K has 45 MB. It is read into memory.
    IMAGE = "a kernel image", 384 * MIB;
    MODULE = "a kernel module", 64 * MIB;
    /// `modules.builtin` and its like.
    MODULE_LIST = "a list of kernel modules", 16 * MIB;
    /// Modules that are fetched. With all of Debian's drivers they have 0.5 GB. It is read into memory.
    MODULE_ARCHIVE = "an archive of kernel modules", 2 * GIB;
    /// An archive that the cache has made for a host or a guest, or a file in one.
    ARCHIVE = "an archive", 4 * GIB;
    /// A program or a library: QEMU, the agent, a part of a user land.
    PROGRAM = "a program", GIB;
    /// A file of the user's that goes into a host. It is read into memory.
    COPY = "a file to copy", 64 * MIB;
    /// A program that a scenario brings. A guest has it in its RAM.
    TEST_PROGRAM = "a program of a scenario", 16 * MIB;
    /// A file of a kernel's source.
    SOURCE_FILE = "a file of a kernel's source", 256 * MIB;
    /// An archive of the source of a kernel, or a package.
    PACKAGE = "a package", 4 * GIB;
    /// A manifest of an object, or a note about packages.
    MANIFEST = "a file of the cache", 256 * MIB;
    /// A note of a few words.
    NOTE = "a note of s2lab's", MIB;
    /// A file in `/proc`, `/sys/fs/cgroup` or `/etc`.
    SYSTEM = "a file of the system", 16 * MIB;
    /// The log of a program that s2lab has started.
    PROGRAM_LOG = "a program's log", 64 * MIB;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::Size;
    use std::path::Path;

    #[test]
    fn the_document_has_every_limit() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (_, section) = text.split_once("## Limits of files\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        let due = ALL.iter().map(|kind| format!("| {} | {} |", kind.name, Size(kind.limit)));
        assert_eq!(rows, due.collect::<Vec<_>>());
    }
}
