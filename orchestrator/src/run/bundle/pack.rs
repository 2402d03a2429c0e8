//! The writer of bundles. The same files make the same bytes.

use super::{FORMAT, GZIP, MOST_FILES, TOP, VERSION, place::is_of_run};
use flate2::{Compression, GzBuilder};
use s2lab_os::{outside::kinds, size::Size};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// The bytes of a block of tar, and of its end: two blocks of zeroes (POSIX.1-2017, pax).
pub(super) const BLOCK: usize = 512;
pub(super) const END: usize = 2 * BLOCK;
/// The bytes of a name that fit into a header; a longer one has an entry of its own before it (GNU
/// tar 1.35, `struct posix_header`).
pub(super) const SHORT: usize = 100;
/// The name of that entry.
const LONG_LINK: &[u8] = b"././@LongLink";
const MODE: u32 = 0o644;

/// The run is too large for a bundle.
#[derive(Debug, thiserror::Error)]
pub enum TooMuch {
    #[error("a bundle has at most {MOST_FILES} files")]
    Files,
    #[error("a bundle has at most {}", Size(kinds::BUNDLE.limit))]
    Bytes,
}

/// The files of a bundle, by their names in the run's folder.
#[derive(Debug, Default)]
pub struct Contents {
    files: BTreeMap<String, Vec<u8>>,
    /// The bytes of the archive so far, without its end.
    pub(super) size: u64,
}

impl Contents {
    /// Returns the content of every bundle: the version of the form.
    pub fn new() -> Result<Self, TooMuch> {
        let mut contents = Self::default();
        contents.add(FORMAT, VERSION.into())?;
        Ok(contents)
    }

    /// Adds a file. One that a bundle cannot have, or has, is left out.
    pub fn add(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), TooMuch> {
        if !is_of_run(name) || self.files.contains_key(name) {
            return Ok(());
        }
        let header = if TOP.len() + name.len() > SHORT { 4 * BLOCK } else { BLOCK };
        self.size += (header + bytes.len().next_multiple_of(BLOCK)) as u64;
        self.files.insert(name.to_owned(), bytes);
        match () {
            () if self.files.len() > MOST_FILES => Err(TooMuch::Files),
            () if self.size + END as u64 > kinds::BUNDLE.limit => Err(TooMuch::Bytes),
            () => Ok(()),
        }
    }

    /// Returns the number of files.
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// Returns the bundle.
    pub fn pack(&self) -> io::Result<Vec<u8>> {
        let mut packed = GzBuilder::new().operating_system(GZIP[9]).write(vec![], Compression::default());
        packed.write_all(&self.archive()?)?;
        packed.finish()
    }

    /// Returns the archive, not packed: the files sorted by name.
    pub fn archive(&self) -> io::Result<Vec<u8>> {
        let mut archive = vec![];
        for (name, bytes) in &self.files {
            archive.extend(header(&format!("{TOP}{name}"), bytes.len() as u64)?);
            archive.extend(bytes);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
        }
        archive.resize(archive.len() + END, 0);
        Ok(archive)
    }
}

/// Returns the header of a file, with the entry for a long name before it.
pub(super) fn header(name: &str, size: u64) -> io::Result<Vec<u8>> {
    let mut all = vec![];
    if name.len() > SHORT {
        // The name ends with a zero.
        let mut long = plain(LONG_LINK, name.len() as u64 + 1, tar::EntryType::GNULongName)?;
        long.set_cksum();
        all.extend(long.as_bytes());
        all.extend(name.bytes());
        all.push(0);
        all.resize(all.len().next_multiple_of(BLOCK), 0);
    }
    let short = name.as_bytes().get(..SHORT).unwrap_or(name.as_bytes());
    let mut header = plain(short, size, tar::EntryType::Regular)?;
    header.set_cksum();
    all.extend(header.as_bytes());
    Ok(all)
}

/// Returns a header without its checksum.
fn plain(name: &[u8], size: u64, kind: tar::EntryType) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_gnu();
    let field = header.as_old_mut().name.get_mut(..name.len());
    field.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(MODE);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    Ok(header)
}
