//! Tests of the page that need no browser.

use super::{cell::MOST_BYTES as MOST_OF_CELL, consoles::ConsoleFiles, *};
use crate::show::fixture::{self, HOSTILE, any_run, any_text, failed};
use flate2::read::ZlibDecoder;
use insta::assert_snapshot;
use proptest::prelude::*;
use s2lab_model::{
    changes::{CellResult, DiffSummary},
    report::{Outcome, Standing},
    summary::CellSummary,
};
use s2lab_os::outside::Ends;
use std::{collections::BTreeSet, io::Read as _, path::Path};

/// Console files that all have this text.
struct Same(String);

impl ConsoleFiles for Same {
    fn ends(&self, below: &Path) -> Result<Option<Ends>, String> {
        match below.to_string_lossy() {
            path if path.contains("console.g1") => Ok(None),
            path if path.contains("console.g2") => Err(HOSTILE.into()),
            _ => Ok(Some(Ends { beginning: self.0.clone().into(), left_out: 0, end: vec![] })),
        }
    }
}

const WARNING: &str = include_str!("../../../model/tests/consoles/warn-6.12.log");

fn page(run: &RunSummary) -> String {
    run_with(run, &Same("line 1\nline 2\n".into()))
}

/// The page without style and script.
fn body(page: &str) -> &str {
    let start = page.find("<body>").unwrap();
    &page[start..page.find("<script>").unwrap()]
}

#[test]
fn a_run_with_everything() {
    let page = page(&fixture::run());
    // One tag a line makes differences readable.
    assert_snapshot!(body(&page).replace("><", ">\n<"));
}

#[test]
fn two_sides() {
    let page = diff(&fixture::diff());
    assert_snapshot!(body(&page).replace("><", ">\n<"));
}

/// The elements of the page.
const ELEMENTS: &str = "a article body br circle code dd del details div dl dt figcaption figure footer h1 h2 h3 h4 head header \
    html ins li main mark meta nav p path pre rect script section span strong style summary svg table td text th thead title tr ul";
/// The attributes of its elements. None is an event handler, and none is a style.
const ATTRIBUTES: &str = "aria-hidden aria-label charset class content cx cy d data-marks data-z height href http-equiv id lang name \
    r role scope tabindex text-anchor viewBox width x y";

/// Checks each tag of a page: that its names are the page's own, and that no address leads out of
/// the page.
fn check_tags(page: &str) -> Result<(), String> {
    let elements: BTreeSet<_> = ELEMENTS.split_whitespace().collect();
    let attributes: BTreeSet<_> = ATTRIBUTES.split_whitespace().collect();
    let page = page.replacen(&super::STYLE.to_owned(), "", 1).replacen(SCRIPT, "", 1);
    let page = page.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
    let mut ids = BTreeSet::new();
    for tag in page.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').ok_or_else(|| format!("`{tag}` has no end"))?;
        if text.contains('>') {
            return Err(format!("a bare `>` in `{text}`"));
        }
        let tag = tag.strip_prefix('/').unwrap_or(tag);
        let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
        if !elements.contains(name) {
            return Err(format!("an element `{name}`"));
        }
        while let Some((attribute, value)) = rest.split_once("=\"") {
            let (value, more) = value.split_once('"').ok_or_else(|| format!("no end of {attribute}"))?;
            if !attributes.contains(attribute) {
                return Err(format!("an attribute `{attribute}`"));
            }
            if attribute == "href" && !value.starts_with('#') {
                return Err(format!("an address `{value}`"));
            }
            if attribute == "id" && !ids.insert(value) {
                return Err(format!("two elements are `{value}`"));
            }
            rest = more.trim_start();
        }
        if !rest.is_empty() {
            return Err(format!("`{rest}` in a tag"));
        }
    }
    Ok(())
}

#[test]
fn the_check_of_tags_finds_what_it_should() {
    let whole = page(&fixture::run());
    assert_eq!(check_tags(&whole), Ok(()));
    for (bad, why) in [
        ("<img src=x>", "an element `img`"),
        ("<p onclick=\"x\">", "an attribute `onclick`"),
        ("<p style=\"x\">", "an attribute `style`"),
        ("<a href=\"javascript:x\">", "an address `javascript:x`"),
        ("<p id=\"cells\">", "two elements are `cells`"),
        ("<p hidden>", "`hidden` in a tag"),
    ] {
        assert_eq!(check_tags(&whole.replace("</main>", &format!("{bad}</main>"))), Err(why.into()));
    }
}

