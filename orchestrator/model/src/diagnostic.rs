//! Mistakes in a text that a person wrote: the place, the mistake, and the correction. They are
//! rendered as plain text, always the same; the caller adds colour.

use serde::Serialize;
use std::fmt::{self, Display, Formatter, Write};
use std::ops::Range;

/// The weight of a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The text cannot be used.
    Error,
    /// The text can be used, and is probably not what was meant.
    Warning,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The bytes of the text that are wrong; may be empty.
    pub span: Range<usize>,
    /// The line on which the span begins, without its line end.
    pub source: String,
    pub message: String,
    pub help: Option<String>,
}

/// The most characters of a source line that are shown. A longer line shows those around the place.
const SHOWN: usize = 120;

impl Display for Diagnostic {
    /// Writes `file:line:column: error: message`, the source line, carets under the place, and the
    /// help.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (file, message) = (plain(&self.file), plain(&self.message));
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{file}:{}:{}: {word}: {message}", self.line, self.column)?;
        let at = self.column.saturating_sub(1);
        let skipped = at.saturating_sub(SHOWN / 2).min(self.source.chars().count().saturating_sub(SHOWN));
        let shown: String = self.source.chars().skip(skipped).take(SHOWN).collect();
        let pad: String =
            shown.chars().take(at - skipped).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let room = shown.chars().count().saturating_sub(at - skipped);
        let wide = self
            .source
            .get(self.byte_column()..)
            .map_or(0, |rest| rest.char_indices().take_while(|(i, _)| *i < self.span.len()).count());
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, " {gutter} |")?;
        writeln!(f, " {number} | {}", plain(&shown))?;
        writeln!(f, " {gutter} | {pad}{}", "^".repeat(wide.clamp(1, room.max(1))))?;
        match &self.help {
            Some(help) => writeln!(f, " {gutter} = help: {}", plain(help)),
            None => Ok(()),
        }
    }
}

impl Diagnostic {
    /// Returns the byte in [`Diagnostic::source`] at which the span begins.
    fn byte_column(&self) -> usize {
        self.source.char_indices().nth(self.column.saturating_sub(1)).map_or(self.source.len(), |(i, _)| i)
    }
}

/// Returns text that takes one line of a terminal, with each caret under its place.
fn plain(text: &str) -> String {
    crate::escape::plain(text).replace('\n', "?")
}

/// All mistakes of one file, in the file's order; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Display for Diagnostics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_char('\n')?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

/// The most mistakes of one file that are collected. Nobody reads more, and a hostile file could
/// have tens of thousands.
const MOST: usize = 500;
/// The longest message or help, in characters: both quote words of the file.
const LONGEST: usize = 400;

/// Collects the mistakes of one file while it is read.
pub(crate) struct Sink<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<Diagnostic>,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn error(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.push(span, Severity::Error, message.into(), None);
    }

    pub(crate) fn error_help(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(span, Severity::Error, message.into(), Some(help.into()));
    }

    pub(crate) fn warning(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(span, Severity::Warning, message.into(), Some(help.into()));
    }

    /// Adds the mistakes of another sink of the same text that are new. `at` says where they were
    /// found; mistakes in `place` need no such word.
    pub(crate) fn absorb(&mut self, other: Sink<'_>, place: &Range<usize>, at: &str) {
        for Diagnostic { span, severity, message, help, .. } in other.found {
            let marked = format!("{message} (at ");
            let is_known = |known: &Diagnostic| {
                known.span == span && (known.message == message || known.message.starts_with(&marked))
            };
            if self.found.iter().any(is_known) {
                continue;
            }
            let is_inside = place.start <= span.start && span.end <= place.end;
            let message = if is_inside { message } else { format!("{marked}{at})") };
            self.push(span, severity, message, help);
        }
    }

    /// Returns the mistakes so far.
    pub(crate) fn found(self) -> Vec<Diagnostic> {
        self.found
    }

    fn push(&mut self, span: Range<usize>, severity: Severity, message: String, help: Option<String>) {
        match self.found.len() {
            ..MOST => self.keep(span, severity, message, help),
            MOST => {
                let message = format!("there are more than {MOST} mistakes; not all of them are shown");
                self.keep(self.text.len()..self.text.len(), severity, message, None);
            }
            _ => {}
        }
    }

    fn keep(&mut self, span: Range<usize>, severity: Severity, message: String, help: Option<String>) {
        let start = self.text.floor_char_boundary(span.start.min(self.text.len()));
        let end = self.text.floor_char_boundary(span.end.clamp(start, self.text.len()));
        let line_start = self.text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |i| start + i);
        let source = self.text[line_start..line_end].trim_end_matches('\r').to_owned();
        let help = crate::unseen::help(&source).or(help);
        self.found.push(Diagnostic {
            severity,
            file: self.file.to_owned(),
            line: self.text[..line_start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            span: start..end,
            source,
            message: cut(message),
            help: help.map(cut),
        });
    }

    /// Returns `value` if there are no mistakes, or the mistakes in the file's order, each once.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Diagnostics> {
        if self.found.is_empty() {
            match value {
                Some(value) => return Ok(value),
                None => self.error(0..0, "this file cannot be read, and no reason was found"),
            }
        }
        self.found.sort_by_key(|d| d.span.start);
        let mut once: Vec<Diagnostic> = Vec::with_capacity(self.found.len());
        for diagnostic in self.found {
            if !once.contains(&diagnostic) {
                once.push(diagnostic);
            }
        }
        Err(Diagnostics(once))
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The most known words that are listed whole. Of more of them the nearest are listed.
const MOST_KNOWN: usize = 20;
/// The number of words that are listed of many.
const FEW: usize = 5;

