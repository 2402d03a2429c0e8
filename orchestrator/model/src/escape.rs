//! Text from guests and kernels, made safe for a line of a report: one line, bounded, without
//! characters that move the cursor.

use std::fmt::Write;

/// The longest escaped text in characters, unless the caller sets another limit.
pub const LONGEST: usize = 200;

/// Returns `text` as visible ASCII. Other characters become `\n`, `\u{7f}` ...; a backslash is
/// doubled, runs of spaces become one, and spaces at the ends are removed. At most `longest`
/// characters remain, with `...` at a cut. Empty text becomes `""`. The result never has two spaces
/// in a row, so that two spaces can separate columns.
pub fn bounded(text: &str, longest: usize) -> String {
    let mut out = String::new();
    // The place of the cut, if the whole does not fit: between two characters, with room for the
    // mark.
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

/// Returns true if a terminal would not just show the character: a control character, or one
/// without a shape of its own that changes the order or the looks of others (Unicode 16.0
/// PropList.txt, `Bidi_Control`; DerivedCoreProperties.txt, `Default_Ignorable_Code_Point`; the
/// line and paragraph separators).
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}')
        || matches!(c, '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}')
        || matches!(c, '\u{e0000}'..='\u{e0fff}')
}

/// Returns a person's text, which may be in any script, with `?` in place of each character that
/// would steer a terminal. Line feeds and tabs stay.
pub fn plain(text: &str) -> String {
    text.replace(|c: char| steers(c) && !matches!(c, '\n' | '\t'), "?")
}

/// Returns the same JSON with characters that would steer a terminal written as `\\u202e`. JSON
/// itself does so for the first 32 characters only.
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) && c != '\n' {
            // Such a character can only be in a string.
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Returns [`bounded`] by [`LONGEST`].
pub fn line(text: &str) -> String {
    bounded(text, LONGEST)
}

/// Returns [`bounded`] of a text that may be escaped already: if it is visible ASCII, and not too
/// long, it stays as it is.
pub fn once(text: &str, longest: usize) -> String {
    let visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if visible && !text.is_empty() && text.len() <= longest {
        text.to_owned()
    } else {
        bounded(text, longest)
    }
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

    #[test]
    fn what_is_escaped_already_stays() {
        let escaped = line("a\n\\");
        assert_eq!(once(&escaped, 200), escaped);
        assert_eq!(once("a\n", 200), "a\\n");
        assert_eq!(once("1234567890", 9), "123456...");
    }

    #[test]
    fn json_of_a_hostile_guest() {
        let text = "\u{9b}31m\u{e0041}é\u{7f}";
        let escaped = json(&serde_json::to_string(text).unwrap());
        assert_eq!(escaped, r#""\u009b31m\udb40\udc41é\u007f""#);
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }

    #[test]
    fn letters_stay_and_what_moves_them_goes() {
        assert_eq!(plain("für\tκόσμος, עולם\n"), "für\tκόσμος, עולם\n");
        assert_eq!(plain("a\u{202e}b\x1b[2J\r\u{9b}3\u{2066}\u{200d}\u{e0041}"), "a?b?[2J??3???");
    }

    proptest! {
        #[test]
        fn nothing_plain_steers(text in any::<String>()) {
            let shown = plain(&text);
            prop_assert!(!shown.contains(|c: char| c != '\n' && c != '\t' && steers(c)), "{shown:?}");
            prop_assert_eq!(shown.chars().count(), text.chars().count(), "columns stay where they are");
        }

        #[test]
        fn json_keeps_its_meaning_and_steers_nothing(text in any::<String>()) {
            let escaped = json(&serde_json::to_string(&text).unwrap());
            prop_assert!(!escaped.contains(steers), "{escaped:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        }

        #[test]
        fn always_one_bounded_visible_line(text in any::<String>(), longest in 10usize..300) {
            let escaped = bounded(&text, longest);
            prop_assert!(!escaped.is_empty() && escaped.len() <= longest, "{escaped:?}");
            prop_assert!(escaped.bytes().all(|b| (b' '..=b'~').contains(&b)), "{escaped:?}");
            prop_assert!(!escaped.contains("  ") && escaped.trim() == escaped, "{escaped:?}");
        }
    }
}
