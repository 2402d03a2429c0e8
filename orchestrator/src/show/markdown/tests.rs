use super::*;
use crate::show::fixture;
use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use s2lab_model::verdict::Verdict;

/// A Markdown text as a reader of GitHub's dialect sees it.
#[derive(Debug, Default)]
struct Seen {
    tables: usize,
    /// The columns of each row of the table, the head's first.
    rows: Vec<Vec<String>>,
    /// All text outside of code.
    text: String,
    /// All HTML.
    html: String,
    /// Links, images, headings and whatever else the text should not have.
    others: Vec<String>,
}

fn read(text: &str) -> Seen {
    let mut seen = Seen::default();
    let mut in_cell = false;
    let mut in_code = false;
    let options = Options::ENABLE_GFM
        | Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH;
    for event in Parser::new_ext(text, options) {
        match event {
            Event::Start(Tag::Table(_)) => seen.tables += 1,
            Event::Start(Tag::TableHead | Tag::TableRow) => seen.rows.push(vec![]),
            Event::Start(Tag::TableCell) => {
                in_cell = true;
                seen.rows.last_mut().unwrap().push(String::new());
            }
            Event::End(TagEnd::TableCell) => in_cell = false,
            Event::Start(Tag::CodeBlock(_)) => in_code = true,
            Event::End(TagEnd::CodeBlock) => in_code = false,
            Event::Code(code) if in_cell => seen.rows.last_mut().unwrap().last_mut().unwrap().push_str(&code),
            Event::Code(_) | Event::SoftBreak | Event::End(_) => {}
            Event::Text(_) if in_code => {}
            Event::Text(text) => {
                seen.text.push_str(&text);
                if in_cell {
                    seen.rows.last_mut().unwrap().last_mut().unwrap().push_str(&text);
                }
            }
            Event::Html(html) | Event::InlineHtml(html) => seen.html.push_str(&html),
            Event::Start(Tag::Paragraph | Tag::List(_) | Tag::Item | Tag::Strong | Tag::HtmlBlock) => {}
            other => seen.others.push(format!("{other:?}")),
        }
    }
    seen
}

/// Checks that no text from outside is more than text.
fn holds(text: &str, limit: usize) -> Result<Seen, TestCaseError> {
    prop_assert!(text.is_ascii() && text.len() <= limit, "{} of {limit}: {text}", text.len());
    let seen = read(text);
    prop_assert_eq!(seen.tables, 1, "{}", text);
    prop_assert!(seen.rows.iter().all(|row| row.len() == seen.rows[0].len()), "{:?}", seen.rows);
    prop_assert!(seen.others.is_empty(), "{:?}\n{text}", seen.others);
    for sign in ["@", "#", "<", "http", "www.", "`", "|", "~"] {
        prop_assert!(!seen.text.contains(sign), "{sign} in {:?}\n{text}", seen.text);
    }
    for part in seen.html.split("<code>").map(|part| part.rsplit("</code>").next().unwrap_or_default()) {
        prop_assert!(!part.contains('@'), "{part}");
    }
    let tags =
        ["details", "summary", "code"].iter().flat_map(|tag| [format!("<{tag}>"), format!("</{tag}>")]);
    let rest = tags.fold(seen.html.clone(), |html, tag| html.replace(&tag, ""));
    prop_assert!(!rest.contains(['<', '>', '&']), "{rest}");
    Ok(seen)
}

#[test]
fn a_run() {
    insta::assert_snapshot!(run(&fixture::run()));
}

#[test]
fn a_diff() {
    insta::assert_snapshot!(diff(&fixture::diff()));
}

#[test]
fn the_text_is_one_table_with_a_row_for_each_cell() {
    let summary = fixture::run();
    let seen = holds(&run(&summary), COMMENT).unwrap();
    assert_eq!(seen.rows[0], ["cell", "verdict", "against accepted", "seen"]);
    let cells: Vec<_> = seen.rows[1..].iter().map(|row| row[0].clone()).collect();
    let mut due: Vec<_> = summary.cells.iter().map(|cell| cell.key.to_string()).collect();
    due.extend(summary.orphaned.iter().map(ToString::to_string));
    let sorted = |mut keys: Vec<String>| {
        keys.sort();
        keys
    };
    assert_eq!(sorted(cells), sorted(due));
    let failed = seen.rows[1..].iter().take(5).map(|row| row[1].as_str());
    assert_eq!(failed.collect::<Vec<_>>(), ["FAIL", "FAIL", "FLAKY", "TIMEOUT", "FAIL"]);
    assert_eq!(seen.rows[5][2], "same, not new");
}

#[test]
fn at_most_five_lines_stand_between_the_title_and_the_table() {
    let text = run(&fixture::run());
    let before: Vec<_> = text.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(before.len(), 6, "{before:#?}");
    assert!(before[4].starts_with("- no result on 5 cells"), "{before:#?}");
}

#[test]
fn a_diff_is_one_table_too() {
    let seen = holds(&diff(&fixture::diff()), COMMENT).unwrap();
    let results: Vec<_> = seen.rows[1..].iter().map(|row| row[1].as_str()).collect();
    let due = ["differs", "differs", "differs", "not comparable", "missing", "new", "same", "same"];
    assert_eq!(results, due);
}

/// Failures are last in the plan, and first in the table.
#[test]
fn what_is_cut_did_not_fail() {
    let fine = (0..3000).map(|n| fixture::cell(&format!("bar-{n}@linux-6.12")));
    let failed = (0..40).map(|n| fixture::failed(&format!("bar-{n}@tree"), Standing::New));
    let summary = fixture::run_of(fine.chain(failed).collect());
    let text = run(&summary);
    let seen = holds(&text, COMMENT).unwrap();
    let failed = seen.rows.iter().filter(|row| row[1] == "FAIL").count();
    assert_eq!(failed, 40);
    assert!(text.len() > COMMENT - 20_000, "{}", text.len());
    let cut = 3041 - (seen.rows.len() - 1);
    assert!(seen.text.contains(&format!("Cut: {cut} rows of the table")), "{cut}: {}", seen.text);
    assert!(text.contains("<details>"), "failures have details");
    assert_eq!(run_within(&summary, 1 << 20).matches("FAIL |").count(), 0, "a failure stands out");
}

#[test]
fn nothing_to_say_is_short() {
    let mut summary = fixture::run_of(vec![fixture::cell("bar@a"), fixture::cell("bar@b")]);
    summary.orphaned.clear();
    let text = run(&summary);
    let before: Vec<_> = text.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(before, ["**s2lab** `0.1.0 (24b34e4c)`: 2 cells: 2 passed, same as accepted"]);
    assert!(!text.contains("<details><summary><code>"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_text_is_more_than_text(summary in fixture::any_run()) {
        holds(&run(&summary), COMMENT)?;
    }

    #[test]
    fn every_limit_holds(summary in fixture::any_run(), limit in 9_000usize..40_000) {
        let seen = holds(&run_within(&summary, limit), limit)?;
        let names = summary.cells.iter().filter(|cell| cell.verdict == Some(Verdict::Fail)).count();
        let failed = seen.rows.iter().filter(|row| row[1] == "FAIL").count();
        let fine = seen.rows.iter().any(|row| row[1] == "PASS");
        prop_assert!(failed == names || !fine, "{failed} of {names} failures, and a cell that passed");
    }
}
