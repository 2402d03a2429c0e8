//! Measures of plain English in comments and documents (`docs/style.md`).
//!
//! Each limit is lowered as texts are rewritten, and never raised.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as its tests do")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The first words of a doc comment that begin a clause instead of a noun phrase or a verb.
const CLAUSES: [&str; 8] = ["What", "Whether", "Of", "How", "Where", "As", "In", "By"];
/// The limit of doc comments that begin with one of [`CLAUSES`].
const CLAUSES_LIMIT: usize = 19;

/// The verb of speech that stands for print, return, report, know and distinguish.
const SPEECH: [&str; 3] = ["tell", "tells", "told"];
/// The limit of lines with one of [`SPEECH`], in sources and documents.
const SPEECH_LIMIT: usize = 19;

/// The longest comment line, in characters.
const COLUMNS: usize = 120;
/// The limit of comment lines longer than [`COLUMNS`].
const LONG_LIMIT: usize = 0;

/// Returns the sources and documents of the project, by their paths in the checkout.
fn texts() -> Vec<(PathBuf, String)> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![checkout.clone()];
    let mut texts = vec![];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let hidden = path.file_name().unwrap().as_encoded_bytes().starts_with(b".");
            if path.is_symlink() || hidden || path.ends_with("target") || path.ends_with("language.rs") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
                let text = fs::read_to_string(&path).unwrap();
                texts.push((path.strip_prefix(&checkout).unwrap().to_owned(), text));
            }
        }
    }
    texts.sort();
    texts
}

/// Returns `file:line: text` of the lines that `is_bad` picks. It also gets the line before, or "".
fn bad_lines(is_bad: impl Fn(&Path, &str, &str) -> bool) -> Vec<String> {
    let mut bad = vec![];
    for (path, text) in texts() {
        let mut before = "";
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if is_bad(&path, before, line) {
                bad.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
            before = line;
        }
    }
    bad
}

/// Fails if there are more bad lines than the limit, and prints all of them.
fn hold(bad: &[String], limit: usize, what: &str) {
    assert!(bad.len() <= limit, "{}\n{} {what}; the limit is {limit}", bad.join("\n"), bad.len());
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn doc(line: &str) -> Option<&str> {
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

#[test]
fn doc_comments_begin_with_a_noun_phrase_or_a_verb() {
    let bad = bad_lines(|path, before, line| {
        let first = doc(line).and_then(|text| words(text.trim_start()).next());
        is_source(path) && doc(before).is_none() && first.is_some_and(|word| CLAUSES.contains(&word))
    });
    hold(&bad, CLAUSES_LIMIT, "doc comments begin with a clause");
}

#[test]
fn programs_print_and_return_instead_of_telling() {
    let bad = bad_lines(|_, _, line| words(line).any(|word| SPEECH.contains(&word.to_lowercase().as_str())));
    hold(&bad, SPEECH_LIMIT, "lines have a verb of speech");
}

#[test]
fn comments_have_lines_that_fit() {
    let bad = bad_lines(|path, _, line| {
        is_source(path) && line.starts_with("//") && line.chars().count() > COLUMNS
    });
    hold(&bad, LONG_LIMIT, "comment lines are too long");
}