/// Texts that try to leave the place where they stand.
fn enemy() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "<script>alert(1)</script>",
        "\"><svg onload=alert(1)>",
        "' onfocus='x",
        "</pre>",
        "</style>",
        "<!--",
        "]]>",
        "javascript:alert(1)",
        "&lt;",
        "&#60;b",
        "\u{202e}",
        "\0",
        "</main><iframe src=//x>",
    ]);
    prop_oneof![token.prop_map(str::to_owned), any_text()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_text_makes_an_element(run in any_run(), more in enemy()) {
        let mut run = run;
        run.lab = Some(more.clone());
        run.folder = more.clone().into();
        for cell in &mut run.cells {
            cell.logs = run.folder.join(&more);
            cell.guests = vec![more.clone()];
            for of in &mut cell.measures {
                of.name = more.clone();
            }
            for finding in &mut cell.findings {
                finding.detail.push(more.clone());
            }
        }
        let page = page(&run);
        prop_assert_eq!(check_tags(&page), Ok(()));
        prop_assert_eq!(page.matches("<script").count(), 1);
    }

    #[test]
    fn no_text_of_a_diff_makes_an_element(texts in prop::collection::vec(enemy(), 3)) {
        let mut summary = fixture::diff();
        (summary.old, summary.new) = (texts[0].clone(), texts[1].clone());
        for cell in &mut summary.cells {
            if let CellResult::Differs(changes) = &mut cell.result {
                changes.iter_mut().for_each(|change| change.what = texts[2].clone());
            }
        }
        prop_assert_eq!(check_tags(&diff(&summary)), Ok(()));
    }
}

#[test]
fn the_policy_names_the_style_and_the_script_of_the_page() {
    let page = page(&fixture::run());
    let between = |from: &str, to: &str| page.split_once(from).unwrap().1.split_once(to).unwrap().0;
    let hash = |text: &str| {
        let bytes = HEXLOWER.decode(digest(text.as_bytes()).as_bytes()).unwrap();
        format!("'sha256-{}'", BASE64.encode(&bytes))
    };
    let (style, script) = (between("<style>", "</style>"), between("<script>", "</script>"));
    assert!(style.contains("--text:") && script.contains("DecompressionStream"));
    let policy = between("http-equiv=\"Content-Security-Policy\" content=\"", "\"");
    let expected = format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        hash(style),
        hash(script)
    );
    assert_eq!(policy.replace("&#39;", "'"), expected);
    // The digest of a known text, `printf abc | openssl dgst -sha256 -binary | base64`.
    assert_eq!(source("abc"), "'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0='");
    assert!(!page.contains(" style=\""));
}

/// A cell with as much of everything as there can be.
fn huge(key: &str) -> CellSummary {
    let mut cell = failed(key, Standing::New);
    let long = "<\"&".repeat(100);
    let mut finding = cell.findings[0].clone();
    (finding.what, finding.expected, finding.found) = (long.clone(), long.clone(), long.clone());
    finding.detail = vec![long.clone(); 200];
    cell.findings = vec![finding; 200];
    let report = cell.report.as_mut().unwrap();
    let lines = report.tables.lines.clone();
    report.tables.lines = lines.iter().cycle().take(4_000).cloned().collect();
    cell.accepted = Some(report.clone());
    for boot in cell.measures.iter_mut().flat_map(|measure| &mut measure.boots) {
        boot.samples = vec![u64::MAX; 1_000];
    }
    cell
}

#[test]
fn a_cell_is_bounded_and_names_what_it_leaves_out() {
    let key = format!("bar@{}", "k".repeat(200));
    let cell = super::cell::cell(&huge(&key)).0;
    assert!(cell.len() <= MOST_OF_CELL, "{}", cell.len());
    assert!(cell.contains("There is no room for the findings here"), "{cell}");
    assert!(cell.contains(&format!("s2lab report --cell {key}")));
}

/// The accepted report of a cell has each boot by its number; throughputs of stores are no measures.
#[test]
fn a_measure_is_beside_that_of_the_accepted_report() {
    let mut cell = fixture::cell("bar@k");
    let mut accepted = cell.report.clone().unwrap();
    let lines = [
        "emulated, never decide",
        "step 0  store g0 nic wc 8 B  n 2  median 1553 MB/s  min 1342  max 1765",
        "step 0  measure stores  boot 2  n 7  median 4444 ns  95 % 4111..4777  min 4000  max 4888",
        "step 0  measure others  boot 2  n 7  median 5555 ns  95 % 5111..5777  min 5000  max 5888",
    ];
    accepted.numbers.lines = lines.map(|line| line.parse().unwrap()).into();
    (cell.accepted, cell.measures) = (Some(accepted), vec![fixture::measure(&[&[7_001], &[7_002]])]);
    let page = super::cell::cell(&cell).0;
    let rows: Vec<_> = page.split("<tr>").filter(|row| row.contains("<td>stores</td>")).collect();
    let [first, second] = rows[..] else { panic!("{rows:?}") };
    assert!(first.contains("7001") && !first.contains("4444"), "{first}");
    assert!(second.contains("7002") && second.contains("4444<br>"), "{second}");
    assert!(second.contains("4111 to 4777 (95 % confidence)"), "{second}");
    assert!(!page.contains("1553") && !page.contains("5555"), "{page}");
}

