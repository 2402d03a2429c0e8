//! The words about a cell for forms that have room for a few.

use super::terminal;
use s2lab_model::{escape, summary::CellSummary};

/// The longest excerpt, in bytes: the limit of KCIDB's `log_excerpt`.
pub const LONGEST: usize = 16_384;
/// The room for the last line of an excerpt that is cut.
const CUT: usize = 40;

/// Returns the findings of a cell with their evidence, as in its report, or the reason why it has
/// none. It is visible ASCII and line feeds, and never empty.
pub fn of(cell: &CellSummary) -> String {
    let lines = cell.report.iter().flat_map(|report| &report.findings.lines);
    let lines: Vec<String> = lines.map(ToString::to_string).collect();
    if lines.is_empty() {
        return reason(cell);
    }
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        if out.len() + line.len() + CUT > LONGEST {
            out.push_str(&format!("... and {} more lines", lines.len() - at));
            return out;
        }
        out.push_str(line);
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out
}

/// Returns the reason for a cell's verdict, or for the lack of one, in one line.
pub fn reason(cell: &CellSummary) -> String {
    match (terminal::why(cell), &cell.verdict) {
        (Some(why), _) => why,
        (None, Some(verdict)) => verdict.cause().to_owned(),
        (None, None) => "the run was interrupted before the cell was judged".to_owned(),
    }
}

/// Returns a text of a guest or a file in one line of visible ASCII, which is longer than a line of a
/// report may be.
pub fn line(text: &str) -> String {
    escape::bounded(text, LONGEST / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::fixture;
    use s2lab_model::verdict::Verdict;

    #[test]
    fn an_excerpt_is_bounded_and_never_empty() {
        let mut cell = fixture::failed("bar@debian-6.12", fixture::changed(vec![]));
        let whole = of(&cell);
        assert!(whole.starts_with("stage2 of nic at look stored, guest g0  I1\n  expected Normal-NC\n"));
        assert!(!whole.contains("more lines"));
        let findings = &mut cell.report.as_mut().unwrap().findings.lines;
        *findings = findings.iter().cycle().take(findings.len() * 1000).cloned().collect();
        let lines = findings.len();
        let cut = of(&cell);
        assert!(cut.len() <= LONGEST && cut.len() > LONGEST - 200, "{}", cut.len());
        let shown = cut.lines().count() - 1;
        assert!(cut.ends_with(&format!("\n... and {} more lines", lines - shown)), "{cut}");
        for verdict in [None, Some(Verdict::Lost), Some(Verdict::Skip(String::new())), Some(Verdict::PASS)] {
            assert!(!of(&CellSummary { verdict, report: None, ..cell.clone() }).is_empty());
        }
    }
}
