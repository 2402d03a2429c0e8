//! A run or a diff as Markdown for a comment in a pull request: at most five lines that sum it up,
//! a table of the cells, and the details of failures, folded.
//!
//! Every text that a guest or a file chose stands in a code span, a code fence or `<code>`. GitHub
//! looks there for no HTML, no mention, no reference and no link.

use super::{
    command, crash, excerpt,
    outline::{self, Class, Sentence},
    standings, terminal,
    tested::{self, TestedKernel},
};
use s2lab_model::{
    changes::{CellDiff, CellResult, Change, DiffSummary},
    escape,
    plan::Key,
    report::{Outcome, Standing},
    summary::{CellSummary, RunSummary},
};

/// The most characters of a comment. GitHub takes 65,536.
pub const COMMENT: usize = 65_000;
/// The most cells that a sentence names.
const MOST_KEYS: usize = 4;
/// The most changes in a row of the table.
const MOST_CHANGES: usize = 3;
/// The most lines of a report, and of a unified diff, in the details of a cell.
const MOST_LINES: usize = 40;
/// The longest text in a code span; a key has 240 characters at most.
const LONGEST_CODE: usize = 240;
/// The most kernels whose facts are listed.
const MOST_KERNELS: usize = 20;
/// The characters that are kept for the line about what was cut.
const ABOUT_CUT: usize = 300;

/// Returns a run as the text of a comment.
pub fn run(run: &RunSummary) -> String {
    run_within(run, COMMENT)
}

/// Returns a run in at most `limit` characters, all of them ASCII. The table is cut at its end,
/// where the cells are that matter least; details are left out as a whole.
pub fn run_within(run: &RunSummary, limit: usize) -> String {
    let title = format!("**s2lab** {}: {}", code(&run.s2lab), terminal::counts(run));
    let head = head(&title, &outline::of_run(run));
    let cells = outline::worst_first(run);
    let open = cells.iter().filter(|cell| Class::of(cell) != Class::Fine).count();
    let details = cells.iter().filter(|cell| Class::of(cell) == Class::Failed || outline::has_changed(cell));
    let rows = cells.iter().map(|cell| row(cell)).chain(orphans(run));
    Page {
        head,
        columns: &["cell", "verdict", "against accepted", "seen"],
        rows: rows.collect(),
        first: open,
        details: details.map(|cell| self::details(cell)).chain(tested(run)).collect(),
        limit,
    }
    .text()
}

/// Returns a diff as the text of a comment.
pub fn diff(diff: &DiffSummary) -> String {
    let count = |is: fn(&CellResult) -> bool| diff.cells.iter().filter(|cell| is(&cell.result)).count();
    let differ = count(|result| matches!(result, CellResult::Differs(_)));
    let title = format!(
        "**s2lab diff** {} to {}: {}, {differ} different, {} not comparable, {} only in one",
        code(&diff.old),
        code(&diff.new),
        outline::cells(diff.cells.len()),
        count(|result| matches!(result, CellResult::NotComparable(_))),
        diff.only_old.len() + diff.only_new.len(),
    );
    let mut cells: Vec<_> = diff.cells.iter().collect();
    cells.sort_by_key(|cell| (weight(&cell.result), &cell.new));
    let missing = |keys: &[Key], word: &str| -> Vec<String> {
        keys.iter().map(|key| table_row(&[code(key.as_str()), word.to_owned(), String::new()])).collect()
    };
    let (old, new) = (missing(&diff.only_old, "missing"), missing(&diff.only_new, "new"));
    let same = cells.iter().filter(|cell| cell.result == CellResult::Same).count();
    let (apart, alike) = cells.split_at(cells.len() - same);
    let rows = |cells: &[&CellDiff]| cells.iter().map(|cell| diff_row(cell)).collect::<Vec<_>>();
    let first = apart.len() + old.len() + new.len();
    Page {
        head: head(&title, &outline::of_diff(diff)),
        columns: &["cell", "result", "changes"],
        rows: [rows(apart), old, new, rows(alike)].concat(),
        first,
        details: vec![],
        limit: COMMENT,
    }
    .text()
}

/// The order of the rows of a diff.
fn weight(result: &CellResult) -> u8 {
    match result {
        CellResult::Differs(_) => 0,
        CellResult::NotComparable(_) => 1,
        CellResult::Same => 2,
    }
}

