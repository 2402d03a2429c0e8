//! A folder of patches.

use super::{SeriesError, Unusable, unusable};
use s2lab_os::outside::{self, kinds};
use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// quilt's list of patches.
const LIST: &str = "series";
const ENDINGS: [&str; 2] = ["patch", "diff"];

/// The patches in `folder`: those that its file `series` lists, else *.patch and *.diff by name,
/// numbers by their size.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, SeriesError> {
    let list = folder.join(LIST);
    let Some(text) = outside::read_text_if_there(&list, kinds::PATCH_LIST)? else { return by_name(folder) };
    let names = listed(&text).map_err(unusable(folder))?;
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn by_name(folder: &Path) -> Result<Vec<PathBuf>, SeriesError> {
    let io = |source| SeriesError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|end| ENDINGS.iter().any(|e| end == *e)) {
            found.push(path);
        }
    }
    found.sort_by_cached_key(|path| natural(path.file_name().unwrap_or_default().as_encoded_bytes()));
    match found.is_empty() {
        true => Err(unusable(folder)(Unusable::NoFiles)),
        false => Ok(found),
    }
}

/// A piece of a name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    /// A number: how many digits it has without leading zeros, and these.
    Number(usize, Vec<u8>),
    Text(Vec<u8>),
}

/// Sorts names as people count: 2 before 10, and as text where the numbers are equal.
fn natural(name: &[u8]) -> (Vec<Piece>, Vec<u8>) {
    let pieces = name.chunk_by(|one, next| one.is_ascii_digit() == next.is_ascii_digit()).map(|piece| {
        if !piece.iter().all(u8::is_ascii_digit) {
            return Piece::Text(piece.to_owned());
        }
        let digits: Vec<u8> = piece.iter().copied().skip_while(|digit| *digit == b'0').collect();
        Piece::Number(digits.len(), digits)
    });
    (pieces.collect(), name.to_owned())
}

/// Returns the names in quilt's file: one a line, `#` begins a comment, `-p1` is the default.
fn listed(text: &str) -> Result<Vec<&str>, Unusable> {
    let mut names = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let quilt = |why: String| Unusable::Quilt { line: at + 1, why };
        // Like in quilt, a `#` inside of a name does not begin a comment.
        let words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let mut words = words.filter(|word| *word != "-p1");
        let Some(name) = words.next() else { continue };
        if let Some(option) = words.next() {
            return Err(quilt(format!("`{option}` is not understood; patches are applied by -p1")));
        }
        if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(quilt(format!("`{name}` is not the name of a file in this folder")));
        }
        names.push(name);
    }
    match names.is_empty() {
        true => Err(Unusable::NoFiles),
        false => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let mut names = ["v2-10-x", "11-x", "v2-9-x", "2-x", "0002-a", "10-x", "1-x", "a", "a1", "fix-3"];
        names.sort_by_cached_key(|name| natural(name.as_bytes()));
        assert_eq!(names, ["1-x", "0002-a", "2-x", "10-x", "11-x", "a", "a1", "fix-3", "v2-9-x", "v2-10-x"]);
    }

    #[test]
    fn what_quilt_lists() {
        let text = "# ours\n\nb.patch\nsub/a#1.patch -p1 # why\n";
        assert_eq!(listed(text).unwrap(), ["b.patch", "sub/a#1.patch"]);
        for (text, line) in [("a\nb -p0", 2), ("../a", 1), ("/etc/passwd", 1), ("a\n\nb -R", 3)] {
            assert!(matches!(listed(text), Err(Unusable::Quilt { line: l, .. }) if l == line), "{text}");
        }
        assert_eq!(listed("# none\n"), Err(Unusable::NoFiles));
    }
}
