//! The reader of bundles.

use super::{
    FORMAT, GZIP, MOST_FILES, RATIO, TOP, UNSUSPECTED, VERSION,
    pack::{BLOCK, END, SHORT},
    place::{LONGEST, is_header_of, is_of_run},
};
use s2lab_model::escape;
use s2lab_os::outside::{
    self, Kind, ReadError, Why, kinds,
    packed::{Member, Packing},
};
use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};
use tar::EntryType;

/// A bundle, in memory.
#[derive(Debug)]
pub struct Bundle {
    /// The archive.
    plain: Vec<u8>,
    /// The places of the files in it, by their names in the run's folder.
    files: BTreeMap<String, Range<usize>>,
}

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{} is not a bundle: {why}", .path.display())]
    Refused { path: PathBuf, why: Refusal },
}

/// The reason why a file is not a bundle. Names in it are escaped.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("it does not begin like one")]
    Beginning,
    #[error("{0}")]
    Packed(Why),
    #[error("it unpacks to more than {RATIO} times its size")]
    Ratio,
    #[error("{0} bytes follow its end")]
    Follows(usize),
    #[error("it is cut short")]
    Short,
    #[error("it does not end like one")]
    Ends,
    #[error("it has more than {MOST_FILES} files")]
    Files,
    #[error("`{name}` in it {why}")]
    Member { name: String, why: &'static str },
    #[error("its form is {found}, and this s2lab reads {}", VERSION.trim_end())]
    Version { found: String },
}

impl Bundle {
    /// Reads the bundle at `path`.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let packed = outside::read(path, kinds::BUNDLE)?;
        Self::of(&packed).map_err(|why| BundleError::Refused { path: path.to_owned(), why })
    }

    /// Unpacks a bundle.
    pub fn of(packed: &[u8]) -> Result<Self, Refusal> {
        if !packed.starts_with(&GZIP) {
            return Err(Refusal::Beginning);
        }
        let most = (packed.len() as u64).saturating_mul(RATIO).max(UNSUSPECTED);
        let kind = Kind { limit: most.min(kinds::BUNDLE.limit), ..kinds::BUNDLE };
        match Packing::Gzip.member(packed, kind) {
            Ok(Member { plain, rest: [] }) => Self::of_archive(plain),
            Ok(Member { rest, .. }) => Err(Refusal::Follows(rest.len())),
            Err(Why::TooLarge(of)) if of.limit < kinds::BUNDLE.limit => Err(Refusal::Ratio),
            Err(why) => Err(Refusal::Packed(why)),
        }
    }

    /// Reads the archive of a bundle.
    pub fn of_archive(plain: Vec<u8>) -> Result<Self, Refusal> {
        let mut files = BTreeMap::new();
        let (mut at, mut last) = (0, String::new());
        while let Some(Header { name, place }) = header(&plain, at)? {
            let wrong = |why| Refusal::Member { name: escape::line(&name), why };
            if name <= last {
                return Err(wrong("is there twice, or in the wrong place"));
            }
            if files.len() == MOST_FILES {
                return Err(Refusal::Files);
            }
            at = place.end.next_multiple_of(BLOCK);
            let padding = plain.get(place.end..at).ok_or(Refusal::Short)?;
            if padding.iter().any(|byte| *byte != 0) {
                return Err(wrong("is followed by other bytes"));
            }
            files.insert(name.clone(), place);
            last = name;
        }
        let bundle = Self { plain, files };
        bundle.check(at)?;
        Ok(bundle)
    }

    /// Checks the end of the archive, which begins at `end`, and the version.
    fn check(&self, end: usize) -> Result<(), Refusal> {
        match self.plain.get(end..).unwrap_or_default() {
            rest if rest.len() < END => return Err(Refusal::Short),
            rest if rest.len() > END || rest.iter().any(|byte| *byte != 0) => return Err(Refusal::Ends),
            _ => {}
        }
        let version = self.get(FORMAT).unwrap_or_default();
        if version != VERSION.as_bytes() {
            let found = String::from_utf8_lossy(version);
            return Err(Refusal::Version { found: escape::line(&found) });
        }
        Ok(())
    }

    /// Returns the file of that name in the run's folder.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.plain.get(self.files.get(name)?.clone())
    }

    /// Returns the names of all files, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Returns the archive.
    pub fn archive(&self) -> &[u8] {
        &self.plain
    }
}

