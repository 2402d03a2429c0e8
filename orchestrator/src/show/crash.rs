//! The text of a crash for `crash.txt`.

use s2lab_model::{crash, escape, record::Crash};

/// The longest line, in characters.
const LONGEST: usize = 1000;

/// Returns a crash under its fingerprint. Its lines keep their columns, and cannot steer a
/// terminal.
pub fn text(found: &Crash) -> String {
    let named = found.named();
    let fingerprint = crash::Crash::of(&named).map(|crash| crash.fingerprint()).unwrap_or_default();
    let lines: Vec<_> = named.iter().map(|line| visible(line)).collect();
    format!(
        "{}: {}\n\n{}\n\n",
        escape::line(&found.console),
        escape::bounded(&fingerprint, LONGEST),
        lines.join("\n")
    )
}

/// Returns a line as visible ASCII, with its columns.
pub fn visible(line: &str) -> String {
    let seen = |c: char| c.is_ascii_graphic() || c == ' ';
    let escaped = |c: char| if seen(c) { c.to_string() } else { c.escape_default().to_string() };
    line.chars().take(LONGEST).map(escaped).collect()
}
