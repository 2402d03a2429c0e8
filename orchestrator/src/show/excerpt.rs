//! The words about a cell for forms that have room for a few.

use super::terminal;
use s2lab_model::{escape, night::KnownFailure, summary::CellSummary};

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

/// Returns the known failure that tolerates the verdict, in one line: the reason, its report and
/// the last date. None: nothing tolerates it.
pub fn known(cell: &CellSummary) -> Option<String> {
    let KnownFailure { reason, link, until, .. } = cell.tolerated.as_ref()?;
    let link = link.as_ref().map(|link| format!("{link}, ")).unwrap_or_default();
    Some(line(&format!("known: {reason} ({link}until {until})")))
}

/// Returns a text of a guest or a file in one line of visible ASCII, which is longer than a line of a
/// report may be.
pub fn line(text: &str) -> String {
    escape::bounded(text, LONGEST / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::{fixture, github, json, junit, kcidb, ktap, lore, markdown, page, terminal::Paint};
    use s2lab_model::verdict::Verdict;

    /// The reason and the last date are in every form, and readers count no failure.
    #[test]
    fn a_toleration_is_in_every_form() {
        let run = fixture::run_of(vec![fixture::tolerated("bar@debian-6.12")]);
        let forms = [
            ("human", terminal::run(&run, Paint(false))),
            ("json", json::document(&run)),
            ("markdown", markdown::run(&run)),
            ("junit", junit::document(&run)),
            ("github", github::run(&run)),
            ("lore", lore::run(&run)),
            ("ktap", ktap::document(&run)),
            ("kcidb", kcidb::document(&run)),
            ("page", page::run(&run)),
        ];
        for (form, text) in forms {
            assert!(text.contains("vfio-pci lost its mark"), "{form}: {text}");
            assert!(text.contains("2026-12-24"), "{form}: {text}");
        }
        let annotations = github::run(&run);
        assert!(annotations.starts_with("::notice title=FAIL bar@debian-6.12::known"), "{annotations}");
        assert_eq!(annotations.lines().count(), 1, "{annotations}");
    }

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
