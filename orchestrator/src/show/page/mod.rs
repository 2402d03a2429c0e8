//! The page of a run or a diff: one HTML file that needs no network, and of a script only the
//! consoles.
//!
//! Everything is written by `maud`, whose types escape each text. The policy in the page's head lets
//! a browser run nothing but the one script, and use nothing but the one style, by their digests.

mod cell;
mod consoles;
mod diff;
mod numbers;
mod overview;
mod palette;
mod picture;
mod space;
#[cfg(test)]
mod tests;
mod timeline;

use consoles::Packer;
use data_encoding::{BASE64, HEXLOWER};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use s2lab_mmu::MemoryType;
use s2lab_model::{hash::digest, summary::RunSummary};

pub use consoles::{ConsoleFiles, RunFiles};
pub use diff::diff;

/// The most bytes of the page of 200 cells. Consoles get what the cells leave.
pub const MOST_BYTES: usize = 5 << 20;
/// The most bytes of all consoles.
const MOST_CONSOLES: usize = 2 << 20;
/// The bytes around the cells: style, script and what is between.
const AROUND: usize = 64 << 10;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Returns the page of a run, with consoles from its folder or its bundle.
pub fn run(run: &RunSummary) -> String {
    run_with(run, &RunFiles::of(&run.folder))
}

/// Returns the page of a run, with consoles from `files`.
pub fn run_with(run: &RunSummary, files: &dyn ConsoleFiles) -> String {
    let top = html! {
        a.skip href="#cells" { "Skip to the cells" }
        (overview::head(run))
    };
    let overview = html! {
        (overview::changes(run))
        (overview::scenarios(run))
        (overview::promises(run))
        (overview::orphans(run))
    };
    let cells = overview::order(run);
    let parts: Vec<_> = cells.iter().map(|cell| cell::cell(cell)).collect();
    let taken = parts.iter().map(|part| part.0.len()).sum::<usize>() + top.0.len() + overview.0.len();
    let room = MOST_BYTES.saturating_sub(taken + AROUND + cells.len() * 256).min(MOST_CONSOLES);
    let mut packer = Packer { files, run: &run.folder, room };
    let body = html! {
        (top)
        main {
            (overview)
            section id="cells" {
                h2 { "Cells, the worst first" }
                @for (cell, part) in cells.iter().zip(parts) {
                    (cell::article(&cell.key, cell::class(cell), &[part, packer.consoles(cell)]))
                }
            }
            (types())
        }
    };
    document(&format!("{}: {}", overview::word(run).0, crate::show::terminal::counts(run)), &body)
}

/// The colours of the memory types.
fn types() -> Markup {
    html! {
        section id="types" {
            h2 { "Colours" }
            ul.blocks {
                @for of in MemoryType::ALL { li { (picture::sample(of.name())) " " (of) } }
                li { (picture::sample("")) " anything else: mixed, reserved, or as stage 1" }
            }
        }
    }
}

/// A whole page around `body`.
fn document(title: &str, body: &Markup) -> String {
    let style = format!("{}{STYLE}", palette::css());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy(&style));
                meta name="viewport" content="width=device-width";
                meta name="color-scheme" content="light dark";
                title { "s2lab: " (title) }
                style { (PreEscaped(&style)) }
            }
            body {
                (body)
                footer { "Made by s2lab. This file needs no network; its one script unpacks consoles." }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// Returns the page's policy: nothing may be loaded, and only this style and this script count.
fn policy(style: &str) -> String {
    let (style, script) = (source(style), source(SCRIPT));
    format!("default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'")
}

/// Returns the source that allows one text (Content Security Policy Level 3, 2.3.1, `hash-source`).
fn source(text: &str) -> String {
    // A digest is always hexadecimal.
    let bytes = HEXLOWER.decode(digest(text.as_bytes()).as_bytes()).unwrap_or_default();
    format!("'sha256-{}'", BASE64.encode(&bytes))
}
