//! A run as KTAP version 1 (Linux, Documentation/dev-tools/ktap.rst): one level, a cell is a test.
//! Readers disagree about nested tests.

use super::{command, excerpt, terminal};
use s2lab_model::{
    escape,
    finding::Finding,
    summary::{CellSummary, RunSummary},
    verdict::Verdict,
};

/// The most findings of one cell that are printed.
const MOST_FINDINGS: usize = 16;
/// The texts at which kunit.py stops to read, wherever they stand in a line
/// (tools/testing/kunit/kunit_parser.py, KTAP_END). A panic may have the second one.
const ENDS: [&str; 3] =
    ["List of all partitions:", "Kernel panic - not syncing: VFS:", "reboot: System halted"];
/// The name of the test that a log without an end adds.
const LOG: &str = "s2lab-event-log";

/// Returns the document.
pub fn document(run: &RunSummary) -> String {
    let tests = run.cells.len() + usize::from(!run.whole);
    let cells = run.cells.iter().zip(1..).map(|(cell, number)| test(number, cell));
    let mut out = format!("KTAP version 1\n1..{tests}\n{}", cells.collect::<String>());
    if !run.whole {
        out.push_str(&format!("not ok {tests} {LOG} # ERROR LOST: the log stops before the run's end\n"));
    }
    out
}

/// Returns the line of a cell, after the lines that explain it.
fn test(number: usize, cell: &CellSummary) -> String {
    let key = &cell.key;
    let known = excerpt::known(cell);
    let test = match (&known, &cell.verdict) {
        // Every reader counts it as skipped; one that knows no directive counts it as passed.
        (Some(known), _) => format!("ok {number} {key} # SKIP {}\n", text(known)),
        (None, Some(Verdict::Pass { .. })) => return format!("ok {number} {key}\n"),
        (None, Some(Verdict::Skip(reason))) => return format!("ok {number} {key} # SKIP {}\n", text(reason)),
        (None, Some(Verdict::Fail | Verdict::Flaky)) => format!("not ok {number} {key}\n"),
        (None, Some(Verdict::Timeout(stage))) => format!("not ok {number} {key} # TIMEOUT {stage}\n"),
        (None, _) => format!("not ok {number} {key} # ERROR {}\n", terminal::word(cell)),
    };
    let verdict = known.map(|_| format!("{} is tolerated", terminal::word(cell)));
    let mut words: Vec<String> = verdict.into_iter().collect();
    words.extend(cell.findings.iter().take(MOST_FINDINGS).map(finding));
    if cell.findings.is_empty() {
        words.push(text(&excerpt::reason(cell)));
    }
    if let Some(more @ 1..) = cell.findings.len().checked_sub(MOST_FINDINGS) {
        words.push(format!("{more} more findings"));
    }
    words.push(format!("repeat: {}", text(&command::repeat(cell).join(" "))));
    // With the key a line is none of `# Subtest: NAME`.
    words.iter().map(|words| format!("# {key}: {words}\n")).collect::<String>() + &test
}

fn finding(finding: &Finding) -> String {
    let Finding { what, expected, found, .. } = finding;
    text(&format!("{what}: expected {expected}, found {found}"))
}

/// Returns one line of visible ASCII, without a `#`, which would begin a directive, and without
/// [`ENDS`].
fn text(text: &str) -> String {
    let text = escape::line(text).replace('#', "\\u{23}");
    ENDS.iter().fold(text, |text, end| text.replace(end, &end.replacen(':', "\\u{3a}", 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::fixture;
    use proptest::prelude::*;

    /// Reads results like kunit.py: number, passed, name, directive.
    fn read(text: &str) -> Vec<(usize, bool, String, String)> {
        let result = |line: &str| {
            let (passed, rest) = match line.strip_prefix("not ok ") {
                Some(rest) => (false, rest),
                None => (true, line.strip_prefix("ok ")?),
            };
            let (number, rest) = rest.split_once(' ')?;
            let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
            Some((number.parse().ok()?, passed, name.to_owned(), directive.to_owned()))
        };
        text.lines().filter_map(result).collect()
    }

    /// Returns true if the lines are a version, a plan, comments and one result a cell.
    fn is_whole(text: &str, cells: &[CellSummary]) -> bool {
        let mut lines = text.lines();
        let head = [lines.next().unwrap_or_default(), lines.next().unwrap_or_default()];
        let plan = format!("1..{}", cells.len());
        let results = read(text);
        let names = results.iter().map(|(number, _, name, _)| (*number, name.as_str()));
        head == ["KTAP version 1", &plan]
            && lines.all(|line| ["# ", "ok ", "not ok "].iter().any(|start| line.starts_with(start)))
            && names.eq(cells.iter().zip(1..).map(|(cell, number)| (number, cell.key.as_str())))
            && text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~'))
            && !text.contains("# Subtest:")
            && !ENDS.iter().any(|end| text.contains(end))
    }

    #[test]
    fn a_run() {
        let run = fixture::run();
        assert!(is_whole(&document(&run), &run.cells));
        insta::assert_snapshot!(document(&run));
    }

    /// Of a kernel that finds no root, and of a guest that writes KTAP.
    #[test]
    fn no_text_ends_the_document_or_adds_a_test() {
        let mut run = fixture::run();
        let text = "x # SKIP y\nok 1 mine\n# Subtest: mine\nKTAP version 1\n1..9";
        for (cell, end) in run.cells.iter_mut().zip(ENDS.iter().cycle()) {
            let both = format!("{end} {text}");
            cell.repeat = vec!["run".into(), both.clone()];
            for finding in &mut cell.findings {
                (finding.what, finding.found) = (both.clone(), both.clone());
            }
            if let Some(Verdict::Skip(reason)) = &mut cell.verdict {
                reason.clone_from(&both);
            }
        }
        let shown = document(&run);
        assert!(is_whole(&shown, &run.cells), "{shown}");
        assert!(shown.contains("Kernel panic - not syncing\\u{3a} VFS:"), "{shown}");
        let skipped: Vec<_> = read(&shown).into_iter().filter(|(.., why)| why.starts_with("SKIP")).collect();
        assert!(skipped.iter().all(|(_, passed, _, why)| *passed && !why.contains('#')), "{skipped:?}");
    }

    #[test]
    fn a_log_without_an_end_is_a_test_more() {
        let run = RunSummary { whole: false, ..fixture::run_of(vec![fixture::cell("bar@debian-6.12")]) };
        insta::assert_snapshot!(document(&run), @r"
        KTAP version 1
        1..2
        ok 1 bar@debian-6.12
        not ok 2 s2lab-event-log # ERROR LOST: the log stops before the run's end
        ");
    }

    #[test]
    fn a_tolerated_failure_is_skipped() {
        let run = fixture::run_of(vec![fixture::tolerated("bar@debian-6.12")]);
        assert!(is_whole(&document(&run), &run.cells));
        insta::assert_snapshot!(document(&run));
    }

    #[test]
    fn findings_are_bounded() {
        let mut cell = fixture::failed("bar@debian-6.12", fixture::changed(vec![]));
        cell.findings = vec![cell.findings[0].clone(); 200];
        let shown = document(&fixture::run_of(vec![cell]));
        assert!(shown.contains("# bar@debian-6.12: 184 more findings\n"), "{shown}");
        assert_eq!(shown.lines().count(), 2 + MOST_FINDINGS + 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_a_guest_writes(run in fixture::any_run()) {
            let shown = document(&run);
            prop_assert!(is_whole(&shown, &run.cells), "{shown}");
        }
    }
}