/// The parts of a text that has a limit.
struct Page<'a> {
    head: String,
    columns: &'a [&'a str],
    /// The rows of the table, the worst first.
    rows: Vec<String>,
    /// The number of rows that have room before any details.
    first: usize,
    details: Vec<String>,
    limit: usize,
}

impl Page<'_> {
    /// Fits the rows that matter, then details into half of what is left, then the other rows.
    fn text(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(|name| (*name).to_owned()).collect();
        let head = format!("{}\n{}|{}\n", self.head, table_row(&columns), "---|".repeat(columns.len()));
        let mut room = self.limit.saturating_sub(head.len() + ABOUT_CUT);
        let (open, fine) = self.rows.split_at(self.first.min(self.rows.len()));
        let mut rows = fitting(open, &mut room);
        let mut details = vec![];
        if rows.len() == open.len() {
            let mut half = room / 2;
            details = fitting(&self.details, &mut half);
            room -= details.iter().map(|text| text.len()).sum::<usize>();
            rows.extend(fitting(fine, &mut room));
        }
        let cut = self.cut(self.rows.len() - rows.len(), self.details.len() - details.len());
        head + &rows.concat() + &cut + &details.concat()
    }

    /// The line about what has no room.
    fn cut(&self, rows: usize, details: usize) -> String {
        let what = [(rows, "rows of the table"), (details, "folded parts")];
        let what = what.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
        match what.collect::<Vec<_>>().join(" and ") {
            none if none.is_empty() => "\n".into(),
            what => format!("\n**Cut:** {what} have no room in {} characters.\n\n", self.limit),
        }
    }
}

/// Takes the first texts that fit into the room.
fn fitting<'a>(texts: &'a [String], room: &mut usize) -> Vec<&'a str> {
    let fits = |text: &&String| {
        let left = room.checked_sub(text.len());
        *room = left.unwrap_or(*room);
        left.is_some()
    };
    texts.iter().take_while(fits).map(String::as_str).collect()
}

