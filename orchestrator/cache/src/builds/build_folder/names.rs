//! Names of files in a diff.

use std::{
    collections::BTreeSet,
    path::{Component, Path},
};

/// Returns the files that a diff names, before and after: possibly more than it changes, never less
/// (git-diff(1), "Generating patch text"). A name that leads out of the tree is left out: git
/// refuses it, with its own message.
pub(super) fn named(diff: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(diff);
    let found = text.lines().filter_map(of_line).filter(|name| is_inside(name));
    found.collect()
}

fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

fn of_line(line: &str) -> Option<String> {
    if let Some(name) = line.strip_prefix("--- ").or_else(|| line.strip_prefix("+++ ")) {
        return without_side(&written(name.split('\t').next()?)?);
    }
    if let Some(names) = line.strip_prefix("diff --git ") {
        return of_both(names);
    }
    let name = ["rename from ", "rename to ", "copy from ", "copy to "]
        .iter()
        .find_map(|key| line.strip_prefix(key))?;
    written(name)
}

/// Returns the common name. Without other headers both names are the same: a mode changes, a file
/// is empty, or its content is binary.
fn of_both(names: &str) -> Option<String> {
    if names.starts_with('"') {
        return without_side(&written(names)?);
    }
    let (one, other) = names.split_at_checked(names.len() / 2)?;
    let (one, other) = (without_side(one)?, without_side(other.strip_prefix(' ')?)?);
    (one == other).then_some(one)
}

/// Returns `mm/x.c` of `a/mm/x.c`. Without a side it is /dev/null: the file does not exist.
fn without_side(name: &str) -> Option<String> {
    let (side, below) = name.split_once('/')?;
    (!side.is_empty()).then(|| below.to_owned())
}

/// Decodes a plain name, or one between quotes, as git writes a name with special characters
/// (git-config(1), `core.quotePath`). Returns None if the quotes are wrong, or the name is not
/// UTF-8.
fn written(name: &str) -> Option<String> {
    let Some(quoted) = name.strip_prefix('"') else { return Some(name.to_owned()) };
    let (mut bytes, mut rest) = (vec![], quoted.bytes());
    loop {
        match rest.next()? {
            b'"' => return String::from_utf8(bytes).ok(),
            b'\\' => bytes.push(escaped(&mut rest)?),
            byte => bytes.push(byte),
        }
    }
}

/// Returns the byte that a backslash escape stands for.
fn escaped(rest: &mut impl Iterator<Item = u8>) -> Option<u8> {
    Some(match rest.next()? {
        b'a' => 0x07,
        b'b' => 0x08,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 0x0b,
        b'f' => 0x0c,
        b'r' => b'\r',
        byte @ (b'"' | b'\\') => byte,
        first => [first, rest.next()?, rest.next()?].into_iter().try_fold(0u8, |value, digit| {
            let digit = digit.checked_sub(b'0').filter(|digit| *digit < 8)?;
            value.checked_mul(8)?.checked_add(digit)
        })?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(diff: &str) -> Vec<String> {
        named(diff.as_bytes()).into_iter().collect()
    }

    #[test]
    fn names_between_quotes_are_those_that_git_means() {
        assert_eq!(
            names("--- \"a/mm/\\303\\244.c\"\n+++ \"b/\\t\\\"\\\\.c\"\n"),
            ["\t\"\\.c", "mm/\u{e4}.c"]
        );
        assert_eq!(names("rename from a\nrename to \"\\303\\244\"\n"), ["a", "\u{e4}"]);
        assert_eq!(names("diff --git \"a/\\303\\244\" \"b/\\303\\244\"\n"), ["\u{e4}"]);
        for wrong in
            ["--- \"a/x\n", "--- \"a/\\4\"\n", "--- \"a/\\400\"\n", "--- \"a/\\377\"\n", "--- \"a/../x\"\n"]
        {
            assert!(names(wrong).is_empty(), "{wrong}");
        }
    }

    #[test]
    fn sides_have_any_name() {
        assert_eq!(names("diff --git i/a b w/a b\nold mode 100644\n"), ["a b"]);
        assert_eq!(names("diff --git a/x b/y\n"), Vec::<String>::new());
        assert_eq!(names("--- /dev/null\n+++ b/x y\t\n"), ["x y"]);
    }
}
