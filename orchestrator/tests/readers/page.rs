//! The page of a run in Chromium: it is shown, consoles open, and nothing in it runs or loads what a
//! guest or a file chose.

use crate::{Check, sample};
use readers::{Browser, Page, View};
use s2lab::show::page;
use s2lab_model::summary::RunSummary;
use serde_json::json;
use std::{env, fs, path::Path};
use tempfile::TempDir;

pub(crate) const CHECKS: [Check<Browser>; 6] = [
    ("the_page_needs_no_network_and_is_right", right),
    ("a_console_opens_with_its_crash_marked", console),
    ("without_scripts_consoles_are_named_by_their_path", without_scripts),
    ("an_anchor_leads_to_its_cell", anchor),
    ("hostile_texts_stay_texts", hostile),
    ("the_pictures_of_the_documents", pictures),
];

const VIEW: View =
    View { width: 1000, height: 900, dark: false, print: false, scripts: true, vision: "none" };
/// The texts of an enemy, which call `alert` or leave their place.
const HOSTILE: [&str; 4] = [
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "\"><svg onload=alert(3)><a href=\"javascript:alert(4)\">x</a>",
    "</pre></style></script><iframe srcdoc='<script>alert(5)</script>'></iframe>",
    "' onmouseover='alert(6)' style='background:url(http://localhost/x)",
];

/// The folder of the run on pictures.
const SHOWN_FOLDER: &str = "~/.local/state/s2lab/runs/20261122T150000.000Z-1";

/// Opens the page of a run. The folder has its file.
fn open(browser: &Browser, run: &RunSummary, folder: &TempDir, view: View) -> Page {
    let file = folder.path().join("page.html");
    // The folder has another name each time, and pictures show it.
    let html = page::run(run).replace(&run.folder.display().to_string(), SHOWN_FOLDER);
    fs::write(&file, html).unwrap();
    browser.open(&file, view).unwrap()
}

fn sample(browser: &Browser, view: View) -> (Page, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let run = sample::run(folder.path(), 12);
    (open(browser, &run, &folder, view), folder)
}

/// Asserts that nothing was asked for and nothing went wrong.
fn is_quiet(page: &Page) {
    assert_eq!((page.requests(), page.complaints()), (vec![], vec![]));
}

fn right(browser: &Browser) {
    let (mut page, _folder) = sample(browser, VIEW);
    is_quiet(&page);
    assert_eq!(page.evaluate("document.title").unwrap().as_str().unwrap().split(':').nth(1), Some(" FAIL"));
    // A style that the policy refuses would leave the browser's own.
    let colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('rect.t4')).fill]";
    assert_eq!(page.evaluate(colours).unwrap(), json!(["rgb(255, 255, 255)", "rgb(242, 176, 30)"]));
    page.apply(View { dark: true, ..VIEW }).unwrap();
    assert_eq!(page.evaluate(colours).unwrap(), json!(["rgb(18, 21, 25)", "rgb(242, 176, 30)"]));
    page.apply(View { dark: true, print: true, ..VIEW }).unwrap();
    assert_eq!(
        page.evaluate(colours).unwrap(),
        json!(["rgb(255, 255, 255)", "rgb(242, 176, 30)"]),
        "paper is light"
    );
    let folded =
        "[...document.querySelectorAll('details:not(.console) dl')].every(one => one.checkVisibility())";
    assert_eq!(page.evaluate(folded).unwrap(), json!(true), "paper shows what is folded");
    page.apply(VIEW).unwrap();
    assert_eq!(page.evaluate(folded).unwrap(), json!(false));
    let pairs = "document.querySelectorAll('article.bad .pair svg.space').length";
    assert_eq!(page.evaluate(pairs).unwrap(), json!(4), "two cells changed");
}

/// Opens the consoles of the first cell, and waits until they are unpacked.
const OPEN: &str = "(async () => { const all = document.querySelectorAll('details.console'); \
    for (const one of all) one.open = true; \
    for (let n = 0; n < 500 && document.querySelector('pre[data-z]'); n++) await new Promise(done => setTimeout(done, 10)); \
    await new Promise(done => setTimeout(done, 200)); \
    return all.length })()";

