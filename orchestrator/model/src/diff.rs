//! Differences of texts as unified diffs.

use similar::TextDiff;

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// The unified diff from `old` to `new`; empty if they are equal.
pub fn unified(old: (&str, &str), new: (&str, &str)) -> String {
    if old.1 == new.1 {
        return String::new();
    }
    TextDiff::from_lines(old.1, new.1).unified_diff().context_radius(CONTEXT).header(old.0, new.0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_is_empty_and_a_change_shows_both_lines() {
        assert_eq!(unified(("a", "x\n"), ("b", "x\n")), "");
        assert_eq!(unified(("a", "x\ny\n"), ("b", "x\nz\n")), "--- a\n+++ b\n@@ -1,2 +1,2 @@\n x\n-y\n+z\n");
    }
}
