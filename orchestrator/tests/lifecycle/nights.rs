//! Nights of `s2lab nightly` with a scripted machine: the program itself, with brought parts.

use crate::{
    archive::{Archive, NEWER},
    home::Home,
    lab::{Checked, expect},
};
use fake_qemu::script::Script;
use s2lab_os::clock;
use std::{
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

/// The kernels of the lab: one has the series, and may lose it.
const KERNELS: &str = "kernels:
  after: {about: With the series., provider: image, path: after, traits: [wc-conveyed, wc-honoured]}
  before: {about: Without the series., provider: image, path: before, traits: []}
default: [after, before]
guest: before
";

/// A kernel of the archive's newest version, beside one that stays.
const FOLLOWING: &str = "kernels:
  after: {about: The newest., provider: debian, package: linux-image-fake, suites: [bookworm], track: newest, traits: []}
  before: {about: Without the series., provider: image, path: before, traits: []}
default: [after, before]
guest: before
";
const AN_HOUR: Duration = Duration::from_secs(3600);

const KNOWN: &str = "known:
  - scenario: lifecycle
    kernel: after
    reason: vfio-pci lost its mark in a merge; the revert is on its way.
    link: https://example.org/bug/7
    who: the vfio team
    until: 2026-11-05
";

/// Nights in a home, and what they print.
struct Nights {
    home: Home,
    transcript: String,
    offline: bool,
}

impl Nights {
    fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self { home: Home::new(KERNELS)?, transcript: String::new(), offline: true })
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path(below)
    }

    /// Carries out a night, in which the kernels have the series or not, and keeps what it prints.
    fn night(&mut self, date: &str, after: bool, before: bool) -> Result<(), Box<dyn Error>> {
        self.night_with(date, after, before, &[])
    }

    fn night_with(
        &mut self,
        date: &str,
        after: bool,
        before: bool,
        more: &[&str],
    ) -> Result<(), Box<dyn Error>> {
        self.kernels(after, before)?;
        let output = self.command(date).args(more).output()?;
        let more: String = more.iter().map(|word| format!(" {word}")).collect();
        writeln!(self.transcript, "$ s2lab nightly --date {date}{}", self.text(more.as_bytes()))?;
        self.print(&output)
    }

    fn print(&mut self, output: &Output) -> Result<(), Box<dyn Error>> {
        let exit = output.status.code().unwrap_or_default();
        let (stdout, stderr) = (self.text(&output.stdout), self.text(&output.stderr));
        writeln!(self.transcript, "{stdout}[exit {exit}]")?;
        for line in stderr.lines() {
            writeln!(self.transcript, "! {line}")?;
        }
        self.transcript.push('\n');
        Ok(())
    }

    /// Returns a text with the same place in every test run.
    fn text(&self, bytes: &[u8]) -> String {
        let place = self.path("").display().to_string();
        let text = String::from_utf8_lossy(bytes).replace(place.trim_end_matches('/'), "TMP");
        // The name of a run's folder has the time and the process.
        let mut words: Vec<_> = text.split("/runs/").map(str::to_owned).collect();
        for word in words.iter_mut().skip(1) {
            let end = word.find(['`', '/', '\n']).unwrap_or(word.len());
            word.replace_range(..end, "RUN");
        }
        words.join("/runs/")
    }

    /// Sets what the kernels have.
    fn kernels(&self, after: bool, before: bool) -> Result<(), Box<dyn Error>> {
        for (kernel, series) in [("after", after), ("before", before)] {
            let script = Script { series, ..Script::default() };
            self.home.write(&format!("{kernel}.json"), &serde_json::to_vec(&script)?)?;
        }
        Ok(())
    }

    /// Returns the command of a night.
    fn command(&self, date: &str) -> Command {
        let mut command = self.home.command("nightly");
        command.args(["--quiet", "--date", date, "--shuffle", "7"]);
        command.args(self.offline.then_some("--offline"));
        command
    }

    /// Removes the folders of all runs, as if they were pruned.
    fn prune(&self) -> std::io::Result<()> {
        fs::remove_dir_all(self.path("state/s2lab/runs"))
    }

    /// Returns the files that the last night wrote for people.
    fn written(&self) -> Result<String, Box<dyn Error>> {
        let latest = self.path("state/s2lab/runs/latest");
        let page = fs::read_to_string(latest.join("page.html"))?;
        expect("the page", page.contains("lifecycle@after"), true)?;
        Ok(fs::read_to_string(latest.join("morning.md"))?)
    }
}

/// A kernel regresses in the second night, its failure is tolerated from the fourth to the fifth, and
/// it is mended in the seventh.
fn mornings(nights: &mut Nights) -> Result<(), Box<dyn Error>> {
    nights.night("2026-11-01", true, false)?;
    nights.night("2026-11-02", false, false)?;
    nights.night("2026-11-03", false, false)?;
    nights.home.write("lab/known.yaml", KNOWN.as_bytes())?;
    nights.night("2026-11-04", false, false)?;
    nights.night("2026-11-05", false, false)?;
    nights.night("2026-11-06", false, false)?;
    nights.night("2026-11-07", true, false)?;
    Ok(())
}

fn snapshot(name: &str, text: &str) {
    insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!(name, text);
    });
}

pub(crate) fn seven() -> Checked {
    let mut nights = Nights::new().map_err(|error| error.to_string())?;
    mornings(&mut nights).map_err(|error| error.to_string())?;
    snapshot("seven-nights", &nights.transcript);
    gone(nights.home.folder())
}