fn console(browser: &Browser) {
    let (mut page, _folder) = sample(browser, VIEW);
    assert_eq!(page.evaluate(OPEN).unwrap(), json!(24), "two for each cell");
    is_quiet(&page);
    let marks = page.evaluate("document.querySelector('details.console mark').textContent").unwrap();
    let marks = marks.as_str().unwrap();
    assert!(marks.starts_with("--- crash 1 ---\n") && marks.contains("Internal error: Oops"), "{marks}");
    let text = page.evaluate("document.querySelectorAll('details.console pre')[1].textContent").unwrap();
    assert!(text.as_str().unwrap().starts_with("[    0.000000] node 0: "), "{text}");
}

fn without_scripts(browser: &Browser) {
    let (mut page, _folder) = sample(browser, View { scripts: false, ..VIEW });
    let text = page.evaluate("document.querySelector('details.console pre').textContent").unwrap();
    let path = format!("cells/vfio-pci-bar@{}+fwb=no/console.host.log", sample::BROKEN);
    assert!(text.as_str().unwrap().ends_with(&path), "{text}");
    let seen = page.evaluate("document.querySelectorAll('article svg.space, article table').length").unwrap();
    assert!(seen.as_u64().unwrap() >= 12, "everything else is there: {seen}");
}

fn anchor(browser: &Browser) {
    let (mut page, _folder) = sample(browser, VIEW);
    let key = "ram-stays-cacheable@debian-6.12";
    let go = format!(
        "(async () => {{ location.hash = '#{key}'; await new Promise(done => setTimeout(done, 200)); \
         return [document.querySelector(':target').id, Math.round(document.querySelector(':target').getBoundingClientRect().top) < innerHeight] }})()"
    );
    assert_eq!(page.evaluate(&go).unwrap(), json!([key, true]));
}

fn hostile(browser: &Browser) {
    let folder = tempfile::tempdir().unwrap();
    let mut run = sample::run(folder.path(), 12);
    let mut texts = HOSTILE.iter().cycle().map(|text| (*text).to_owned());
    let mut text = || texts.next().unwrap();
    (run.s2lab, run.started, run.lab) = (text(), text(), Some(text()));
    for cell in &mut run.cells {
        cell.label = Some(text());
        cell.seen = [(text(), [text(), text()].into())].into();
        cell.repeat = vec!["run".into(), text()];
        for finding in &mut cell.findings {
            (finding.what, finding.expected, finding.found) = (text(), text(), text());
            finding.detail = vec![text(), text()];
        }
        for of in &mut cell.measures {
            of.name = text();
        }
        fs::write(cell.logs.join("console.host.log"), HOSTILE.join("\n")).unwrap();
    }
    let mut page = open(browser, &run, &folder, VIEW);
    page.evaluate(OPEN).unwrap();
    let events = "for (const element of document.querySelectorAll('*')) \
        for (const name of ['mouseover', 'focus', 'load', 'error']) element.dispatchEvent(new Event(name))";
    page.evaluate(events).unwrap();
    is_quiet(&page);
    let foreign = "[document.scripts.length, document.querySelectorAll('img, iframe, [style], [onload], [onerror], [onmouseover], a:not([href^=\"#\"])').length]";
    assert_eq!(page.evaluate(foreign).unwrap(), json!([1, 0]));
    let console = page.evaluate("document.querySelector('details.console pre').textContent").unwrap();
    assert_eq!(console, json!(HOSTILE.join("\n")), "all of it is text");
}

/// Set to write the pictures that README and the documents show.
const UPDATE: &str = "S2LAB_UPDATE_DOCS";

/// The picture of each part of the page, by the name of its file in `docs/`.
const PICTURES: [(&str, &str, View); 2] = [
    ("page.png", "", VIEW),
    ("page-cell.png", "#vfio-pci-bar@linux-6.1-wc+fwb=yes", View { dark: true, ..VIEW }),
];

fn pictures(browser: &Browser) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures");
    for (name, anchor, view) in PICTURES {
        let (mut page, _folder) = sample(browser, view);
        let go = format!("location.hash = '{anchor}'; new Promise(done => setTimeout(done, 300))");
        page.evaluate(&go).unwrap();
        let picture = page.picture(false).unwrap();
        let path = docs.join(name);
        if env::var_os(UPDATE).is_some() {
            fs::create_dir_all(&docs).unwrap();
            fs::write(&path, &picture).unwrap();
        }
        // Another Chromium draws letters a little otherwise; the size stays.
        let shown = fs::read(&path).unwrap();
        assert_eq!(shown[..24], picture[..24], "{name}: run with {UPDATE}=1");
        assert!(shown.len() < 200 << 10, "{name} has {} bytes", shown.len());
    }
}
