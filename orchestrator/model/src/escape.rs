//! Text from guests and kernels, made safe for a line of a report: one line, bounded, nothing that moves a cursor.

use std::fmt::Write;

/// Longest escaped text in characters, unless the caller says otherwise.
pub const LONGEST: usize = 200;

/// `text` as visible ASCII: everything else is written `\n`, `\u{7f}` ...; a backslash is doubled, runs of spaces become
/// one, spaces at the ends go, and at most `longest` characters remain, `...` marking a cut. Empty text becomes `""`.
/// The result never holds two spaces in a row, so that two spaces can separate columns.
pub fn bounded(text: &str, longest: usize) -> String {
    let mut out = String::new();
    // Where to cut, should the whole not fit: between two characters, with room for the mark.
    let mut cut = 0;
    for c in text.trim_matches(' ').chars() {
        match c {
            ' ' if out.ends_with(' ') => {}
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
        }
        if out.len() + 3 <= longest {
            cut = out.len();
        }
        if out.len() > longest {
            out.truncate(cut);
            out.truncate(out.trim_end().len());
            out.push_str("...");
            break;
        }
    }
    if out.is_empty() { "\"\"".into() } else { out }
}

/// [`bounded`] by [`LONGEST`].
pub fn line(text: &str) -> String {
    bounded(text, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_how() {
        for (text, escaped) in [
            ("plain text", "plain text"),
            ("", "\"\""),
            ("   ", "\"\""),
            (" a   b ", "a b"),
            ("a\x1b[31mred", "a\\u{1b}[31mred"),
            ("two\nlines\r\t", "two\\nlines\\r\\t"),
            ("\u{202e}rtl é", "\\u{202e}rtl \\u{e9}"),
            ("back\\slash", "back\\\\slash"),
        ] {
            assert_eq!(line(text), escaped);
        }
        assert_eq!(bounded("123456789", 9), "123456789");
        assert_eq!(bounded("1234567890", 9), "123456...");
    }

    proptest! {
        #[test]
        fn always_one_bounded_visible_line(text in any::<String>(), longest in 10usize..300) {
            let escaped = bounded(&text, longest);
            prop_assert!(!escaped.is_empty() && escaped.len() <= longest, "{escaped:?}");
            prop_assert!(escaped.bytes().all(|b| (b' '..=b'~').contains(&b)), "{escaped:?}");
            prop_assert!(!escaped.contains("  ") && escaped.trim() == escaped, "{escaped:?}");
        }
    }
}
