//! The outputs of runs with every verdict, as the program prints them.

use crate::{
    harness::Home,
    story::{Behaves, Story},
};
use s2lab_model::event::{Event, StopCause};
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

/// Returns runs that have every verdict.
pub(crate) fn all() -> Vec<Output> {
    let stories: [fn(&Home) -> Story; 4] = [well, mixed, flaky, hostile];
    stories.map(of).into()
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

    /// Returns each cell's key and verdict.
    pub(crate) fn verdicts(&self) -> Vec<(String, String)> {
        let text = |cell: &Value, member: &str| cell[member].as_str().unwrap().to_owned();
        let cells = self.run["cells"].as_array().unwrap();
        cells.iter().map(|cell| (text(cell, "key"), text(cell, "verdict"))).collect()
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

fn flaky(home: &Home) -> Story {
    let cells = home.plan(&[BAR, RAM]);
    Story::of(&cells, |_| Behaves::Before).again(Story::well(&cells))
}

fn hostile(home: &Home) -> Story {
    let story = Story::well(&home.plan(&["*"]));
    story.stopped(RAM, StopCause::Lab, HOSTILE, Some(HOSTILE)).stopped(BAR, StopCause::Kernel, HOSTILE, None)
}
