//! Kernels of the command line, and their names in keys.

use super::{Artifact, PlanError};
use crate::diagnostic::suggest;
use crate::kernel::{Kernels, NAME_LENGTH, Traits};

/// The digits of a commit's id in a label, which distinguish commits of the largest repositories.
const COMMIT_DIGITS: usize = 12;
/// The character between a kernel and the series or the mutant on top of it. No kernel's name has it.
const ON_TOP: char = '~';
const TREE: &str = "tree:";

/// An argument of `--kernel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelArgument {
    /// An entry of `images/kernels.yaml`.
    Listed(String),
    /// An arm64 Image.
    Image(String),
    /// An arm64 Image that is fetched.
    Fetched(Artifact),
    /// A kernel's tree; with revisions, a git repository.
    Tree { path: String, revisions: Option<Revisions> },
    /// An entry of `images/kernels.yaml` with its mutants built in, of which `name` is chosen.
    Mutant { base: String, name: String },
}

/// The commits of a repository, in git's notation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revisions {
    One(String),
    /// `A..B`: each commit that is in B and not in A.
    Range(String),
}

impl Revisions {
    /// The words as they were written.
    pub fn words(&self) -> &str {
        match self {
            Self::One(words) | Self::Range(words) => words,
        }
    }
}

impl KernelArgument {
    /// Reads `tree:PATH[@COMMIT|@A..B]`; else `URL#sha256=DIGEST`; else a path if it has a `/`, or is `.` or `..`; else
    /// `ENTRY~MUTANT`, or the name of an entry.
    ///
    /// Both a path and a commit may have an `@`: `is_folder` decides where the path ends.
    ///
    /// # Errors
    /// If no entry has that name, if a tree or a URL is not written so, or if two readings of it name a
    /// folder.
    pub fn parse(
        argument: &str,
        kernels: &Kernels,
        is_folder: &dyn Fn(&str) -> bool,
    ) -> Result<Self, PlanError> {
        if let Some(tree) = argument.strip_prefix(TREE) {
            let tree = parse_tree(tree, is_folder);
            return tree.map_err(|why| PlanError::Tree { argument: argument.to_owned(), why });
        }
        if let Some(artifact) = Artifact::parse(argument) {
            let artifact = artifact.map_err(|why| PlanError::Url { argument: argument.to_owned(), why });
            return artifact.map(Self::Fetched);
        }
        if argument.contains('/') || matches!(argument, "." | "..") {
            return Ok(Self::Image(argument.to_owned()));
        }
        let (entry, mutant) = match argument.split_once(ON_TOP) {
            Some((base, name)) => (base, Some(name)),
            None => (argument, None),
        };
        if !kernels.entries.contains_key(entry) {
            return Err(PlanError::NoKernel {
                name: entry.to_owned(),
                help: suggest(entry, kernels.entries.keys().map(String::as_str)),
            });
        }
        Ok(match mutant {
            None => Self::Listed(entry.to_owned()),
            Some(name) => Self::Mutant { base: entry.to_owned(), name: name.to_owned() },
        })
    }
}

fn parse_tree(text: &str, is_folder: &dyn Fn(&str) -> bool) -> Result<KernelArgument, &'static str> {
    let (path, revision) = split_tree(text, is_folder)?;
    if path.is_empty() {
        return Err("names no folder");
    }
    let revisions = match revision {
        None => None,
        Some("") => return Err("names no commit"),
        Some(revision) if revision.starts_with('-') => return Err("has an option where a commit should be"),
        Some(revision) if revision.contains("...") => return Err("has a symmetric difference"),
        Some(revision) if revision.contains("..") => Some(Revisions::Range(revision.to_owned())),
        Some(revision) => Some(Revisions::One(revision.to_owned())),
    };
    Ok(KernelArgument::Tree { path: path.to_owned(), revisions })
}

/// The path and what follows its `@`. If nothing in it is a folder, the last `@` parts the two.
fn split_tree<'a>(
    text: &'a str,
    is_folder: &dyn Fn(&str) -> bool,
) -> Result<(&'a str, Option<&'a str>), &'static str> {
    // `HEAD@{1}` is a revision. No commit's name ends in a slash.
    let at = text.rmatch_indices('@').map(|(at, _)| at).filter(|at| !text[at + 1..].starts_with('{'));
    let parted = at.map(|at| (&text[..at], Some(&text[at + 1..])));
    let parted: Vec<_> = if text.ends_with('/') { vec![] } else { parted.collect() };
    let all = [(text, None)].into_iter().chain(parted.iter().copied());
    let mut folders = all.filter(|(path, _)| is_folder(path));
    match (folders.next(), folders.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(
            "names a folder, and a commit of another folder: `tree:A@B/` is the first, `tree:A/@B` the second",
        ),
        (None, _) => Ok(parted.first().copied().unwrap_or((text, None))),
    }
}

/// A kernel that replaces the default ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelChoice {
    /// An entry of `images/kernels.yaml`.
    Listed(String),
    /// Any other kernel. The label stands for it in keys.
    Own { label: String, traits: Traits },
}

impl KernelChoice {
    /// Returns the kernel's half of a key.
    pub fn name(&self) -> &str {
        match self {
            Self::Listed(name) => name,
            Self::Own { label, .. } => label,
        }
    }
}

/// A name for a file or folder: its own, without what only says how it is packed, in the alphabet
/// of kernels' names. What is written in another script is spelt in that alphabet.
///
/// # Errors
/// If the path's last part has no letter or digit.
pub fn label(path: &str) -> Result<String, PlanError> {
    const PACKED: [&str; 12] =
        [".gz", ".xz", ".zst", ".bz2", ".lz4", ".lzma", ".bin", ".img", ".mbox", ".mbx", ".patch", ".diff"];
    let mut stem = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    while let Some(shorter) = PACKED.iter().find_map(|end| stem.strip_suffix(end)) {
        stem = shorter;
    }
    let safe = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '.' | '-') => c,
        _ => '-',
    };
    let spelt = deunicode::deunicode(stem);
    let label: String = if stem.is_ascii() { stem } else { spelt.trim() }.chars().map(safe).collect();
    let label: String = label.trim_start_matches(['-', '.']).chars().take(NAME_LENGTH).collect();
    match label.is_empty() {
        true => Err(PlanError::NoLabel { path: path.to_owned() }),
        false => Ok(label),
    }
}

/// Returns the name of a commit's kernel: `TREE-1a2b3c4d5e6f`.
pub fn commit_name(tree: &str, commit: &str) -> String {
    let commit: String = commit.chars().take(COMMIT_DIGITS).collect();
    let tree: String = tree.chars().take(NAME_LENGTH - 1 - commit.len()).collect();
    format!("{tree}-{commit}")
}

/// Returns the name of a kernel with a series or a mutant on top: `KERNEL~SERIES`.
pub fn with_series(kernel: &str, series: &str) -> String {
    format!("{kernel}{ON_TOP}{series}")
}