/// Returns "did you mean `x`?" with the known words, for a word that is not one of them. Many known
/// words are shortened to the nearest.
pub fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match closest(wrong, &known) {
        _ if known.is_empty() => "there are none here".to_owned(),
        Some(right) if known.len() == 1 => format!("did you mean `{right}`?"),
        Some(right) => format!("did you mean `{right}`? {}", known_here(wrong, known)),
        None => known_here(wrong, known),
    }
}

fn known_here(wrong: &str, mut known: Vec<&str>) -> String {
    let all = known.len();
    if all <= MOST_KNOWN {
        return format!("known here: {}", known.join(", "));
    }
    // A part of a word is more than a word of the same length.
    known.sort_by_cached_key(|word| (!word.contains(wrong), distance(wrong, word)));
    known.truncate(FEW);
    format!("the nearest of {all} known here: {}", known.join(", "))
}

/// Returns words as a list, of which a message can quote any number: the first ones, and how many
/// there are besides.
pub fn few<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.get(..FEW).filter(|_| words.len() > MOST_KNOWN) {
        Some(first) => format!("{} and {} more", first.join(", "), words.len() - FEW),
        None => words.join(", "),
    }
}

/// Returns the known word that `wrong` most likely stands for, if one is near enough.
pub fn closest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|word| (distance(wrong, word), *word))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, k)| {
            *distance <= 1 + k.chars().count() / 4 && *distance < wrong.len().max(k.len())
        })
        .map(|(_, k)| k)
}

fn distance(wrong: &str, known: &str) -> usize {
    strsim::damerau_levenshtein(&wrong.to_lowercase(), &known.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, span: Range<usize>) -> String {
        let mut sink = Sink::new("f.yaml", text);
        sink.error_help(span, "wrong", "right");
        sink.finish::<()>(None).unwrap_err().to_string()
    }

    #[test]
    fn caret_stands_under_the_place_in_characters() {
        let shown = one("# ä\nä: öx y\r\n", 9..12);
        assert_eq!(shown, "f.yaml:2:4: error: wrong\n   |\n 2 | ä: öx y\n   |    ^^\n   = help: right\n");
    }

    #[test]
    fn caret_stops_at_the_end_of_its_line() {
        assert_eq!(
            one("abc\ndef\n", 1..6),
            "f.yaml:1:2: error: wrong\n   |\n 1 | abc\n   |  ^^\n   = help: right\n"
        );
    }

    #[test]
    fn place_at_the_end_of_the_text() {
        assert_eq!(
            one("abc", 3..3),
            "f.yaml:1:4: error: wrong\n   |\n 1 | abc\n   |    ^\n   = help: right\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let shown = one(&text, 500..501);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[2].find('X'), lines[3].find('^'));
        assert!(lines[2].len() < 140, "{}", lines[2]);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        for c in ['\u{1b}', '\u{202e}', '\u{7f}'] {
            assert!(!one(&format!("a{c}[31m: b\n"), 0..1).contains(c));
        }
    }

    #[test]
    fn in_order_and_once() {
        let mut sink = Sink::new("f", "a\nb\n");
        sink.error(2..3, "second");
        sink.error(0..1, "first");
        sink.error(2..3, "second");
        let all: Vec<_> =
            sink.finish::<()>(None).unwrap_err().iter().map(|d| (d.line, d.message.clone())).collect();
        assert_eq!(all, [(1, "first".to_owned()), (2, "second".to_owned())]);
    }

    #[test]
    fn no_file_makes_endless_output() {
        let mut sink = Sink::new("f", "abc\n");
        (0..10 * MOST).for_each(|i| sink.error(0..1, format!("{i}{}", "x".repeat(10 * LONGEST))));
        let all = sink.finish::<()>(None).unwrap_err();
        assert_eq!(all.iter().count(), MOST + 1);
        assert!(all.to_string().len() < 2 * MOST * LONGEST);
        assert!(all.to_string().contains("more than 500 mistakes"));
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_not() {
        assert_eq!(closest("devcies", &["cpu", "devices"]), Some("devices"));
        assert_eq!(closest("NIC", &["nic"]), Some("nic"));
        assert_eq!(closest("zebra", &["cpu", "devices"]), None);
        assert_eq!(closest("", &["cpu"]), None);
        assert_eq!(closest("d", &["a", "b"]), None);
    }

    #[test]
    fn of_many_known_words_the_nearest_are_listed() {
        let words: Vec<String> = (100..10_000).map(|n| format!("bar@k{n}")).collect();
        let names = |count: usize| words.iter().take(count).map(String::as_str);
        let all = suggest("far@x", names(MOST_KNOWN));
        assert_eq!(all, format!("known here: {}", names(MOST_KNOWN).collect::<Vec<_>>().join(", ")));
        let near = "the nearest of 9900 known here: bar@k100, bar@k101, bar@k102, bar@k103, bar@k104";
        assert_eq!(suggest("fur@xx", names(usize::MAX)), near);
        let near = "did you mean `bar@k777`? the nearest of 9900 known here: bar@k777, ";
        assert!(suggest("bar@k777x", names(usize::MAX)).starts_with(near));
        let part = "the nearest of 9900 known here: bar@k9999, bar@k";
        assert!(suggest("k9999", names(usize::MAX)).starts_with(part));
        assert_eq!(few(names(3)), "bar@k100, bar@k101, bar@k102");
        let first = "bar@k100, bar@k101, bar@k102, bar@k103, bar@k104 and 9895 more";
        assert_eq!(few(names(usize::MAX)), first);
    }
}
