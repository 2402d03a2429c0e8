//! `s2lab report` on any log: record, judgement, report, and the terminal's output.

use s2lab::show::{
    crash,
    terminal::{self, Paint},
};
use s2lab_model::{
    judge::judge_run,
    record::Run,
    report::{Report, compare},
    summary::RunSummary,
};
use std::path::Path;

/// The longest line of any output, in bytes. Each name or text in it is shown shorter.
const LONGEST_LINE: usize = 16 * 1024;
/// The bytes of a page.
const PAGE: usize = 4096;

pub(crate) fn report(data: &[u8]) {
    let Ok(run) = Run::read_as_far(data) else { return };
    let judged = judge_run(run, &|digest: &str| page(digest));
    let summary = RunSummary::of(&judged, Path::new("/run"), |_| "/run/cell".into(), None);
    shown(&terminal::run(&summary, Paint(false)));
    for report in judged.cells.iter().filter_map(Report::of_cell) {
        let text = report.text();
        shown(&text);
        let read = Report::parse(&text);
        assert_eq!(read.as_ref(), Ok(&report), "a report is read as it was written:\n{text}");
        let _ = compare(&report, &report);
    }
    let attempts = judged.cells.iter().flat_map(|cell| &cell.attempts);
    for found in attempts.flat_map(|attempt| &attempt.record.crashes) {
        shown(&crash::text(found));
    }
}

/// Checks that the text has no character that steers a terminal, and no endless line.
fn shown(text: &str) {
    let steers = |c: char| c != '\n' && c != '·' && !matches!(c, ' '..='~');
    assert!(!text.contains(steers), "{text:?}");
    let longest = text.lines().map(str::len).max().unwrap_or_default();
    assert!(longest <= LONGEST_LINE, "{longest} in a line of {text}");
}

/// Returns a page that repeats the digest's own bytes, so that the fuzzer chooses descriptors.
fn page(digest: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        digest.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let bytes: Vec<u8> =
        digits?.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    (!bytes.is_empty()).then(|| bytes.iter().copied().cycle().take(PAGE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::fs;

    /// Names that a hostile guest or host could give itself.
    const HOSTILE: [&str; 5] = [
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{202e}\u{2066}\u{200f}gnp.exe",
        "a\r\nPASS  all@well\n",
        "<script>alert(1)</script>\u{0}\u{9b}31m",
        "",
    ];

    /// Collects every text of the event, in order.
    fn texts<'a>(value: &'a mut Value, found: &mut Vec<&'a mut String>) {
        match value {
            Value::String(text) => found.push(text),
            Value::Array(values) => values.iter_mut().for_each(|value| texts(value, found)),
            Value::Object(map) => map.values_mut().for_each(|value| texts(value, found)),
            _ => {}
        }
    }

    /// A seed that is no log shows a fuzzer nothing. Each is the log of a real run, cut to what is
    /// needed: `s2lab run vfio-pci-bar@debian-6.12 --out DIR`, then `DIR/events.jsonl`.
    #[test]
    fn seeds_are_logs() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/log");
        for log in fs::read_dir(folder).unwrap() {
            let path = log.unwrap().path();
            let run = Run::read(&fs::read_to_string(&path).unwrap());
            let run = run.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(run.skipped.is_empty() && !run.cells[0].attempts.is_empty(), "{}", path.display());
        }
    }

    #[test]
    fn no_text_of_an_event_steers_a_terminal() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/log");
        let long = "x".repeat(100_000);
        let mut replaced = 0;
        for log in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(log.unwrap().path()).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            // s2lab itself wrote the plan.
            for (at, line) in lines.iter().enumerate().skip(1) {
                for hostile in HOSTILE.iter().copied().chain([long.as_str()]) {
                    for n in 0.. {
                        let mut event: Value = serde_json::from_str(line).unwrap();
                        let mut found = vec![];
                        texts(&mut event["event"], &mut found);
                        let Some(text) = found.into_iter().nth(n) else { break };
                        *text = hostile.to_owned();
                        replaced += 1;
                        let mut lines = lines.clone();
                        let event = event.to_string();
                        lines[at] = &event;
                        report((lines.join("\n") + "\n").as_bytes());
                    }
                }
            }
        }
        assert!(replaced > 1000, "{replaced}");
    }
}
