//! Files and symbolic links of a source tree, which are never reached through a link.

use crate::error::{CacheError, Result};
use s2lab_os::outside::{self, kinds};
use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

/// The type of a name in a source tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File,
    /// A symbolic link to any place.
    Link,
}

/// Returns the node at `path` itself, or None if there is nothing, or a folder.
pub(super) fn node(path: &Path) -> Result<Option<Node>> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_symlink() => Ok(Some(Node::Link)),
        Ok(meta) if meta.is_file() => Ok(Some(Node::File)),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(CacheError::io("cannot look at", path)(error)),
    }
}

/// Yields the names above `file`, the topmost first: `a` and `a/b` of `a/b/c`.
pub(super) fn above(file: &str) -> impl Iterator<Item = &str> {
    file.match_indices('/').filter_map(|(at, _)| file.get(..at))
}

/// Returns the place of the node `file` below `tree`, or None if it does not exist, or a name above
/// it is a link.
pub(super) fn find(tree: &Path, file: &str) -> Result<Option<PathBuf>> {
    if link_above(tree, file)?.is_some() {
        return Ok(None);
    }
    let path = tree.join(file);
    Ok(node(&path)?.map(|_| path))
}

fn link_above<'a>(tree: &Path, file: &'a str) -> Result<Option<&'a str>> {
    for folder in above(file) {
        if node(&tree.join(folder))? == Some(Node::Link) {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// Returns true if two nodes have the same type, content and mode, or if neither exists.
pub(super) fn same(one: Option<&Path>, other: Option<&Path>) -> Result<bool> {
    let (one, other) = match (one, other) {
        (Some(one), Some(other)) if one == other => return Ok(true),
        (Some(one), Some(other)) => (one, other),
        (None, None) => return Ok(true),
        _ => return Ok(false),
    };
    match (node(one)?, node(other)?) {
        (Some(Node::Link), Some(Node::Link)) => Ok(target(one)? == target(other)?),
        (Some(Node::File), Some(Node::File)) => {
            let facts = |path: &Path| {
                let meta = fs::metadata(path).map_err(CacheError::io("cannot look at", path))?;
                Ok::<_, CacheError>((meta.len(), meta.permissions().mode() & 0o111))
            };
            let read = |path: &Path| outside::read(path, kinds::SOURCE_FILE);
            Ok(facts(one)? == facts(other)? && read(one)? == read(other)?)
        }
        _ => Ok(false),
    }
}

/// Copies a node to `file` below `tree`, with the present time. An old node is replaced; a link is
/// not followed.
///
/// # Errors
/// If a name above `file` is a link.
pub(super) fn copy(from: &Path, tree: &Path, file: &str) -> Result<()> {
    remove(tree, file)?;
    let to = tree.join(file);
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(CacheError::io("cannot create", parent))?;
    }
    match node(from)? {
        Some(Node::Link) => symlink(target(from)?, &to).map_err(CacheError::io("cannot create", &to)),
        _ => Ok(outside::copy(from, &to, kinds::SOURCE_FILE)?),
    }
}

/// Removes the node `file` below `tree`, or a folder of that name without a file in it, if it
/// exists.
///
/// # Errors
/// If a name above `file` is a link: the content behind it belongs to somebody else.
pub(super) fn remove(tree: &Path, file: &str) -> Result<()> {
    if let Some(folder) = link_above(tree, file)? {
        return Err(CacheError::malformed(file, format_args!("it is beyond a symbolic link, {folder}")));
    }
    let path = tree.join(file);
    let removed = match node(&path)? {
        Some(_) => fs::remove_file(&path),
        None if path.is_dir() => remove_empty(&path),
        None => Ok(()),
    };
    removed.map_err(CacheError::io("cannot remove", &path))
}

/// Removes a folder that contains only folders.
fn remove_empty(folder: &Path) -> io::Result<()> {
    for child in fs::read_dir(folder)? {
        let child = child?;
        if child.file_type()?.is_dir() {
            remove_empty(&child.path())?;
        }
    }
    fs::remove_dir(folder)
}

fn target(link: &Path) -> Result<PathBuf> {
    fs::read_link(link).map_err(CacheError::io("cannot read", link))
}
