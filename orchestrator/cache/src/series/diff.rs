//! Unified diffs: enough to find them in a mail and to name a hunk.

/// A hunk in a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hunk<'a> {
    /// The names of the file before and after, without the `a/` and `b/`.
    pub(super) files: [&'a str; 2],
    /// The number of the hunk in the file, from 1.
    pub(super) number: usize,
    /// The first line of the hunk in the file before.
    pub(super) line: u64,
    pub(super) lines: Vec<&'a str>,
}

/// Returns the diff in a mail's text, from its first file's header to the end.
pub(super) fn find(text: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    let mut lines = text.split_inclusive(|b| *b == b'\n').peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default();
        if line.starts_with(b"diff --git ")
            || line.starts_with(b"Index: ")
            || (line.starts_with(b"--- ") && next.starts_with(b"+++ "))
        {
            return Some(&text[at..]);
        }
        at += line.len();
    }
    None
}

/// Returns all hunks, or none if the text is not a diff.
pub(super) fn hunks(diff: &str) -> Vec<Hunk<'_>> {
    let mut found: Vec<Hunk<'_>> = Vec::new();
    let (mut files, mut number) = ([""; 2], 0);
    // The lines of the current hunk that still follow, before and after.
    let mut left = [0u64; 2];
    for line in diff.lines() {
        if left != [0, 0] {
            left = after_line(left, line.as_bytes());
            if let Some(hunk) = found.last_mut() {
                hunk.lines.push(line);
            }
        } else if let Some(name) = line.strip_prefix("--- ") {
            (files, number) = ([file(name), file(name)], 0);
        } else if let Some(name) = line.strip_prefix("+++ ") {
            files[1] = file(name);
        } else if let Some((line_number, counts)) = range(line) {
            number += 1;
            left = counts;
            found.push(Hunk { files, number, line: line_number, lines: vec![line] });
        }
    }
    found
}

/// The numbers of lines of a hunk, before and after, that still follow `line`.
fn after_line(left: [u64; 2], line: &[u8]) -> [u64; 2] {
    let (before, after) = match line.first() {
        Some(b'-') => (1, 0),
        Some(b'+') => (0, 1),
        Some(b'\\') => (0, 0),
        // An empty line is a context line that has lost its space in transit.
        _ => (1, 1),
    };
    [left[0].saturating_sub(before), left[1].saturating_sub(after)]
}

/// Returns `diff` without the text after its last hunk, which may be a signature and a list's
/// footer.
pub(super) fn changes(diff: &[u8]) -> &[u8] {
    let (mut at, mut end, mut left) = (0, None, [0u64; 2]);
    for line in diff.split_inclusive(|b| *b == b'\n') {
        at += line.len();
        let words = line.trim_ascii_end();
        if left != [0, 0] || (end.is_some() && line.starts_with(b"\\ ")) {
            left = after_line(left, words);
            end = Some(at);
        } else if let Some((_, counts)) = std::str::from_utf8(words).ok().and_then(range) {
            left = counts;
            end = Some(at);
        } else if line.starts_with(b"diff --git ") {
            // A change without hunks may follow.
            end = None;
        }
    }
    end.and_then(|end| diff.get(..end)).unwrap_or(diff)
}

/// The names of the first file as they stand in `diff`, if no folder is in front of them that `-p1`
/// could take away: those of `diff.noprefix` of git, and of Subversion.
pub(super) fn has_no_prefix(diff: &str) -> bool {
    let mut lines = diff.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(names) = line.strip_prefix("diff --git ") {
            let half = names.len() / 2;
            return names
                .split_at_checked(half)
                .is_some_and(|(one, other)| other.strip_prefix(' ') == Some(one));
        }
        let next = lines.peek().copied().unwrap_or_default();
        if let (Some(before), Some(after)) = (line.strip_prefix("--- "), next.strip_prefix("+++ ")) {
            let name = |text: &str| text.split('\t').next().unwrap_or_default().to_owned();
            return name(before) == name(after);
        }
    }
    false
}

/// The first line of a hunk that begins with a no-break space; counts from 1 in `diff`.
pub(super) fn no_break_space(diff: &str) -> Option<usize> {
    let mut left = [0u64; 2];
    for (line, number) in diff.lines().zip(1..) {
        if left != [0, 0] {
            if line.starts_with('\u{a0}') {
                return Some(number);
            }
            left = after_line(left, line.as_bytes());
        } else if let Some((_, counts)) = range(line) {
            left = counts;
        }
    }
    None
}

/// Returns the file in `--- a/mm/x.c<TAB>date`.
fn file(name: &str) -> &str {
    let name = name.split('\t').next().unwrap_or_default();
    name.split_once('/').map_or(name, |(_, below)| below)
}

