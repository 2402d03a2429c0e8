//! Files of the checkout.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

/// The checkout, from this crate's folder.
pub(crate) const CHECKOUT: &str = "../..";

/// A file that the program carries.
pub(crate) struct File {
    /// Its path in the program, with `/` between names.
    pub(crate) path: String,
    /// Its path now.
    pub(crate) from: PathBuf,
}

/// Adds every file of `checkout` at or below `path`, sorted, and makes a change to any of them
/// rebuild the program. Hidden files are an editor's, or git's, and are left out.
pub(crate) fn below(checkout: &Path, path: &str, found: &mut Vec<File>) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={CHECKOUT}/{path}");
    walk(checkout, path, found)
}

fn walk(checkout: &Path, path: &str, found: &mut Vec<File>) -> Result<(), Box<dyn Error>> {
    let from = checkout.join(path);
    if !from.is_dir() {
        found.push(File { path: path.to_owned(), from });
        return Ok(());
    }
    let mut names = vec![];
    for entry in fs::read_dir(&from)? {
        let name = entry?.file_name().into_string();
        names.push(name.map_err(|name| format!("{}: {} is not UTF-8", from.display(), name.display()))?);
    }
    names.sort();
    for name in names.iter().filter(|name| !name.starts_with('.') && !name.ends_with('~')) {
        walk(checkout, &format!("{path}/{name}"), found)?;
    }
    Ok(())
}
