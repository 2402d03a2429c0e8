//! Characters that look like others, or like nothing, and are behind many a mistake in a file.

use std::ops::Range;

/// A character, its name with an article, and what to do about it.
type Unseen = (char, &'static str, &'static str);

const SPACE: &str = "put a space there";
const REMOVE: &str = "remove it";

/// The names of Unicode 16, for the spaces and marks that editors, mail programs and web pages
/// write.
const ALL: [Unseen; 22] = [
    ('\t', "a tab", SPACE),
    ('\u{a0}', "a no-break space", SPACE),
    ('\u{ad}', "a soft hyphen", REMOVE),
    ('\u{2002}', "an en space", SPACE),
    ('\u{2003}', "an em space", SPACE),
    ('\u{2007}', "a figure space", SPACE),
    ('\u{2008}', "a punctuation space", SPACE),
    ('\u{2009}', "a thin space", SPACE),
    ('\u{200a}', "a hair space", SPACE),
    ('\u{200b}', "a zero-width space", REMOVE),
    ('\u{200c}', "a zero-width non-joiner", REMOVE),
    ('\u{200d}', "a zero-width joiner", REMOVE),
    ('\u{200e}', "a left-to-right mark", REMOVE),
    ('\u{200f}', "a right-to-left mark", REMOVE),
    ('\u{2028}', "a line separator", "end the line there"),
    ('\u{2029}', "a paragraph separator", "end the line there"),
    ('\u{202f}', "a narrow no-break space", SPACE),
    ('\u{2060}', "a word joiner", REMOVE),
    ('\u{3000}', "an ideographic space", SPACE),
    ('\u{feff}', "a byte-order mark", REMOVE),
    ('\u{ff1a}', "a fullwidth colon", "put a `:` there"),
    ('\u{ff0c}', "a fullwidth comma", "put a `,` there"),
];

/// The name of a character that is not seen.
pub(crate) fn name(c: char) -> Option<&'static str> {
    ALL.iter().find(|(unseen, ..)| *unseen == c).map(|(_, name, _)| *name)
}

/// Help with a line of a file that has such a character before its comment.
pub(crate) fn help(line: &str) -> Option<String> {
    let line = line.split(" #").next().unwrap_or_default();
    line.chars().zip(1..).find_map(|(c, column)| {
        let (_, name, remedy) = ALL.iter().find(|(unseen, ..)| *unseen == c)?;
        Some(format!("column {column} is {name} (U+{:04X}): {remedy}", u32::from(c)))
    })
}

/// The lines of `text` with which git marks what two sides have changed (git-merge(1), "How
/// conflicts are presented").
pub(crate) fn conflict_markers(text: &str) -> impl Iterator<Item = Range<usize>> {
    const MARKERS: [&str; 3] = ["<<<<<<< ", "||||||| ", ">>>>>>> "];
    let mut at = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let begin = at;
        at += line.len();
        let is_marker = MARKERS.iter().any(|marker| line.starts_with(marker));
        is_marker.then(|| begin..begin + line.trim_end().len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_named_with_its_place() {
        let tab = "column 7 is a tab (U+0009): put a space there";
        assert_eq!(help("  cpu:\tneoverse-v1").as_deref(), Some(tab));
        assert_eq!(help("  cpu: neoverse-v1 # a\u{a0}b"), None);
        assert_eq!(help("cpu: \u{200b}x").unwrap(), "column 6 is a zero-width space (U+200B): remove it");
        assert_eq!(name('\u{feff}'), Some("a byte-order mark"));
        assert_eq!(name('x'), None);
    }

    #[test]
    fn conflicts_are_found_at_their_lines() {
        let text = "a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> topic\r\n";
        let found: Vec<_> = conflict_markers(text).map(|at| &text[at]).collect();
        assert_eq!(found, ["<<<<<<< HEAD", ">>>>>>> topic"]);
        assert_eq!(conflict_markers("about: a <<<<<<< b\n").count(), 0);
    }
}