/// A file in the archive.
struct Header {
    /// Its name, without the top folder.
    name: String,
    /// The place of its bytes.
    place: Range<usize>,
}

/// Reads the header at `at`, or None at the archive's end. The header is made again and compared:
/// it has one form, so nothing in it can mean something else to another reader.
fn header(plain: &[u8], at: usize) -> Result<Option<Header>, Refusal> {
    let (first, block) = block(plain, at)?;
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let (full, header, begin) = match first.entry_type() {
        EntryType::GNULongName => {
            let size = size(first)?.filter(|size| (SHORT + 1..=LONGEST).contains(size));
            let size = size.ok_or_else(|| member(first, "is a name that no file of a run has"))?;
            let text = plain.get(at + BLOCK..at + BLOCK + size).ok_or(Refusal::Short)?;
            let next = at + BLOCK + size.next_multiple_of(BLOCK);
            (text.strip_suffix(&[0]).unwrap_or(text).to_vec(), self::block(plain, next)?.0, next + BLOCK)
        }
        _ => (first.path_bytes().into_owned(), first, at + BLOCK),
    };
    let shown = escape::line(&String::from_utf8_lossy(&full));
    let wrong = |why| Refusal::Member { name: shown.clone(), why };
    if let Some(why) = unlike_a_file(header.entry_type()) {
        return Err(wrong(why));
    }
    let full = String::from_utf8(full).map_err(|_| wrong("has a name that is not UTF-8"))?;
    if let Some(why) = leads_elsewhere(&full) {
        return Err(wrong(why));
    }
    let name = full.strip_prefix(TOP).filter(|name| is_of_run(name));
    let name = name.ok_or_else(|| wrong("is not a file of a run"))?.to_owned();
    let size = size(header)?.ok_or_else(|| wrong("has a size that no file has"))?;
    let written = plain.get(at..begin).ok_or(Refusal::Short)?;
    if !is_header_of(written, &full, size as u64) {
        return Err(wrong("has a header that s2lab does not write"));
    }
    let end = begin.checked_add(size).filter(|end| *end <= plain.len()).ok_or(Refusal::Short)?;
    Ok(Some(Header { name, place: begin..end }))
}

/// Returns the block at `at` as a header, and its bytes.
fn block(plain: &[u8], at: usize) -> Result<(&tar::Header, &[u8]), Refusal> {
    let block = plain.get(at..at.saturating_add(BLOCK)).ok_or(Refusal::Short)?;
    Ok((tar::Header::from_byte_slice(block), block))
}

/// Returns the size in a header, or None if it is not one of memory.
fn size(header: &tar::Header) -> Result<Option<usize>, Refusal> {
    let size = header.entry_size().map_err(|_| member(header, "has a size that is not a number"))?;
    Ok(usize::try_from(size).ok())
}

fn member(header: &tar::Header, why: &'static str) -> Refusal {
    Refusal::Member { name: escape::line(&String::from_utf8_lossy(&header.path_bytes())), why }
}

/// The reason why an entry is not a file.
fn unlike_a_file(kind: EntryType) -> Option<&'static str> {
    match kind {
        EntryType::Regular => None,
        EntryType::Symlink | EntryType::Link => Some("is a link"),
        EntryType::Directory => Some("is a folder"),
        EntryType::Char | EntryType::Block => Some("is a device"),
        EntryType::Fifo => Some("is a named pipe"),
        EntryType::GNUSparse => Some("is a sparse file"),
        EntryType::XHeader | EntryType::XGlobalHeader => Some("has an extended header"),
        EntryType::GNULongName | EntryType::GNULongLink => Some("has a long name that is not its own"),
        _ => Some("is of an unknown type"),
    }
}

/// The reason why a name is not one below the top folder.
fn leads_elsewhere(name: &str) -> Option<&'static str> {
    match () {
        () if name.starts_with('/') => Some("has an absolute path"),
        () if name.split('/').any(|part| part == "..") => Some("has a path that climbs"),
        () => None,
    }
}