/// The lines before the table.
fn head(title: &str, sentences: &[Sentence<'_>]) -> String {
    let lines: String = sentences.iter().map(|one| format!("- {}\n", sentence(one))).collect();
    format!("{title}\n{lines}")
}

fn sentence(sentence: &Sentence<'_>) -> String {
    let Sentence { lead, what, cells } = sentence;
    let what = what.as_ref().map(|what| format!(": {}", code(what))).unwrap_or_default();
    let named = cells.iter().take(MOST_KEYS).map(|(key, remark)| match remark {
        Some(remark) => format!("{} ({})", code(key.as_str()), code(remark)),
        None => code(key.as_str()),
    });
    let more = cells.len().saturating_sub(MOST_KEYS);
    let more = (more > 0).then(|| format!("and {more} more"));
    let cells: Vec<_> = named.chain(more).collect();
    let colon = if cells.is_empty() { "" } else { ": " };
    format!("{lead}{what}{colon}{}", cells.join(", "))
}

/// The row of a cell.
fn row(cell: &CellSummary) -> String {
    let verdict = terminal::word(cell);
    let verdict = if Class::of(cell) == Class::Fine { verdict.to_owned() } else { format!("**{verdict}**") };
    let accepted = match &cell.standing {
        Some(_) if outline::is_known_failure(cell) => "same, not new",
        Some(standing) => standings::word(standing),
        None => "",
    };
    table_row(&[code(cell.key.as_str()), verdict, accepted.to_owned(), seen(cell)])
}

/// The last column of a row.
fn seen(cell: &CellSummary) -> String {
    let mut facts: Vec<String> = terminal::why(cell).iter().map(|why| code(why)).collect();
    facts.extend(terminal::broken(cell));
    facts.extend(terminal::further(cell));
    facts.extend(excerpt::known(cell).map(|known| code(&known)));
    facts.extend(changed(outline::changes(cell)));
    match &cell.standing {
        Some(Standing::Compared(Outcome::NotComparable(different))) => {
            facts.push(code(&outline::in_words(different)));
        }
        Some(Standing::Unreadable { why }) => facts.push(code(why)),
        Some(Standing::Compared(Outcome::NewWitness { note })) => facts.push(code(note)),
        _ if facts.is_empty() => facts.extend(terminal::facts(cell).iter().map(|fact| code(fact))),
        _ => {}
    }
    facts.join("; ")
}

/// The first changes of a cell.
fn changed(changes: &[Change]) -> Vec<String> {
    let shown = changes.iter().take(MOST_CHANGES).map(|change| code(&change.what));
    let more = changes.len().saturating_sub(MOST_CHANGES);
    shown.chain((more > 0).then(|| format!("{more} more changes"))).collect()
}

fn orphans(run: &RunSummary) -> impl Iterator<Item = String> {
    let row = |key: &Key| {
        table_row(&[code(key.as_str()), String::new(), "orphaned".into(), "the lab has no such cell".into()])
    };
    run.orphaned.iter().map(row)
}

fn diff_row(cell: &CellDiff) -> String {
    let CellDiff { old, new, result, .. } = cell;
    let keys = if old == new {
        code(new.as_str())
    } else {
        format!("{} to {}", code(old.as_str()), code(new.as_str()))
    };
    let (word, what) = match result {
        CellResult::Same => ("same", String::new()),
        CellResult::Differs(changes) => ("**differs**", changed(changes).join("; ")),
        CellResult::NotComparable(facts) => ("**not comparable**", code(&outline::in_words(facts))),
    };
    table_row(&[keys, word.to_owned(), what])
}

fn table_row(columns: &[String]) -> String {
    format!("| {} |\n", columns.join(" | "))
}

/// The folded part about a cell: findings, difference, command.
fn details(cell: &CellSummary) -> String {
    let mut parts = String::new();
    if let Some(report) = &cell.report {
        let findings: Vec<_> =
            report.findings.lines.iter().map(|line| crash::visible(&line.to_string())).collect();
        if !findings.is_empty() {
            parts.push_str(&fence("text", &findings));
        }
    }
    if let Some(Standing::Compared(Outcome::Changed { diff, .. })) = &cell.standing {
        let lines: Vec<_> = diff.lines().map(crash::visible).collect();
        parts.push_str(&format!("Against the accepted report:\n{}", fence("diff", &lines)));
    }
    parts.push_str(&format!("Repeat:\n{}", fence("sh", &[command::repeat(cell).join(" ")])));
    folded(&format!("<code>{}</code>: {}", cell.key, terminal::word(cell)), &parts)
}

/// The folded part about the kernels.
fn tested(run: &RunSummary) -> Option<String> {
    let of = |kernel: &TestedKernel<'_>| {
        let facts = kernel.facts.iter().map(|fact| format!(", {} {}", fact.name, code(&fact.text)));
        format!("- {}{}\n", code(kernel.name), facts.collect::<String>())
    };
    let kernels = tested::kernels(run);
    let more = kernels.len().saturating_sub(MOST_KERNELS);
    let more = (more > 0).then(|| format!("- and {more} more\n"));
    let list: String = kernels.iter().take(MOST_KERNELS).map(of).chain(more).collect();
    (!list.is_empty()).then(|| folded("Kernels", &list))
}

/// `title` is HTML.
fn folded(title: &str, markdown: &str) -> String {
    format!("<details><summary>{title}</summary>\n\n{}\n\n</details>\n\n", markdown.trim_end())
}

/// Returns a text as a code span, which is safe in a table. `|` is written as `\u{7c}`: a pipe ends
/// a column of a table, also in a code span.
pub(super) fn code(text: &str) -> String {
    let text = escape::once(text, LONGEST_CODE).replace('|', "\\u{7c}");
    let around = "`".repeat(longest_run(&text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{around}{space}{text}{space}{around}")
}

/// Returns visible lines in a code fence that none of them can end.
fn fence(language: &str, lines: &[String]) -> String {
    let more = lines.len().saturating_sub(MOST_LINES);
    let more = (more > 0).then(|| format!("... and {more} more lines\n"));
    let shown = lines.iter().take(MOST_LINES).map(|line| format!("{line}\n"));
    let body: String = shown.chain(more).collect();
    let around = "`".repeat(longest_run(&body).max(2) + 1);
    format!("{around}{language}\n{body}{around}\n\n")
}

/// Returns the length of the longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

#[cfg(test)]
mod tests;
