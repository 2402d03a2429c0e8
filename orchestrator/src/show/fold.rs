//! Words in lines of a limited length.

/// Returns words with spaces between them, in lines of at most `columns` that have no spaces at their ends.
/// `first` is before the first line, `rest` before the others, and `tail` at the end of each but the last.
/// A word that is longer than a line stands on a line of its own.
pub(super) fn fold<'a>(
    columns: usize,
    [first, rest]: [&str; 2],
    words: impl IntoIterator<Item = &'a str>,
    tail: &str,
) -> String {
    let mut out = String::new();
    let (mut line, mut is_empty, mut gap) = (first.to_owned(), first.trim().is_empty(), "");
    for word in words {
        if !is_empty && line.chars().count() + [gap, word, tail].map(str::len).iter().sum::<usize>() > columns
        {
            line += if gap.is_empty() { "" } else { tail };
            end(&mut out, &line);
            (line, gap) = (rest.to_owned(), "");
        }
        line = line + gap + word;
        (is_empty, gap) = (false, " ");
    }
    end(&mut out, &line);
    out
}

/// Adds a line without the spaces at its end.
pub(super) fn end(out: &mut String, line: &str) {
    out.push_str(line.trim_end_matches(' '));
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_behind_their_indent() {
        let words = ["word"; 50];
        let text = fold(100, ["I1   ", "     "], words, "");
        assert!(text.lines().count() == 3 && text.lines().all(|line| line.len() <= 100), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("     word")), "{text}");
        assert_eq!(text.split_whitespace().count(), 51);
        assert_eq!(fold(100, ["     ", ""], [], ""), "\n");
    }

    #[test]
    fn a_long_word_has_a_line_of_its_own() {
        assert_eq!(fold(4, ["", ""], ["long-word"], ""), "long-word\n");
        assert_eq!(fold(4, ["- ", "  "], ["a", "long-word", "b"], ""), "- a\n  long-word\n  b\n");
        assert_eq!(fold(6, ["", "  "], ["one", "two"], " +"), "one +\n  two\n");
    }
}
