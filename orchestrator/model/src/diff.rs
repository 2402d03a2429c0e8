//! Differences of texts, as unified diffs.

use similar::TextDiff;
use std::fmt::Write;

/// The lines of context around a change.
const CONTEXT: usize = 3;
/// The most lines of a diff that are shown.
const MOST_LINES: usize = 1000;
/// The most lines of both sides together that are compared: the time grows with the square of their
/// number.
const MOST_COMPARED: usize = 4000;
/// The lines of each side that are shown without a comparison.
const SHOWN: usize = 20;

/// Returns the unified diff from `old` to `new`, or nothing if they are equal. For texts that
/// differ in too much it shows the first difference and the number of lines.
pub fn unified(old: (&str, &str), new: (&str, &str)) -> String {
    if old.1 == new.1 {
        return String::new();
    }
    let (one, other) = (Side::of(old.1), Side::of(new.1));
    let before = one.lines.iter().zip(&other.lines).take_while(|(a, b)| a == b).count();
    let (one, other) = (one.after(before), other.after(before));
    let behind = one.lines.iter().rev().zip(other.lines.iter().rev()).take_while(|(a, b)| a == b).count();
    let (one, other) = (one.until(behind), other.until(behind));
    let trivial = one.lines.is_empty() || other.lines.is_empty();
    if !trivial && one.lines.len() + other.lines.len() > MOST_COMPARED {
        return coarse((old.0, &one.lines), (new.0, &other.lines), before + 1);
    }
    let diff = TextDiff::from_lines(old.1, new.1);
    shortened(&diff.unified_diff().context_radius(CONTEXT).header(old.0, new.0).to_string())
}

/// The lines of one text, each with its line feed.
struct Side<'a> {
    lines: Vec<&'a str>,
}

impl<'a> Side<'a> {
    fn of(text: &'a str) -> Self {
        Self { lines: text.split_inclusive('\n').collect() }
    }

    fn after(mut self, lines: usize) -> Self {
        self.lines.drain(..lines);
        self
    }

    /// Returns the side without so many lines at the end.
    fn until(mut self, lines: usize) -> Self {
        self.lines.truncate(self.lines.len() - lines);
        self
    }
}

/// Returns the first lines of both sides, which differ from line `first` on.
fn coarse(old: (&str, &[&str]), new: (&str, &[&str]), first: usize) -> String {
    let mut out = format!("--- {}\n+++ {}\n", old.0, new.0);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "@@ from line {first} on: {} lines, {} lines @@", old.1.len(), new.1.len());
    for (sign, lines) in [('-', old.1), ('+', new.1)] {
        for line in lines.iter().take(SHOWN) {
            let _ = writeln!(out, "{sign}{}", line.trim_end_matches('\n'));
        }
        if let Some(more @ 1..) = lines.len().checked_sub(SHOWN) {
            let _ = writeln!(out, "{sign}... and {more} more lines");
        }
    }
    out
}

fn shortened(diff: &str) -> String {
    let mut lines = diff.split_inclusive('\n');
    let mut out: String = lines.by_ref().take(MOST_LINES).collect();
    if let more @ 1.. = lines.count() {
        let _ = writeln!(out, "... and {more} more lines");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbered(from: usize, to: usize, sign: char) -> String {
        (from..to).map(|n| format!("{sign}{n}\n")).collect()
    }

    #[test]
    fn equal_is_empty_and_a_change_shows_both_lines() {
        assert_eq!(unified(("a", "x\n"), ("b", "x\n")), "");
        assert_eq!(unified(("a", "x\ny\n"), ("b", "x\nz\n")), "--- a\n+++ b\n@@ -1,2 +1,2 @@\n x\n-y\n+z\n");
    }

    #[test]
    fn what_differs_in_too_much_is_told_in_few_lines() {
        // No two lines are alike, which takes the longest; few lines on one side do not help.
        for many in [200_000, 30] {
            let (old, new) = (numbered(0, 300_000, 'o'), numbered(0, many, 'n'));
            let diff = unified(("a", &format!("same\n{old}end\n")), ("b", &format!("same\n{new}end\n")));
            let mut lines = diff.lines().skip(2);
            let head = format!("@@ from line 2 on: 300000 lines, {many} lines @@");
            assert_eq!(lines.next(), Some(head.as_str()));
            assert_eq!(lines.clone().count(), 2 * (SHOWN + 1));
            let last = format!("+... and {} more lines", many - SHOWN);
            assert_eq!((lines.next(), lines.last()), (Some("-o0"), Some(last.as_str())));
        }
    }

    #[test]
    fn a_long_diff_is_cut() {
        let added = numbered(0, 100_000, 'n');
        let diff = unified(("a", "x\ny\n"), ("b", &format!("x\n{added}y\n")));
        assert_eq!(diff.lines().count(), MOST_LINES + 1);
        assert!(diff.ends_with("more lines\n") && diff.contains("+n0\n"), "{diff}");
    }

    proptest! {
        #[test]
        fn texts_that_differ_have_a_diff(old in "[ab\n]{0,20}", new in "[ab\n]{0,20}") {
            prop_assert_eq!(unified(("a", &old), ("b", &new)).is_empty(), old == new);
        }
    }
}