/// Everything that the lab sees is Normal-NC, also on a kernel without the series.
pub(crate) fn always_normal() -> Checked {
    let mut nights = Nights::new().map_err(|error| error.to_string())?;
    nights.night("2026-11-01", true, true).map_err(|error| error.to_string())?;
    let written = nights.written().map_err(|error| error.to_string())?;
    let place = nights.path("").display().to_string();
    let written = written.replace(place.trim_end_matches('/'), "TMP");
    snapshot("a-lab-that-always-sees-normal", &format!("{}{written}", nights.transcript));
    gone(nights.home.folder())
}

/// The folders of the nights are gone, or were never in the state folder. One night has a history of
/// its own; and at last the history is a file of something else, and one of a newer s2lab.
fn without_folders(nights: &mut Nights) -> Result<(), Box<dyn Error>> {
    let (out, own) = (nights.path("out").display().to_string(), nights.path("own").display().to_string());
    nights.night("2026-11-01", true, false)?;
    nights.night_with("2026-11-02", false, false, &["--out", &out])?;
    nights.prune()?;
    fs::remove_dir_all(&out)?;
    nights.night("2026-11-03", false, false)?;
    nights.night_with("2026-11-04", false, false, &["--history", &own])?;
    nights.night_with("2026-11-05", false, false, &["--history", &own])?;
    nights.prune()?;
    nights.night("2026-11-06", true, false)?;
    let history = nights.path("state/s2lab/history.sqlite");
    let mut newer = fs::read(&history)?;
    // SQLite's file format, "The Database Header": user_version is at offset 60, big-endian.
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    for bytes in [&b"notes\n".repeat(1000), &newer] {
        fs::write(&history, bytes)?;
        nights.night("2026-11-07", false, false)?;
        expect("the file", &fs::read(&history)?, bytes)?;
    }
    Ok(())
}

pub(crate) fn remembered() -> Checked {
    let mut nights = Nights::new().map_err(|error| error.to_string())?;
    without_folders(&mut nights).map_err(|error| error.to_string())?;
    snapshot("nights-without-folders", &nights.transcript);
    gone(nights.home.folder())
}

fn two_nights(nights: &mut Nights) -> Result<(), Box<dyn Error>> {
    nights.kernels(false, false)?;
    let both = ["2026-11-01", "2026-11-02"].map(|date| {
        let mut command = nights.command(date);
        Ok::<_, Box<dyn Error>>(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    });
    for night in both {
        let output = night?.wait_with_output()?;
        let said = nights.text(&output.stderr);
        expect(&format!("the exit code; {said}"), output.status.code(), Some(1))?;
    }
    nights.prune()?;
    nights.night("2026-11-03", false, false)?;
    let both = "lifecycle@after is FAIL for 3 nights, since 2026-11-01";
    expect(&format!("both in\n{}", nights.transcript), nights.transcript.contains(both), true)?;
    Ok(())
}

pub(crate) fn two_at_once() -> Checked {
    let mut nights = Nights::new().map_err(|error| error.to_string())?;
    two_nights(&mut nights).map_err(|error| error.to_string())?;
    gone(nights.home.folder())
}

/// Makes the lists of the archive so old that they are fetched again.
fn age_lists(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            age_lists(&entry.path())?;
        }
        let old = clock::now() - AN_HOUR;
        fs::File::open(entry.path())?.set_modified(old)?;
    }
    Ok(())
}

/// A kernel that follows the archive, which gets a newer version. The archive does not answer in the
/// second night.
fn moving(nights: &mut Nights) -> Result<(), Box<dyn Error>> {
    let archive = Archive::new(nights.home.folder())?;
    nights.home.write("lab/images/kernels.yaml", FOLLOWING.as_bytes())?;
    nights.home.look_first_in(&archive.programs());
    nights.offline = false;
    let night = |nights: &mut Nights, date| -> Result<Vec<String>, Box<dyn Error>> {
        nights.night(date, false, false)?;
        age_lists(&nights.path("cache/s2lab"))?;
        let report = fs::read_to_string(nights.path("state/s2lab/runs/latest/reports/lifecycle@after.txt"))?;
        let packages = report.lines().filter(|line| line.contains("kernel package"));
        Ok(packages.map(str::to_owned).collect())
    };
    let first = night(nights, "2026-11-01")?;
    archive.publish(NEWER)?;
    archive.set("down", "")?;
    expect("the package while the archive does not answer", night(nights, "2026-11-02")?, first.clone())?;
    archive.mend("down")?;
    nights.offline = true;
    expect("the package without the network", night(nights, "2026-11-03")?, first.clone())?;
    nights.offline = false;
    let moved: Vec<_> = first.iter().map(|line| line.replace("1.0", NEWER)).collect();
    expect("the package that moved", night(nights, "2026-11-04")?, moved.clone())?;
    expect("that there are two", first != moved, true)?;
    Ok(())
}

pub(crate) fn following() -> Checked {
    let mut nights = Nights::new().map_err(|error| error.to_string())?;
    moving(&mut nights).map_err(|error| format!("{error}\n{}", nights.transcript))?;
    snapshot("nights-that-follow-an-archive", &nights.transcript);
    gone(nights.home.folder())
}

/// Checks that no process of the nights is alive.
fn gone(folder: &Path) -> Checked {
    match crate::harness::left_of(&folder.display().to_string()) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("processes are left: {left:?}")),
    }
}