#[test]
fn two_hundred_cells_are_below_five_mebibytes() {
    let cells = (0..200).map(|n| huge(&format!("bar@k{n}"))).collect();
    let long = (0..20_000).map(|n| format!("{n:x} {}\n", n * 7919)).collect();
    let page = run_with(&fixture::run_of(cells), &Same(long));
    assert!(page.len() <= MOST_BYTES, "{}", page.len());
    assert!(page.len() > MOST_BYTES / 2, "the consoles use the room: {}", page.len());
    assert!(page.contains("the page has no room for it"));
}

/// Returns the text of the first console of a page.
fn unpacked(page: &str) -> String {
    let packed = page.split_once("data-z=\"").unwrap().1.split_once('"').unwrap().0;
    let mut text = String::new();
    ZlibDecoder::new(&*BASE64.decode(packed.as_bytes()).unwrap()).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_console_is_in_the_page_with_its_crashes_marked() {
    let mut cell = failed("bar@k", Standing::New);
    cell.guests = vec!["g0".into(), "g1".into(), "g2".into()];
    let console = format!("before\n{WARNING}[   99.000000] later\n");
    let page = run_with(&fixture::run_of(vec![cell]), &Same(console.clone()));
    let text = unpacked(&page);
    assert_eq!(text.lines().count(), console.lines().count());
    let marks = page.split_once("data-marks=\"").unwrap().1.split_once('"').unwrap().0;
    let (start, end) = marks.split(' ').next().unwrap().split_once('-').unwrap();
    let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
    let crash: Vec<_> = text.lines().skip(start).take(end - start).collect();
    assert!(crash[0].contains("[ cut here ]"), "{crash:?}");
    assert!(crash[crash.len() - 1].contains("---[ end trace"), "{crash:?}");
    assert!(page.contains(&format!("crash at line {}: ", start + 1)));
    // Without a script each console is named by its path.
    for console in ["host", "g0"] {
        assert!(page.contains(&format!("It is a file of the run: cells/bar@k/console.{console}.log")));
    }
    assert!(!page.contains("console.g1.log"), "there is no such file");
    assert!(page.contains("console.g2.log</code> is not in this page: @torvalds"));
}

#[test]
fn the_last_attempt_is_shown_and_the_whole_file_is_named() {
    let mut cell = failed("bar@k", Standing::New);
    cell.attempts = vec![None; 3];
    struct Long;
    impl ConsoleFiles for Long {
        fn ends(&self, _: &Path) -> Result<Option<Ends>, String> {
            Ok(Some(Ends { beginning: b"first\x1b[2J\n".into(), left_out: 77, end: b"last \xff\n".into() }))
        }
    }
    let page = run_with(&fixture::run_of(vec![cell]), &Long);
    assert!(page.contains("cells/bar@k/3/console.host.log"));
    assert_eq!(
        unpacked(&page),
        "first\\u{1b}[2J\n\n[77 bytes are left out here; the file has them]\nlast \\u{fffd}"
    );
}

#[test]
fn before_stands_beside_after_where_they_differ() {
    let count = |cell: &CellSummary, what: &str| super::cell::cell(cell).0.matches(what).count();
    let other = fixture::cell("bar@k").report;
    let mut cell = failed("bar@k", Standing::New);
    assert_eq!((count(&cell, "<svg class=\"space\""), count(&cell, "class=\"pair\"")), (1, 0));
    cell.accepted = other;
    assert_eq!((count(&cell, "<svg class=\"space\""), count(&cell, "class=\"pair\"")), (2, 1));
    assert_eq!(count(&cell, "differs: "), 2, "one on each side");
    cell.accepted = cell.report.clone();
    assert_eq!(
        (count(&cell, "<svg class=\"space\""), count(&cell, "the same in the accepted report")),
        (1, 1)
    );
}

#[test]
fn standings_without_an_accepted_report_have_no_before() {
    assert!(!Standing::New.differs());
    assert!(!Standing::Compared(Outcome::Same).differs());
    assert!(Standing::Compared(Outcome::NotComparable(vec![])).differs());
}

#[test]
fn the_sides_of_a_diff_stand_beside_each_other() {
    let mut summary = fixture::diff();
    let key =
        summary.cells.iter().find(|cell| matches!(cell.result, CellResult::Differs(_))).unwrap().new.clone();
    let reports = (fixture::cell("bar@k").report.unwrap(), failed("bar@k", Standing::New).report.unwrap());
    assert_eq!(diff(&summary).matches("<svg class=\"space\"").count(), 0);
    summary.reports.insert(key, reports);
    let page = diff(&summary);
    assert_eq!(page.matches("<svg class=\"space\"").count(), 2);
    assert!(page.contains("<strong>main</strong>") && page.contains("differs: "), "{page}");
}

#[test]
fn the_result_of_a_diff_stands_first() {
    let word = |exit| {
        let summary = DiffSummary { exit, ..fixture::diff() };
        let page = diff(&summary);
        page.split_once("<h1").unwrap().1.split_once("</h1>").unwrap().0.to_owned()
    };
    for (exit, expected) in [(0, "SAME"), (5, "DIFFERENT"), (2, "NOT COMPARABLE")] {
        assert!(word(exit).ends_with(expected), "{}", word(exit));
    }
}
