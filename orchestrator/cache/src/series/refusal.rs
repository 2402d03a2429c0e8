//! Decoding of the output of `git apply --verbose`: the file, the hunk and the lines of a patch.

use super::{Patch, diff};
use std::fmt::{self, Display, Formatter};

/// The most lines of a hunk, and the most complaints, that are kept for the user.
const SHOWN_LINES: usize = 40;
const SHOWN_COMPLAINTS: usize = 12;

/// A patch that does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The number of the patch, from 1.
    pub number: usize,
    pub total: usize,
    pub title: String,
    pub complaints: Vec<Complaint>,
    pub cause: Option<Cause>,
}

/// Why a patch does not apply, where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A line of a hunk begins with U+00A0; counts from 1 in the diff.
    NoBreakSpace { line: usize },
    /// File names without a folder in front that `-p1` takes away.
    NoPrefix,
    /// git cannot read it.
    Corrupt,
    /// The tree has other lines or other files.
    OtherSource,
}

impl Cause {
    fn find(complaints: &[Complaint], diff: &str) -> Option<Self> {
        let said = |words: &str| {
            complaints.iter().any(|one| matches!(one, Complaint::Other(said) if said.contains(words)))
        };
        if let Some(line) = diff::no_break_space(diff) {
            return Some(Self::NoBreakSpace { line });
        }
        if said("corrupt patch") {
            return Some(Self::Corrupt);
        }
        let is_missing = said("No such file or directory");
        if is_missing && diff::has_no_prefix(diff) {
            return Some(Self::NoPrefix);
        }
        let is_other = is_missing || complaints.iter().any(|one| matches!(one, Complaint::Hunk { .. }));
        is_other.then_some(Self::OtherSource)
    }

    fn hint(self) -> &'static str {
        match self {
            Self::NoBreakSpace { .. } | Self::Corrupt => {
                "the patch itself is damaged, by a mail program perhaps: take it from the list's archive, or from its author as an attachment"
            }
            Self::NoPrefix => {
                "`git -c diff.noprefix=false format-patch` writes the prefixes `a/` and `b/`, which `-p1` takes away"
            }
            Self::OtherSource => "the patches are for another version of the source",
        }
    }
}

/// The defect of a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Complaint {
    /// The file has no place for the hunk's lines.
    Hunk {
        file: String,
        /// The number of the hunk in the file, from 1. None if the diff does not have it.
        number: Option<usize>,
        line: u64,
        /// The text of the hunk in the patch, without control characters but tabs.
        text: Vec<String>,
    },
    /// A message of git.
    Other(String),
}

impl Refusal {
    /// Decodes git's messages about the patch, in the C locale.
    pub(crate) fn read(number: usize, total: usize, patch: &Patch, said: &str) -> Self {
        let text = String::from_utf8_lossy(&patch.diff);
        let hunks = diff::hunks(&text);
        let mut complaints = Vec::new();
        for line in said.lines() {
            let Some(error) = line.strip_prefix("error: ").or_else(|| line.strip_prefix("fatal: ")) else {
                continue;
            };
            // The hunk has the text that git was looking for, and a file's summary adds nothing.
            if error.starts_with("while searching for:") || error.ends_with(": patch does not apply") {
                continue;
            }
            complaints.push(hunk(error, &hunks).unwrap_or_else(|| Complaint::Other(printable(error))));
        }
        if complaints.is_empty() {
            complaints.push(Complaint::Other("git does not say why".to_owned()));
        }
        let cause = Cause::find(&complaints, &text);
        complaints.truncate(SHOWN_COMPLAINTS);
        Self { number, total, title: patch.title.clone(), complaints, cause }
    }

    /// Advice for the reader.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        self.cause.map(Cause::hint)
    }
}

/// Decodes `patch failed: FILE:LINE`.
fn hunk(error: &str, hunks: &[diff::Hunk<'_>]) -> Option<Complaint> {
    let (file, line) = error.strip_prefix("patch failed: ")?.rsplit_once(':')?;
    let line = line.parse().ok()?;
    let hunk = hunks.iter().find(|hunk| hunk.line == line && hunk.files.contains(&file));
    let mut text: Vec<String> =
        hunk.iter().flat_map(|hunk| &hunk.lines).take(SHOWN_LINES).map(|line| printable(line)).collect();
    if let Some(more) = hunk.map(|hunk| hunk.lines.len() - text.len()).filter(|more| *more > 0) {
        text.push(format!("({more} lines more)"));
    }
    Some(Complaint::Hunk { file: printable(file), number: hunk.map(|hunk| hunk.number), line, text })
}

fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\t', "?")
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "patch {} of {}, `{}`, does not apply", self.number, self.total, self.title)?;
        for complaint in &self.complaints {
            match complaint {
                Complaint::Hunk { file, number, line, text } => {
                    let number = number.map(|number| format!("hunk {number}, ")).unwrap_or_default();
                    write!(f, "\n  {file}: {number}for line {line}")?;
                    text.iter().try_for_each(|line| write!(f, "\n    {line}"))?;
                }
                Complaint::Other(words) => write!(f, "\n  {words}")?,
            }
        }
        match self.cause {
            Some(Cause::NoBreakSpace { line }) => {
                write!(
                    f,
                    "\n  line {line} of the diff begins with a no-break space (U+00A0), not with a space"
                )
            }
            Some(Cause::NoPrefix) => write!(f, "\n  its file names have no prefix such as `a/` and `b/`"),
            Some(Cause::Corrupt | Cause::OtherSource) | None => Ok(()),
        }
    }
}

