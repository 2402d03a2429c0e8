//! The root of sysfs, procfs, devtmpfs and programs: `/` in a machine, another folder in tests.

use s2lab_protocol::Failure;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest sysfs or procfs file that is read whole, bytes. sysfs files have at most one page, 64
/// KiB with the largest.
const MAX_TEXT: u64 = 64 * 1024;

/// The folder below which `sys`, `proc`, `dev` and `usr` lie.
#[derive(Debug, Clone)]
pub(crate) struct Root(PathBuf);

impl Root {
    pub(crate) fn machine() -> Root {
        Root(PathBuf::from("/"))
    }

    pub(crate) fn at(path: &Path) -> Root {
        Root(path.to_owned())
    }

    /// `relative` without a leading slash.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.0.join(relative)
    }

    pub(crate) fn exists(&self, relative: impl AsRef<Path>) -> bool {
        self.path(relative).exists()
    }

    /// The text of a small file, without its last newline.
    pub(crate) fn read(&self, relative: impl AsRef<Path>) -> io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(self.path(relative))?.take(MAX_TEXT).read_to_string(&mut text)?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// The bytes of a small file.
    pub(crate) fn bytes(&self, relative: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![];
        std::fs::File::open(self.path(relative))?.take(MAX_TEXT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// `/proc/sys/kernel/tainted`: what the kernel says went wrong since it booted, a bit each.
    pub(crate) fn taint(&self) -> Option<u64> {
        self.read("proc/sys/kernel/tainted").ok()?.parse().ok()
    }

    /// Writes a line to the kernel's log. At the lowest level: a console that prints it prints
    /// every other line too.
    pub(crate) fn log(&self, line: &str) -> io::Result<()> {
        // The prefix of kernel/printk/printk.c, devkmsg_write (Linux 6.1): KERN_DEBUG is 7.
        let mut log = std::fs::OpenOptions::new().write(true).open(self.path("dev/kmsg"))?;
        io::Write::write_all(&mut log, format!("<7>{line}\n").as_bytes())
    }

    /// One `write` of `text` to an existing file, as sysfs wants it.
    pub(crate) fn write(&self, relative: impl AsRef<Path>, text: &str) -> Result<(), Failure> {
        let path = self.path(relative);
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|why| crate::fault::system(&format!("write {text:?} to"), path.display(), why))
    }

    /// The last component of what a symbolic link points to; `None` if there is no such link.
    pub(crate) fn link_name(&self, relative: impl AsRef<Path>) -> Option<String> {
        let target = std::fs::read_link(self.path(relative)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }
}
