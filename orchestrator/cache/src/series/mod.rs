//! Patches of a developer: a mailbox or a folder, sorted into their order.
//!
//! This module reads them, and decodes git's output on a patch that does not apply.
//! `builds/patches.rs` lets git change a tree.

mod bounds;
mod diff;
mod folder;
mod mailbox;
mod parts;
mod refusal;
mod subject;

pub(crate) use refusal::Offsets;
pub use refusal::{Cause, Complaint, Refusal};

use s2lab_os::{
    outside::{self, ReadError, kinds, packed},
    size::Size,
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The most patches, and the most mails in a mailbox.
const MAX_MAILS: usize = 2000;

/// One change of a source tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The mail's subject without its prefix in brackets, or the file's name. It has no control
    /// characters.
    pub title: String,
    /// The diff from the first file's header on. It ends in a line feed.
    pub diff: Vec<u8>,
}

/// A mail that is not a patch, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedMail {
    pub subject: String,
    pub why: &'static str,
}

/// The mail that stands for a series: its cover letter, else its first patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeadMail {
    /// The subject with its prefix in brackets.
    pub subject: String,
    /// The Message-ID without its angle brackets.
    pub message_id: Option<String>,
}

/// Patches in the order in which they are applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Series {
    /// None: its patches are no mails.
    pub lead: Option<LeadMail>,
    pub patches: Vec<Patch>,
    pub skipped: Vec<SkippedMail>,
}

/// The reason why there is no series.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot read `{path}`: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("`{path}`: {why}")]
    Unusable { path: PathBuf, why: Unusable },
}

/// The defect of a mailbox, a patch or a folder of patches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("it has more than {MAX_MAILS} mails or patches")]
    TooMany,
    #[error("mail {number} cannot be read: {why}")]
    Mail { number: usize, why: String },
    #[error("it contains no patch{}", skipped(.0))]
    NoPatch(Vec<SkippedMail>),
    #[error("patch {number} of {total}, `{title}`, has no diff{wholeness}", wholeness = if *is_whole { ", and its mail is whole" } else { "" })]
    NoDiff { number: usize, total: usize, title: String, is_whole: bool },
    #[error("`{title}` is patch {number}, which is not a whole number")]
    Number { number: String, title: String },
    #[error("{} of {total} {} missing", numbers(.missing), if .missing.len() == 1 { "is" } else { "are" })]
    Missing { missing: Vec<usize>, total: usize },
    #[error("two different mails are patch {number} of {total}")]
    Twice { number: usize, total: usize },
    #[error("it has more than one revision of a series: {}", .0.join(", "))]
    Revisions(Vec<String>),
    #[error("it has more than one series: `{one}` does not belong with `{other}`")]
    Mixed { one: String, other: String },
    #[error("its file `series`, line {line}: {why}")]
    Quilt { line: usize, why: String },
    #[error("its patches have more than {} in all", Size(kinds::PATCHES.limit))]
    TooLarge,
    #[error("it has no file *.patch or *.diff")]
    NoFiles,
}

impl SeriesError {
    /// One line without the path.
    pub fn why(&self) -> String {
        let why = match self {
            Self::Read(error) => error.why.to_string(),
            Self::Io { source, .. } => source.to_string(),
            Self::Unusable { why, .. } => why.to_string(),
        };
        why.lines().next().unwrap_or_default().to_owned()
    }

    /// Returns a hint for the user.
    pub fn hint(&self) -> Option<String> {
        let Self::Unusable { why, .. } = self else { return None };
        Some(match why {
            Unusable::NoDiff { is_whole: true, .. } => {
                "its commit is empty: put the other patches into a folder, or write the series anew without it".into()
            }
            Unusable::Number { .. } => "put the patches that are meant into a folder, in their order".into(),
            Unusable::Missing { .. } | Unusable::NoDiff { .. } => {
                "fetch the whole thread again; a folder of patches is taken as it is".into()
            }
            Unusable::Revisions(_) | Unusable::Mixed { .. } | Unusable::Twice { .. } => {
                "keep one series in the mailbox, or put the patches that are meant into a folder".into()
            }
            Unusable::NoPatch(_) => {
                "`git format-patch --stdout A..B` writes a mailbox that can be used".into()
            }
            _ => return None,
        })
    }
}

impl Series {
    /// Reads a mailbox (also packed), a single patch, or a folder: the patches that its file
    /// `series` names, else its files *.patch and *.diff by name.
    ///
    /// A mailbox holds one whole series: numbered patches are sorted, and each must be there once.
    /// A folder is taken as it is.
    ///
    /// # Errors
    /// What cannot be read, or is no series of patches; nothing is guessed.
    pub fn read(path: &Path) -> Result<Self, SeriesError> {
        if path.is_dir() {
            return Self::gather(&[path.to_owned()]);
        }
        let text = unpacked(path, outside::read_named(path, kinds::PATCHES)?)?;
        Self::of_mailbox(&text, &name(path)).map_err(unusable(path))
    }

