//! Unified diffs, as far as one must know them to find them in a mail and to name a hunk.

/// A hunk in a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hunk<'a> {
    /// Name of the file before and after, without the `a/` and `b/`.
    pub(super) files: [&'a str; 2],
    /// Counts from 1 within the file.
    pub(super) number: usize,
    /// The first line that it is for, in the file before.
    pub(super) line: u64,
    pub(super) lines: Vec<&'a str>,
}

/// The diff in a mail's text, from its first file's header to the end.
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

/// All hunks. What is no diff has none.
pub(super) fn hunks(diff: &str) -> Vec<Hunk<'_>> {
    let mut found: Vec<Hunk<'_>> = Vec::new();
    let (mut files, mut number) = ([""; 2], 0);
    // How many lines of the hunk at hand are still to come, before and after.
    let mut left = [0u64; 2];
    for line in diff.lines() {
        if left != [0, 0] {
            let (before, after) = match line.bytes().next() {
                Some(b'-') => (1, 0),
                Some(b'+') => (0, 1),
                Some(b'\\') => (0, 0),
                // An empty line is one of the context whose space was lost on the way.
                _ => (1, 1),
            };
            left = [left[0].saturating_sub(before), left[1].saturating_sub(after)];
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

/// `--- a/mm/x.c<TAB>date`: the file.
fn file(name: &str) -> &str {
    let name = name.split('\t').next().unwrap_or_default();
    name.split_once('/').map_or(name, |(_, below)| below)
}

/// `@@ -12,7 +12,8 @@ function`: 12, and how many lines before and after.
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

    proptest! {
        #[test]
        fn any_text(text in "([-+ @\\\\,0-9ab/]{0,12}\n){0,30}") {
            let found = hunks(&text);
            prop_assert!(found.iter().map(|hunk| hunk.lines.len()).sum::<usize>() <= text.lines().count());
        }
    }
}
