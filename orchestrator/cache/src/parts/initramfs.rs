//! Archives that Linux unpacks at boot: cpio, format newc (Linux 6.1,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`). The kernel accepts any number of
//! archives after each other, each padded to four bytes.

use std::io::{self, Write};

/// One member of an archive. Paths are relative, without `./`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node<'a> {
    /// Permission bits, 0o777 at most.
    Directory { mode: u32 },
    /// Permission bits and content.
    File { mode: u32, data: &'a [u8] },
    /// The target of the link.
    Link { target: &'a str },
    /// A character device.
    Device { mode: u32, major: u32, minor: u32 },
}

/// File types as in `st_mode` (Linux, `include/uapi/linux/stat.h`).
pub(crate) const S_IFDIR: u32 = 0o040_000;
pub(crate) const S_IFREG: u32 = 0o100_000;
pub(crate) const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;

/// Appends one archive with `nodes` in the given order to `out`. Directories must precede their
/// content.
///
/// # Errors
/// Errors of `out`, and `InvalidInput` for a member of 4 GiB or more.
pub fn append<'a, W: Write>(
    out: &mut W,
    nodes: impl IntoIterator<Item = (&'a str, Node<'a>)>,
) -> io::Result<()> {
    for (number, (path, node)) in (1u32..).zip(nodes) {
        let (mode, data): (u32, &[u8]) = match node {
            Node::Directory { mode } => (S_IFDIR | mode, b""),
            Node::File { mode, data } => (S_IFREG | mode, data),
            Node::Link { target } => (S_IFLNK | 0o777, target.as_bytes()),
            Node::Device { mode, .. } => (S_IFCHR | mode, b""),
        };
        let size = u32::try_from(data.len()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("`{path}` is too large for cpio"))
        })?;
        let links = if matches!(node, Node::Directory { .. }) { 2 } else { 1 };
        let mut member = cpio::newc::Builder::new(path).ino(number).mode(mode).nlink(links).mtime(0);
        if let Node::Device { major, minor, .. } = node {
            member = member.rdev_major(major).rdev_minor(minor);
        }
        let mut member = member.write(&mut *out, size);
        member.write_all(data)?;
        member.finish()?;
    }
    cpio::newc::trailer(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn read(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut members = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(archive).unwrap();
            if reader.entry().is_trailer() {
                archive = reader.finish().unwrap();
                // The kernel skips zeroes up to the next archive.
                archive = &archive[archive.iter().take_while(|b| **b == 0).count()..];
                if archive.is_empty() {
                    return members;
                }
                continue;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut data = Vec::new();
            reader.read_to_end(&mut data).unwrap();
            members.push((name, mode, data));
            archive = reader.finish().unwrap();
        }
    }

    #[test]
    fn what_goes_in_comes_out_of_archives_behind_one_another() {
        let mut out = Vec::new();
        append(
            &mut out,
            [
                ("dev", Node::Directory { mode: 0o755 }),
                ("dev/console", Node::Device { mode: 0o600, major: 5, minor: 1 }),
            ],
        )
        .unwrap();
        assert_eq!(out.len() % 4, 0);
        append(
            &mut out,
            [("init", Node::File { mode: 0o755, data: b"12345" }), ("bin", Node::Link { target: "usr/bin" })],
        )
        .unwrap();
        assert_eq!(out.len() % 4, 0);
        assert_eq!(
            read(&out),
            [
                ("dev".to_owned(), 0o040755, vec![]),
                ("dev/console".to_owned(), 0o020600, vec![]),
                ("init".to_owned(), 0o100755, b"12345".to_vec()),
                ("bin".to_owned(), 0o120777, b"usr/bin".to_vec()),
            ]
        );
    }

    #[test]
    fn the_same_nodes_make_the_same_bytes() {
        let make = || {
            let mut out = Vec::new();
            append(&mut out, [("a", Node::File { mode: 0o644, data: b"x" })]).unwrap();
            out
        };
        assert_eq!(make(), make());
    }
}
