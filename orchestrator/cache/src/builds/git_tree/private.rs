//! A git folder of s2lab's own, without another's configuration or hooks (gitrepository-layout(5)).

use crate::{
    error::{CacheError, Result},
    objects::object::remove_tree,
};
use s2lab_os::outside::{self, kinds};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The properties of another repository whose objects are borrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Theirs {
    /// `sha1` or `sha256`.
    pub(crate) format: String,
    /// The folder of objects.
    pub(crate) objects: PathBuf,
}

pub(crate) const SHA1: &str = "sha1";

/// Makes `dir` such a folder, or makes sure that it is one. `exclude` has lines of a .gitignore for
/// the whole tree.
pub(crate) fn prepare(dir: &Path, theirs: Option<&Theirs>, exclude: &str) -> Result<()> {
    let format = theirs.map_or(SHA1, |theirs| &theirs.format);
    let known = dir.join("s2lab-format");
    // Ids of two formats cannot be mixed. A folder without a note is older than the notes, and has
    // SHA-1.
    let before = outside::read_text_if_there(&known, kinds::NOTE)?;
    if before.as_deref().unwrap_or(SHA1) != format {
        remove_tree(dir)?;
    }
    for folder in ["objects/info", "refs", "info"] {
        let path = dir.join(folder);
        s2lab_os::private::make(&path).map_err(CacheError::io("cannot create", &path))?;
    }
    let config = match format {
        SHA1 => "[core]\n\trepositoryformatversion = 0\n\tbare = true\n".to_owned(),
        other => {
            format!(
                "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectformat = {other}\n"
            )
        }
    };
    let alternates = theirs.map(|theirs| format!("{}\n", theirs.objects.display())).unwrap_or_default();
    for (file, text) in [
        ("s2lab-format", format),
        ("config", &config),
        ("HEAD", "ref: refs/heads/none\n"),
        ("objects/info/alternates", &alternates),
        ("info/exclude", exclude),
        // A folder that git has made may have some from a template.
        ("info/attributes", ""),
    ] {
        let path = dir.join(file);
        fs::write(&path, text).map_err(CacheError::io("cannot write", &path))?;
    }
    Ok(())
}