    /// Decodes the text of a mailbox, which holds one whole series, or of a single patch called
    /// `name`.
    ///
    /// # Errors
    /// If it is no series of patches.
    pub fn of_mailbox(text: &[u8], name: &str) -> Result<Self, Unusable> {
        mailbox::mails(text, name).and_then(mailbox::whole_series).and_then(Self::with_patches)
    }

    /// Decodes the text of a mailbox or of a patch, which may contain a part of a series.
    ///
    /// # Errors
    /// If it has no patch.
    pub fn of_part(text: &[u8], name: &str) -> Result<Self, Unusable> {
        mailbox::mails(text, name).map(mailbox::as_it_is).and_then(Self::with_patches)
    }

    /// Reads the patches of all `paths`, files or folders like for [`Series::read`], one after the
    /// other. A file may contain a part of a series.
    ///
    /// # Errors
    /// The errors of [`Series::read`].
    pub fn gather(paths: &[PathBuf]) -> Result<Self, SeriesError> {
        let mut all = Self::default();
        let mut size = 0;
        for path in paths {
            let files = if path.is_dir() { folder::files(path)? } else { vec![path.clone()] };
            for file in files {
                let text = unpacked(&file, outside::read(&file, kinds::PATCHES)?)?;
                size += text.len() as u64;
                if size > kinds::PATCHES.limit {
                    return Err(unusable(path)(Unusable::TooLarge));
                }
                let Self { lead, patches, skipped } =
                    Self::of_part(&text, &name(&file)).map_err(unusable(&file))?;
                all.lead = all.lead.or(lead);
                all.patches.extend(patches);
                all.skipped.extend(skipped);
                if all.patches.len() > MAX_MAILS {
                    return Err(unusable(path)(Unusable::TooMany));
                }
            }
        }
        Ok(all)
    }

    /// Returns the SHA-256, in hexadecimal, of the patches' changes. Their titles do not count.
    pub fn digest(&self) -> String {
        let lengths = self.patches.iter().flat_map(|patch| (patch.diff.len() as u64).to_le_bytes());
        let mut bytes: Vec<u8> = lengths.collect();
        self.patches.iter().for_each(|patch| bytes.extend(&patch.diff));
        s2lab_model::hash::digest(&bytes)
    }

    fn with_patches(self) -> Result<Self, Unusable> {
        match self.patches.is_empty() {
            true => Err(Unusable::NoPatch(self.skipped)),
            false => Ok(self),
        }
    }
}

/// Returns the hash of a patchset as KCIDB defines it, in hexadecimal: the SHA-256 of the patches'
/// SHA-256s, each in hexadecimal and with a line feed. A patch is its diff.
pub fn patchset_hash(patches: &[Patch]) -> String {
    let one = |patch: &Patch| s2lab_model::hash::digest(&patch.diff) + "\n";
    s2lab_model::hash::digest(patches.iter().map(one).collect::<String>().as_bytes())
}

/// Unpacks `bytes` of the file at `path`: `cat` of packed mails makes a member of each.
fn unpacked(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, ReadError> {
    packed::unpacked(bytes, kinds::PATCHES, MAX_MAILS).map_err(|why| ReadError::new(path, why))
}

fn unusable(path: &Path) -> impl FnOnce(Unusable) -> SeriesError {
    move |why| SeriesError::Unusable { path: path.to_owned(), why }
}

/// Returns the name of a patch without a subject.
fn name(path: &Path) -> String {
    subject::printable(&path.file_name().unwrap_or_default().to_string_lossy())
}

fn numbers(numbers: &[usize]) -> String {
    let list: Vec<_> = numbers.iter().take(SHOWN).map(usize::to_string).collect();
    let more = if numbers.len() > SHOWN { " ..." } else { "" };
    format!("patch{} {}{more}", if numbers.len() == 1 { "" } else { "es" }, list.join(", "))
}

/// The most items that an error lists.
const SHOWN: usize = 8;

fn skipped(mails: &[SkippedMail]) -> String {
    let lines = mails.iter().take(SHOWN).map(|SkippedMail { subject, why }| format!("\n  {subject}: {why}"));
    let more = mails.len().saturating_sub(SHOWN);
    lines.chain((more > 0).then(|| format!("\n  and {more} more"))).collect()
}

#[cfg(test)]
mod tests;
