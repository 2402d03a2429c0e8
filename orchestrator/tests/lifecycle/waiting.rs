//! Runs whose only kernel does not come.

use crate::{
    archive::Archive,
    harness::left_of,
    home::Home,
    lab::{Checked, expect, is_ignored_here, soon, within},
};
use rustix::process::{Pid, Signal, kill_process};
use s2lab_os::lock::Lock;
use std::{
    error::Error,
    fs,
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

/// A kernel of the archive.
const KERNELS: &str = "kernels:
  after: {about: A package., provider: debian, package: linux-image-fake, suites: [bookworm], track: newest, traits: []}
default: [after]
guest: after
";
/// The lock of all that asks for Debian packages, in the cache.
const LOCK: &str = "cache/s2lab/objects/locks/apt.lock";
/// The end after a signal. Waiting processes look for it ten times a second, but a machine may have much other
/// work. It is less than the 12 s after which s2lab waits for nothing any more.
const AT_ONCE: Duration = Duration::from_secs(10);
/// The end of a run that has nothing to do.
const SOON: Duration = Duration::from_secs(10);

struct Place {
    home: Home,
    archive: Archive,
}

impl Place {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut home = Home::new(KERNELS)?;
        let archive = Archive::new(home.folder())?;
        home.look_first_in(&archive.programs());
        Ok(Self { home, archive })
    }

    fn stderr(&self) -> PathBuf {
        self.home.path("stderr")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.stderr()).unwrap_or_default()
    }

    fn start(&self) -> std::io::Result<Child> {
        let mut command = self.home.command("run");
        command.arg("lifecycle@after").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(self.stderr())?).spawn()
    }

    /// Checks the end of s2lab, and what it has left.
    fn ended(&self, mut child: Child, by: Duration, due: i32) -> Checked {
        let mut status = None;
        let ended = within(by, "s2lab does not end", || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        if ended.is_err() {
            // The test has failed, whatever becomes of it.
            let _ = (child.kill(), child.wait());
        }
        let said = self.said();
        ended.map_err(|why| format!("{why}: {said}"))?;
        expect(&format!("the exit code; {said}"), status.and_then(|status| status.code()), Some(due))?;
        expect(&format!("a panic in {said}"), said.contains("panicked"), false)?;
        expect("processes", left_of(&self.home.folder().display().to_string()), vec![])
    }

    fn log(&self) -> std::io::Result<String> {
        fs::read_to_string(self.home.path("state/s2lab/runs/latest/events.jsonl"))
    }
}

fn interrupted(signal: Signal, name: &str, exit: i32) -> Result<(), Box<dyn Error>> {
    let place = Place::new()?;
    let _held = Lock::try_acquire(&place.home.path(LOCK))?.ok_or("somebody has the lock")?;
    let child = place.start()?;
    let due = format!("waiting for process {}, which prepares Debian packages", std::process::id());
    soon("it does not wait", || place.said().contains(&due))?;
    kill_process(Pid::from_child(&child), signal)?;
    place.ended(child, AT_ONCE, exit)?;
    let log = place.log()?;
    expect(&log, log.contains(&format!(r#"{{"interrupted":{{"signal":"{name}"}}}}"#)), true)?;
    Ok(())
}

pub(crate) fn for_another_process() -> Checked {
    let signals = [(Signal::INT, "SIGINT", 130), (Signal::TERM, "SIGTERM", 143)];
    for (signal, name, exit) in signals.into_iter().filter(|(signal, ..)| !is_ignored_here(*signal)) {
        interrupted(signal, name, exit).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

fn unanswered() -> Result<(), Box<dyn Error>> {
    let place = Place::new()?;
    place.archive.set("down", "")?;
    let child = place.start()?;
    place.ended(child, SOON, 3)?;
    let (said, log) = (place.said(), place.log()?);
    expect(&said, said.contains("Failed to fetch the lists"), true)?;
    expect(&log, log.contains(r#""cause":"lab""#), true)?;
    Ok(())
}

pub(crate) fn for_nothing() -> Checked {
    unanswered().map_err(|error| error.to_string())
}
