//! The consoles of the cells: packed into the page, unpacked by its script when they are opened.

use crate::{
    run::{bundle::BundleError, console::file_name, folder::RunFolder},
    show::crash::visible,
};
use data_encoding::BASE64;
use flate2::{Compression, write::ZlibEncoder};
use maud::{Markup, html};
use s2lab_model::{
    console::classify,
    crash::{Crash, Cutter, MAX_LINE},
    escape,
    summary::CellSummary,
};
use s2lab_os::outside::{Ends, kinds};
use std::{
    io::{self, Write as _},
    ops::Range,
    path::{Path, PathBuf},
};

/// The bytes that are shown of the beginning and of the end of a long console.
const ENDS: (usize, usize) = (64 << 10, 192 << 10);
/// The most crashes that are marked on one console.
const MOST_CRASHES: usize = 8;

const NO_ROOM: &str = "the page has no room for it";

/// The console files of a run, which tests replace.
pub trait ConsoleFiles {
    /// Returns the ends of the file `below` the run, or None if there is none. The error says why
    /// the file is not shown.
    fn ends(&self, below: &Path) -> Result<Option<Ends>, String>;
}

/// The files of a run's folder or bundle. A run of elsewhere may have a link, a pipe or a huge file
/// in their place.
pub struct RunFiles(Result<RunFolder, BundleError>);

impl RunFiles {
    /// Opens the run at `path`. If it cannot be opened, the page says so of each console.
    pub fn of(path: &Path) -> Self {
        Self(RunFolder::at(path))
    }
}

impl ConsoleFiles for RunFiles {
    fn ends(&self, below: &Path) -> Result<Option<Ends>, String> {
        let run = self.0.as_ref().map_err(BundleError::to_string)?;
        run.ends(below, kinds::CONSOLE, ENDS).map_err(|error| error.why.to_string())
    }
}

/// Packs consoles as long as the page has room.
pub(super) struct Packer<'a> {
    pub(super) files: &'a dyn ConsoleFiles,
    pub(super) run: &'a Path,
    /// The bytes that are left.
    pub(super) room: usize,
}

/// A console in the page.
struct Console {
    /// The path below the run's folder.
    path: PathBuf,
    bytes: u64,
    lines: usize,
    /// The lines of each crash, from 0, and its fingerprint.
    crashes: Vec<(Range<usize>, String)>,
    /// The text: zlib in base64.
    packed: String,
}

impl Packer<'_> {
    /// Returns the consoles of a cell's last attempt, or the reasons why they are not in the page.
    pub(super) fn consoles(&mut self, cell: &CellSummary) -> Markup {
        let shown: Vec<_> = paths(cell, self.run).iter().filter_map(|path| self.console(path)).collect();
        html! {
            @if !shown.is_empty() { h4 { "Consoles" } }
            @for console in shown { (console) }
        }
    }

    fn console(&mut self, path: &Path) -> Option<Markup> {
        let left_out = |why: &str| html! { p.dim { code { (shown(path)) } " is not in this page: " (why) } };
        if self.room == 0 {
            return Some(left_out(NO_ROOM));
        }
        let ends = match self.files.ends(path) {
            Ok(ends) => ends?,
            Err(why) => return Some(left_out(&escape::line(&why))),
        };
        if ends.beginning.is_empty() {
            return Some(html! { p.dim { code { (shown(path)) } " is empty" } });
        }
        let console = match Console::of(path, &ends) {
            Ok(console) => console,
            Err(error) => return Some(left_out(&error.to_string())),
        };
        match self.room.checked_sub(console.packed.len()) {
            Some(room) => {
                self.room = room;
                Some(console.html())
            }
            None => {
                // The cells come worst first, so nothing that matters more comes later.
                self.room = 0;
                Some(left_out(NO_ROOM))
            }
        }
    }
}

/// Returns the paths of the consoles of the last attempt, below the run's folder.
fn paths(cell: &CellSummary, run: &Path) -> Vec<PathBuf> {
    let Ok(logs) = cell.logs.strip_prefix(run) else { return vec![] };
    // Later attempts have folders in the first one's.
    let folder = match cell.attempts.len() {
        0 | 1 => logs.to_owned(),
        n => logs.join(n.to_string()),
    };
    let names = ["host"].into_iter().chain(cell.guests.iter().map(String::as_str));
    names.map(|name| folder.join(file_name(name))).collect()
}

fn shown(path: &Path) -> String {
    escape::line(&path.display().to_string())
}

impl Console {
    fn of(path: &Path, Ends { beginning, left_out, end }: &Ends) -> io::Result<Console> {
        let gap = format!("\n[{left_out} bytes are left out here; the file has them]\n");
        let gap = if *left_out > 0 { gap.as_str() } else { "" };
        let text = format!("{}{gap}{}", String::from_utf8_lossy(beginning), String::from_utf8_lossy(end));
        let lines: Vec<_> = text.lines().map(|line| visible(line.trim_end_matches('\r'))).collect();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all(lines.join("\n").as_bytes())?;
        Ok(Console {
            path: path.to_owned(),
            bytes: beginning.len() as u64 + left_out + end.len() as u64,
            lines: lines.len(),
            crashes: crashes(&lines),
            packed: BASE64.encode(&zlib.finish()?),
        })
    }

    fn html(&self) -> Markup {
        let Console { path, bytes, lines, crashes, packed } = self;
        let marks: Vec<_> = crashes.iter().map(|(at, _)| format!("{}-{}", at.start, at.end)).collect();
        html! {
            details.console {
                summary {
                    code { (shown(path)) } " " span.dim { (lines) " lines, " (bytes) " bytes" }
                    @for (at, fingerprint) in crashes {
                        " " strong.bad { "crash at line " (at.start + 1) ": " (fingerprint) }
                    }
                }
                pre data-z=(packed) data-marks=(marks.join(" ")) tabindex="0" {
                    "Without scripts this console is not shown. It is a file of the run: " (shown(path))
                }
            }
        }
    }
}

/// Returns the places of the crashes, with the fingerprint of each.
fn crashes(lines: &[String]) -> Vec<(Range<usize>, String)> {
    let mut cutter = Cutter::default();
    let mut found = vec![];
    let mut note = |end: usize, crash: Vec<String>| {
        let fingerprint = Crash::of(&crash).map(|crash| crash.fingerprint()).unwrap_or_default();
        found.push((end.saturating_sub(crash.len())..end, escape::line(&fingerprint)));
    };
    for (line, n) in lines.iter().zip(0..) {
        let Some(crash) = cutter.push(line, classify(line)) else { continue };
        // A crash ends with this line, or before it if the line does not belong to it.
        let line = line.get(..line.floor_char_boundary(MAX_LINE));
        let end = if crash.last().map(String::as_str) == line { n + 1 } else { n };
        note(end, crash);
    }
    if let Some(crash) = cutter.finish() {
        note(lines.len(), crash);
    }
    found.truncate(MOST_CRASHES);
    found
}
