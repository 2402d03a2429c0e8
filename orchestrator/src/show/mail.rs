//! Lines of a plain-text mail.
//!
//! The rule: a line has at most [`COLUMNS`] columns of ASCII. Text is broken at spaces, and its
//! longer words are broken too. Keys, Message-IDs, digests, links and arguments of commands are
//! never broken: one that is longer than a line stands on a line of its own.

use super::fold::{end, fold};
use s2lab_model::escape;

/// The longest line, in columns. With it a mail can be quoted a few times within 80 columns.
pub const COLUMNS: usize = 75;
/// The longest word of a text that is not broken.
const LONGEST_WORD: usize = 60;
/// The longest text or name.
const LONGEST: usize = 2000;
/// The end of a line of a command that goes on.
const GOES_ON: &str = " \\";

/// A mail that is being written.
#[derive(Debug, Default)]
pub struct Mail(String);

/// A part of a line.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// A text, which may be broken anywhere.
    Text(&'a str),
    /// A name, which is never broken.
    Whole(&'a str),
}

impl Mail {
    pub fn into_text(self) -> String {
        self.0
    }

    pub fn blank(&mut self) {
        self.0.push('\n');
    }

    /// Writes pieces with spaces between them. `first` is before the first line, `rest` before the
    /// others.
    pub fn line(&mut self, first: &str, rest: &str, pieces: &[Piece<'_>]) {
        let words = pieces.iter().flat_map(|piece| match piece {
            Piece::Text(text) => words(text),
            Piece::Whole(name) => vec![escape::once(name, LONGEST).replace(' ', "\\u{20}")],
        });
        self.fold(first, rest, &words.collect::<Vec<_>>(), "");
    }

    /// Writes a text.
    pub fn text(&mut self, first: &str, rest: &str, text: &str) {
        self.line(first, rest, &[Piece::Text(text)]);
    }

    /// Writes lines that are aligned in columns, as they are if they fit.
    pub fn aligned(&mut self, first: &str, rest: &str, text: &str) {
        if escape::once(text, LONGEST) == text && first.len() + text.len() <= COLUMNS {
            end(&mut self.0, &format!("{first}{text}"));
        } else {
            self.text(first, rest, text);
        }
    }

    /// Writes a command, whose arguments are quoted. It is broken between arguments, as a shell
    /// wants it.
    pub fn command(&mut self, first: &str, rest: &str, arguments: &[String]) {
        self.fold(first, rest, arguments, GOES_ON);
    }

    /// Breaks a line between words. Each line but the last ends in `tail`.
    fn fold(&mut self, first: &str, rest: &str, words: &[String], tail: &str) {
        self.0 += &fold(COLUMNS, [first, rest], words.iter().map(String::as_str), tail);
    }
}

/// Returns the words of a text, escaped, none longer than [`LONGEST_WORD`].
fn words(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec![];
    }
    let shown = escape::once(text, LONGEST);
    let pieces = shown.split(' ').filter(|word| !word.is_empty());
    let broken = pieces.flat_map(|word| word.as_bytes().chunks(LONGEST_WORD));
    broken.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Mail)) -> String {
        let mut mail = Mail::default();
        write(&mut mail);
        mail.into_text()
    }

    #[test]
    fn a_long_word_of_a_text_is_broken_and_a_name_is_not() {
        let long = "x".repeat(200);
        let text = written(|mail| mail.text("  label: ", "    ", &format!("one {long}")));
        assert!(text.lines().all(|line| line.len() <= COLUMNS), "{text}");
        let line =
            written(|mail| mail.line("  label: ", "    ", &[Piece::Whole(&long), Piece::Text("more")]));
        assert_eq!(line, format!("  label:\n    {long}\n    more\n"));
    }

    #[test]
    fn a_command_goes_on_in_the_next_line() {
        let arguments = ["s2lab", "run", "--kernel"].map(str::to_owned);
        let arguments = [&arguments[..], &["y".repeat(64), "'a b'".into()]].concat();
        let text = written(|mail| mail.command("  ", "      ", &arguments));
        assert_eq!(text, format!("  s2lab run --kernel \\\n      {} \\\n      'a b'\n", "y".repeat(64)));
    }

    #[test]
    fn columns_stay_where_they_fit() {
        let line = |text: &str| written(|mail| mail.aligned("  ", "    ", text));
        assert_eq!(line("nic +0x0  1 x 2M"), "  nic +0x0  1 x 2M\n");
        assert_eq!(line("nic\u{7}  1"), "  nic\\u{7} 1\n");
    }
}
