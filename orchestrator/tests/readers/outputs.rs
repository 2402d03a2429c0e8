//! The outputs of runs with every verdict, as the program prints them.

use crate::{
    harness::Home,
    story::{Behaves, Story},
};
use s2lab_model::{
    event::{Attempts, Event, StopCause},
    night::KnownFailure,
};
use serde::Deserialize;
use serde_json::Value;
use std::{fs, path::PathBuf};

const BAR: &str = "bar@debian-6.12";
const RAM: &str = "idle@debian-6.12";

/// Text that has a meaning in XML, HTML, Markdown, KTAP or a terminal, and characters that XML does
/// not have.
const HOSTILE: &str =
    "QEMU ended: <script>alert(1)</script> ]]> & \"'` | # SKIP\nnot ok 1 x\u{1b}[31m\u{b}\u{202e} é";

/// A run, and the folder of its home.
pub(crate) struct Output {
    home: Home,
    /// The run's document in JSON, which has every cell.
    pub(crate) run: Value,
}

/// A cell of the document.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Cell {
    pub(crate) key: String,
    pub(crate) verdict: Option<String>,
    /// None: it was interrupted.
    pub(crate) attempts: Vec<Option<String>>,
    /// The known failure that tolerates the verdict.
    pub(crate) tolerated: Option<Value>,
}

/// Returns runs that have every verdict.
pub(crate) fn all() -> Vec<Output> {
    let stories: [fn(&Home) -> Story; 7] = [well, mixed, differing, again, hostile, torn, tolerated];
    stories.map(of).into()
}

/// Returns a run with a cell that is FLAKY.
pub(crate) fn flaky() -> Output {
    of(differing)
}

fn of(story: fn(&Home) -> Story) -> Output {
    let home = Home::new();
    home.add_run(&story(&home));
    let mut output = Output { home, run: Value::Null };
    let file = output.print(&["report", "--format", "json"]);
    output.run = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    output
}

impl Output {
    /// Returns a file with what a command prints to stdout.
    pub(crate) fn print(&self, arguments: &[&str]) -> PathBuf {
        let output = self.home.command(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.stdout.is_empty(), "{arguments:?}: {}: {stderr}", output.status);
        let file = self.home.path(&arguments.join(" ").replace('/', "-"));
        fs::write(&file, output.stdout).unwrap();
        file
    }

    pub(crate) fn cells(&self) -> Vec<Cell> {
        serde_json::from_value(self.run["cells"].clone()).unwrap()
    }

    /// Returns the first cell whose tables were looked at.
    pub(crate) fn key_with_looks(&self) -> Option<String> {
        let seen = |cell: &&Value| cell["seen"].as_object().is_some_and(|seen| !seen.is_empty());
        let cell = self.run["cells"].as_array()?.iter().find(seen)?;
        Some(cell["key"].as_str()?.to_owned())
    }

    /// Returns true if the log ends with the run.
    pub(crate) fn is_whole(&self) -> bool {
        self.run["whole"].as_bool().unwrap()
    }
}

fn well(home: &Home) -> Story {
    Story::well(&home.plan(&[]))
}

/// Makes one cell of nearly every verdict.
fn mixed(home: &Home) -> Story {
    let cells = home.plan(&["*", "idle@upstream", "bar@upstream"]);
    Story::of(&cells, |cell| if cell.key == BAR { Behaves::Before } else { Behaves::as_declared(cell) })
        .stopped("idle@debian-6.1", StopCause::Timeout, "no answer for 90 s", None)
        .stopped(RAM, StopCause::Lacking, "no /dev/kvm in the host", Some("enable CONFIG_KVM"))
        .stopped("idle@upstream", StopCause::Lab, "QEMU ended (signal 9)", Some("is there enough memory?"))
        .only("bar@upstream", |event| matches!(event, Event::CellStarted { .. } | Event::HostUp { .. }))
}

fn differing(home: &Home) -> Story {
    let cells = home.plan(&[BAR, RAM]);
    Story::of(&cells, |_| Behaves::Before).again(Story::well(&cells))
}

/// The lab failed in the first attempt.
fn again(home: &Home) -> Story {
    let cells = home.plan(&[RAM]);
    let failed = Story::well(&cells).stopped(RAM, StopCause::Lab, "QEMU ended (signal 9)", None);
    failed.attempting(Attempts::Retry(2)).again(Story::well(&cells))
}

fn tolerated(home: &Home) -> Story {
    let known = KnownFailure {
        scenario: "bar".into(),
        kernel: "*".into(),
        reason: HOSTILE.into(),
        link: Some("https://example.org/bug/7#c1".into()),
        who: HOSTILE.into(),
        until: "2026-12-24".parse().unwrap(),
    };
    differing(home).on_the_night("2026-11-22", vec![known])
}

fn torn(home: &Home) -> Story {
    Story::well(&home.plan(&["*"])).torn_after(RAM, 3)
}

fn hostile(home: &Home) -> Story {
    let story = Story::well(&home.plan(&["*"]));
    story.stopped(RAM, StopCause::Lab, HOSTILE, Some(HOSTILE)).stopped(BAR, StopCause::Kernel, HOSTILE, None)
}
