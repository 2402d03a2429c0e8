//! The header of a mutant's patch.

use super::{Broken, Mutant, NAME_LENGTH, NONE};

/// The reason why a patch's header does not describe a mutant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("its header has no line `{0}: ...`")]
    Missing(&'static str),
    #[error("its header has two lines `{0}: ...`")]
    Twice(&'static str),
    #[error(
        "`{0}` is not a mutant's name; a name has a-z, 0-9 and `-`, begins with a letter, has {NAME_LENGTH} characters at most, and is not `{NONE}`"
    )]
    Name(String),
    #[error("`Breaks: {text}`: {why}")]
    Breaks { text: String, why: String },
}

/// The begin of the diff in a patch by `git format-patch`.
const DIFF: &str = "---";
const SUBJECT: &str = "Subject";
const PREFIX: &str = "[PATCH]";

/// Reads the text of a patch by `git format-patch`. Returns None if its header has no line
/// `Mutant: ...`: the base patch, with which a mutant is chosen.
///
/// # Errors
/// If the header of a mutant lacks a line, or one cannot be read.
pub fn mutant(patch: &str) -> Result<Option<Mutant>, HeaderError> {
    let header = Header(patch.lines().take_while(|line| *line != DIFF).collect());
    let Some(name) = header.one("Mutant")? else { return Ok(None) };
    if !is_name(&name) {
        return Err(HeaderError::Name(name));
    }
    let due = |key| header.one(key)?.ok_or(HeaderError::Missing(key));
    let subject = due(SUBJECT)?;
    let breaks = due("Breaks")?;
    Ok(Some(Mutant {
        name,
        about: subject.trim_start_matches(PREFIX).trim().to_owned(),
        area: due("Area")?,
        breaks: Broken::try_from(breaks.clone()).map_err(|why| HeaderError::Breaks { text: breaks, why })?,
        like: header.one("Like")?,
        cannot_show: header.one("Cannot-show")?,
    }))
}

/// Returns true for a name that the kernel, a key and a file's name can have.
fn is_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= NAME_LENGTH
        && name != NONE
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(inside)
}

/// The lines before the diff.
struct Header<'a>(Vec<&'a str>);

impl Header<'_> {
    /// Returns the value of the line `KEY: ...`. A line that begins with a space continues it.
    fn one(&self, key: &'static str) -> Result<Option<String>, HeaderError> {
        let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned());
        let mut found = self.0.iter().enumerate().filter_map(|(at, line)| Some((at, value(line)?)));
        let Some((at, mut text)) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(HeaderError::Twice(key));
        }
        for more in self.0.iter().skip(at + 1).take_while(|line| line.starts_with(' ')) {
            text = format!("{text} {}", more.trim());
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "From 0 Mon Sep 17 00:00:00 2001
From: s2lab <s2lab@localhost>
Subject: [PATCH] KVM: arm64: Remove a leaf without a TLB
 invalidation

It stays in the TLBs.

Mutant: tlbi-skipped
Area: TLB
Breaks: I9 alarm
Like: B16
---
 a | 1 +
 Breaks: I1

diff --git a/a b/a
+Area: x
";

    #[test]
    fn a_header() {
        let read = mutant(PATCH).unwrap().unwrap();
        let expected = Mutant {
            name: "tlbi-skipped".into(),
            about: "KVM: arm64: Remove a leaf without a TLB invalidation".into(),
            area: "TLB".into(),
            breaks: Broken::try_from("I9 alarm".to_owned()).unwrap(),
            like: Some("B16".into()),
            cannot_show: None,
        };
        assert_eq!(read, expected);
        let cannot = PATCH.replace("Like: B16", "Cannot-show: QEMU has no caches,\n and no barriers");
        let cannot = mutant(&cannot).unwrap().unwrap();
        assert_eq!(
            (cannot.like, cannot.cannot_show.as_deref()),
            (None, Some("QEMU has no caches, and no barriers"))
        );
    }

    #[test]
    fn the_base_patch_is_no_mutant() {
        assert_eq!(mutant(&PATCH.replace("Mutant: tlbi-skipped\n", "")), Ok(None));
    }

    #[test]
    fn a_wrong_header_is_refused() {
        let without = |line: &str| mutant(&PATCH.replace(line, ""));
        assert_eq!(without("Area: TLB\n"), Err(HeaderError::Missing("Area")));
        assert_eq!(without("Breaks: I9 alarm\n"), Err(HeaderError::Missing("Breaks")));
        assert_eq!(mutant(&PATCH.replace("Like: B16", "Area: mm")), Err(HeaderError::Twice("Area")));
        assert!(matches!(mutant(&PATCH.replace("I9 alarm", "I99")), Err(HeaderError::Breaks { .. })));
        for name in ["none", "A", "-a", "9a", "a b", "a/b", "a~b", &"a".repeat(NAME_LENGTH + 1)] {
            let wrong = mutant(&PATCH.replace("tlbi-skipped", name));
            assert_eq!(wrong, Err(HeaderError::Name(name.to_owned())));
        }
    }
}
