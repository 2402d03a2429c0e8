//! Chromium itself: it shows a page, and reports a page that misbehaves.

use crate::{Check, document};
use readers::{Browser, Page, View};
use serde_json::json;
use std::fs;
use tempfile::TempDir;

pub(crate) const CHECKS: [Check<Browser>; 6] = [
    ("a_page_is_shown_as_its_scripts_leave_it", shown),
    ("a_page_without_scripts_stays_as_it_is", without_scripts),
    ("colours_follow_the_view", colours),
    ("text_is_rendered_with_a_font", text),
    ("whatever_a_page_does_wrong_is_reported", wrong),
    ("a_missing_page_is_an_error", missing),
];

/// Opens a page with this text. The folder has it as long as it is open.
fn open(browser: &Browser, html: &str, view: View) -> (Page, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page with a #.html");
    fs::write(&file, format!("<!doctype html><meta charset=utf-8>{html}")).unwrap();
    (browser.open(&file, view).unwrap(), folder)
}

const CHANGED: &str = "<p id=a>before</p><script>document.getElementById('a').textContent = 'after'</script>";

fn shown(browser: &Browser) {
    let (mut page, _folder) = open(browser, CHANGED, View::default());
    assert!(page.dom().unwrap().contains("<p id=\"a\">after</p>"));
    assert_eq!(page.evaluate("[innerWidth, innerHeight]").unwrap(), json!([1280, 800]));
    assert_eq!(page.evaluate("new Promise(done => done('later'))").unwrap(), json!("later"));
    assert!(page.evaluate("missing.name").is_err());
    assert!(page.first_paint().unwrap().as_secs() < 30);
    assert_eq!((page.requests(), page.complaints()), (vec![], vec![]));
}

fn without_scripts(browser: &Browser) {
    let (mut page, _folder) = open(browser, CHANGED, View { scripts: false, ..View::default() });
    assert!(page.dom().unwrap().contains("<p id=\"a\">before</p>"));
    page.apply(View::default()).unwrap();
    page.load().unwrap();
    assert!(page.dom().unwrap().contains("<p id=\"a\">after</p>"));
}

fn colours(browser: &Browser) {
    let html = "<style>p { color: red } @media (prefers-color-scheme: dark) { p { color: lime } }\
                @media print { p { color: blue } }</style><p>text</p>";
    let (mut page, _folder) = open(browser, html, View::default());
    let colour = "getComputedStyle(document.querySelector('p')).color";
    let usual = page.picture(false).unwrap();
    assert_eq!(page.evaluate(colour).unwrap(), json!("rgb(255, 0, 0)"));
    page.apply(View { vision: "deuteranopia", ..View::default() }).unwrap();
    assert_ne!(page.picture(false).unwrap(), usual);
    page.apply(View { dark: true, ..View::default() }).unwrap();
    assert_eq!(page.evaluate(colour).unwrap(), json!("rgb(0, 255, 0)"));
    page.apply(View { print: true, ..View::default() }).unwrap();
    assert_eq!(page.evaluate(colour).unwrap(), json!("rgb(0, 0, 255)"));
}

/// Returns width and height of a PNG picture (its specification, 11.2.2 "IHDR").
fn size(png: &[u8]) -> (u32, u32) {
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert_eq!(&png[12..16], b"IHDR");
    (number(16), number(20))
}

fn text(browser: &Browser) {
    let body = |text: &str| {
        format!("<body style='margin:0;height:2000px;font:20px DejaVu Sans Condensed, monospace'>{text}")
    };
    let view = View { width: 640, height: 480, ..View::default() };
    let (mut page, _folder) = open(browser, &body("The letters, äöü, αβγ and → have shapes"), view);
    let picture = page.picture(false).unwrap();
    assert_eq!(size(&picture), (640, 480));
    assert_eq!(size(&page.picture(true).unwrap()), (640, 2000));
    let change = "document.body.firstChild.data = 'The letters, aou, abg and > have shapes'";
    page.evaluate(change).unwrap();
    assert_ne!(page.picture(false).unwrap(), picture);
    // The first font of the list may be the machine's.
    assert_eq!(page.fonts("body").unwrap(), ["DejaVu Sans Mono"]);
}

fn wrong(browser: &Browser) {
    let (mut page, _first) = open(browser, "", View::default());
    let policy =
        "<meta http-equiv=Content-Security-Policy content=\"script-src 'unsafe-inline'; img-src 'none'\">";
    for (html, complaint, request) in [
        ("<script>throw new Error('thrown')</script>", "thrown", ""),
        ("<script>console.log('logged')</script>", "logged", ""),
        ("<script>alert('a dialog')</script>", "a dialog", ""),
        ("<img src='http://nowhere.test/x.png'>", "ERR_NAME_NOT_RESOLVED", "http://nowhere.test/x.png"),
        ("<img src='beside.png'>", "ERR_FILE_NOT_FOUND", "beside.png"),
    ] {
        let (_folder, file) = document("page.html", &format!("<!doctype html>{html}"));
        page.go(&file).unwrap();
        let (complaints, requests) = (page.complaints().join("\n"), page.requests().join("\n"));
        assert!(complaints.contains(complaint), "{html}: {complaints}");
        assert_eq!(requests.is_empty(), request.is_empty(), "{html}: {requests}");
        assert!(requests.contains(request), "{html}: {requests}");
    }
    let html = format!("<!doctype html>{policy}<img src='http://nowhere.test/x.png'>");
    let (_folder, file) = document("page.html", &html);
    page.go(&file).unwrap();
    let complaints = page.complaints().join("\n");
    assert!(complaints.contains("Content Security Policy"), "{complaints}");
}

fn missing(browser: &Browser) {
    let folder = tempfile::tempdir().unwrap();
    let error = browser.open(&folder.path().join("no.html"), View::default()).err().unwrap();
    assert!(error.to_string().contains("no.html"), "{error}");
}