/// Decodes `@@ -12,7 +12,8 @@ function`: 12, and the number of lines before and after.
fn range(line: &str) -> Option<(u64, [u64; 2])> {
    let (before, rest) = line.strip_prefix("@@ -")?.split_once(" +")?;
    let (after, _) = rest.split_once(" @@")?;
    let pair = |text: &str| match text.split_once(',') {
        Some((line, count)) => Some((line.parse().ok()?, count.parse().ok()?)),
        None => Some((text.parse().ok()?, 1)),
    };
    let ((line, before), (_, after)) = (pair(before)?, pair(after)?);
    Some((line, [before, after]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TWO: &str = "diff --git a/mm/x.c b/mm/y.c
rename from mm/x.c
rename to mm/y.c
--- a/mm/x.c\t2024
+++ b/mm/y.c
@@ -3,3 +3,4 @@ int f(void)
 a
--- a/like a header
+b

 c
@@ -9 +10 @@
-d
\\ No newline at end of file
+e
--
2.47
diff --git a/z b/z
--- a/z
+++ b/z
@@ -0,0 +1,2 @@
+1
+2
";

    #[test]
    fn hunks_are_counted_by_file() {
        let found = hunks(TWO);
        let named: Vec<_> = found.iter().map(|h| (h.files, h.number, h.line, h.lines.len())).collect();
        let renamed = ["mm/x.c", "mm/y.c"];
        assert_eq!(named, [(renamed, 1, 3, 6), (renamed, 2, 9, 4), (["z", "z"], 1, 0, 3)]);
        assert_eq!(found[1].lines, ["@@ -9 +10 @@", "-d", "\\ No newline at end of file", "+e"]);
    }

    #[test]
    fn a_diff_begins_with_its_first_file() {
        let body = format!("Words.\n--- not a diff\n---\n x | 2 +-\n\n{TWO}");
        assert_eq!(find(body.as_bytes()), Some(TWO.as_bytes()));
        assert_eq!(find(b"--- a/x\n+++ b/x\n"), Some(&b"--- a/x\n+++ b/x\n"[..]));
        assert_eq!(find(b"> diff --git a/x b/x\n> --- a/x\n"), None);
    }

    #[test]
    fn what_follows_the_last_hunk_changes_nothing() {
        let one = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-- \n+b\n";
        let of = |diff: &str| String::from_utf8(changes(diff.as_bytes()).to_vec()).unwrap();
        for footer in ["", "-- \n2.47\n", "\n____\nlist mailing list\n"] {
            assert_eq!(of(&format!("{one}{footer}")), one, "{footer}");
        }
        let cut = format!("{one}\\ No newline at end of file\n");
        assert_eq!(of(&format!("{cut}-- \n2.47\n")), cut);
        for all in ["diff --git a/y b/y\nold mode 100644\nnew mode 100755\n", "no diff\n"] {
            assert_eq!(of(all), all);
            assert_eq!(of(&format!("{one}{all}")) == one, all == "no diff\n");
        }
    }

    #[test]
    fn what_is_wrong_with_a_diff_itself() {
        let hunk = "@@ -1,2 +1,2 @@\n a\n-b\n+c\n";
        for (head, expected) in [
            ("diff --git mm/a.c mm/a.c\n--- mm/a.c\n+++ mm/a.c\n", true),
            ("Index: mm/a.c\n====\n--- mm/a.c\t(revision 1)\n+++ mm/a.c\t(working copy)\n", true),
            ("diff --git a/mm/a.c b/mm/a.c\n--- a/mm/a.c\n+++ b/mm/a.c\n", false),
            ("--- linux.orig/mm/a.c\n+++ linux/mm/a.c\n", false),
            ("--- /dev/null\n+++ b/mm/a.c\n", false),
        ] {
            let diff = format!("{head}{hunk}");
            assert_eq!(has_no_prefix(&diff), expected, "{head}");
            assert_eq!(no_break_space(&diff), None);
        }
        assert_eq!(
            no_break_space(&format!("--- a/x\n+++ b/x\n{hunk}").replace(" a\n", "\u{a0}a\n")),
            Some(4)
        );
        assert_eq!(no_break_space("\u{a0}words\n"), None);
    }

    proptest! {
        #[test]
        fn any_text(text in "([-+ @\\\\,0-9ab/]{0,12}\n){0,30}") {
            let found = hunks(&text);
            prop_assert!(text.as_bytes().starts_with(changes(text.as_bytes())));
            let _ = (has_no_prefix(&text), no_break_space(&text));
            prop_assert!(found.iter().map(|hunk| hunk.lines.len()).sum::<usize>() <= text.lines().count());
        }
    }
}