/// The offsets at which hunks were applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Offsets {
    pub(crate) hunks: usize,
    /// The largest offset, in lines.
    pub(crate) furthest: u64,
}

impl Offsets {
    pub(crate) fn and(self, other: Self) -> Self {
        Self { hunks: self.hunks + other.hunks, furthest: self.furthest.max(other.furthest) }
    }

    /// Decodes `Hunk #2 succeeded at 14 (offset -3 lines).`
    pub(crate) fn read(said: &str) -> Self {
        let offset = |line: &str| {
            let (_, rest) = line.strip_prefix("Hunk #")?.split_once("(offset ")?;
            rest.split(' ').next()?.parse::<i64>().ok()
        };
        let each = said.lines().filter_map(offset);
        each.fold(Self::default(), |sum, by| sum.and(Self { hunks: 1, furthest: by.unsigned_abs() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patch() -> Patch {
        let diff = "--- a/mm/x.c\n+++ b/mm/x.c\n@@ -1 +1 @@\n-a\n+b\n@@ -37,2 +37,2 @@ int f()\n 37\n-\x1b[31m38\n+c\n";
        Patch { title: "mm: x".into(), diff: diff.into() }
    }

    #[test]
    fn a_hunk_is_named_and_shown() {
        let said = "Checking patch mm/x.c...\nHunk #1 succeeded at 3 (offset 2 lines).\nerror: while searching for:\n37\n38\n\n\
                    error: patch failed: mm/x.c:37\nerror: mm/x.c: patch does not apply\n\
                    error: mm/y.c: No such file or directory\n";
        insta::assert_snapshot!(Refusal::read(2, 4, &patch(), said), @r"
        patch 2 of 4, `mm: x`, does not apply
          mm/x.c: hunk 2, for line 37
            @@ -37,2 +37,2 @@ int f()
             37
            -?[31m38
            +c
          mm/y.c: No such file or directory
        ");
        assert_eq!(Offsets::read(said), Offsets { hunks: 1, furthest: 2 });
    }

    #[test]
    fn what_is_not_known_is_told_in_gits_words() {
        for (said, expected) in [
            ("error: corrupt patch at line 8\n", "corrupt patch at line 8"),
            ("error: invalid path '../x'\n", "invalid path '../x'"),
            ("fatal: \x1b]0;x\n", "?]0;x"),
            ("", "git does not say why"),
        ] {
            let refusal = Refusal::read(1, 1, &patch(), said);
            assert_eq!(refusal.complaints, [Complaint::Other(expected.to_owned())]);
        }
        let refusal = Refusal::read(1, 1, &patch(), "error: patch failed: other:5\n");
        assert!(matches!(&refusal.complaints[..], [Complaint::Hunk { number: None, line: 5, .. }]));
    }

    #[test]
    fn the_cause_is_named_where_it_is_known() {
        let of = |diff: &str, said: &str| {
            let patch = Patch { title: "x".into(), diff: diff.into() };
            let refusal = Refusal::read(1, 1, &patch, said);
            (refusal.cause, refusal.hint().is_some())
        };
        let hunk = "@@ -1,2 +1,2 @@\n a\n-b\n+c\n";
        let missing = "error: a.c: No such file or directory\n";
        let svn = format!("Index: mm/a.c\n===\n--- mm/a.c\t(revision 1)\n+++ mm/a.c\t(working copy)\n{hunk}");
        assert_eq!(of(&svn, missing), (Some(Cause::NoPrefix), true));
        assert_eq!(of(&svn, "error: patch failed: a.c:1\n"), (Some(Cause::OtherSource), true));
        let usual = format!("--- a/mm/a.c\n+++ b/mm/a.c\n{hunk}");
        assert_eq!(of(&usual, missing), (Some(Cause::OtherSource), true));
        let space = usual.replace(" a\n", "\u{a0} a\n");
        assert_eq!(of(&space, "error: corrupt patch at line 4\n").0, Some(Cause::NoBreakSpace { line: 4 }));
        assert_eq!(of(&usual, "error: corrupt patch at line 4\n"), (Some(Cause::Corrupt), true));
        assert_eq!(of(&usual, "error: invalid path '../x'\n"), (None, false));
    }

    #[test]
    fn offsets() {
        let said = "Hunk #1 succeeded at 3 (offset 1 line).\nHunk #2 succeeded at 9 (offset -12 lines).\nHunk #3 applied\n";
        assert_eq!(Offsets::read(said), Offsets { hunks: 2, furthest: 12 });
    }

    proptest! {
        #[test]
        fn whatever_git_says(said in "((error: |fatal: |Hunk #)?(patch failed: )?[^\n]{0,20}\n){0,30}") {
            let refusal = Refusal::read(1, 1, &patch(), &said);
            prop_assert!((1..=SHOWN_COMPLAINTS).contains(&refusal.complaints.len()));
            prop_assert!(!refusal.to_string().contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
            Offsets::read(&said);
        }
    }
}
