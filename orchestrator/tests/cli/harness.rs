//! A lab folder, a home and a session of commands, all in a temporary folder.

use crate::story::Story;
use s2lab_model::{
    event::PlannedCell,
    hash::digest,
    kernel,
    plan::{QemuChoice, Selection, plan},
    scenario::load,
};
use std::{
    fmt::Write as _,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

pub(crate) const S2LAB: &str = env!("CARGO_BIN_EXE_s2lab");
/// The run that [`Home::add_run`] makes, named like s2lab's runs.
pub(crate) const RUN: &str = "20261122T150000.000Z-1";

/// The place of a test: a lab folder, and an empty home.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    /// Makes a home with the lab that is made for these tests.
    pub(crate) fn new() -> Self {
        Self::with_lab(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/lab"))
    }

    pub(crate) fn with_lab(lab: &Path) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["home", "cache", "state", "bin"] {
            fs::create_dir(home.path(folder)).unwrap();
        }
        for folder in ["scenarios", "images", "reports"] {
            copy(&lab.join(folder), &home.lab().join(folder));
        }
        home
    }

    /// Returns a path in the temporary folder. `tempfile` may return a path with links in it; s2lab
    /// shows the real one.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap().join(below)
    }

    pub(crate) fn lab(&self) -> PathBuf {
        self.path("lab")
    }

    pub(crate) fn write(&self, below: &str, text: impl AsRef<[u8]>) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes a minimal arm64 Image of release 6.12.95.
    pub(crate) fn image(&self, below: &str) {
        let mut image = vec![0; 4096];
        image[56..60].copy_from_slice(b"ARM\x64");
        let banner = b"Linux version 6.12.95 (x@y) #1 SMP\n";
        image[128..128 + banner.len()].copy_from_slice(banner);
        self.write(below, image);
    }

    pub(crate) fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap()
    }

    /// Returns every file and folder below `below`, sorted, and the targets of links.
    pub(crate) fn tree(&self, below: &str) -> Vec<String> {
        fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().display();
                match fs::read_link(&path) {
                    Ok(to) => found.push(format!("{name} -> {}", to.display())),
                    Err(_) if path.is_dir() => {
                        found.push(format!("{name}/"));
                        walk(root, &path, found);
                    }
                    Err(_) => found.push(name.to_string()),
                }
            }
        }
        let mut found = vec![];
        walk(&self.path(below), &self.path(below), &mut found);
        found.sort();
        found
    }

    /// Returns `s2lab` in the lab folder, with the environment of this home and nothing of the
    /// tester's.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(S2LAB);
        self.prepare(&mut command);
        command.args(arguments);
        command
    }

    /// Puts a program of the tester's on the PATH.
    pub(crate) fn program(&self, name: &str) {
        let path = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
        let link = self.path("bin").join(name);
        if !link.is_symlink() {
            std::os::unix::fs::symlink(found.unwrap(), link).unwrap();
        }
    }

    /// Returns a line for the shell, in which `s2lab` is the program.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("/bin/bash");
        self.prepare(&mut command);
        command.args(["-c", &format!("s2lab() {{ {S2LAB} \"$@\"; }}; {line}")]);
        command
    }

    /// Returns git in a folder of this home, with fixed dates and names, so that the same commits
    /// get the same names. [`Home::program`] has put git on the PATH.
    pub(crate) fn git(&self, folder: &str, arguments: &[&str]) -> Command {
        let mut git = Command::new("git");
        self.prepare(&mut git);
        git.env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "x").env(format!("GIT_{who}_EMAIL"), "x@localhost");
            git.env(format!("GIT_{who}_DATE"), "2026-01-01T00:00:00Z");
        }
        git.current_dir(self.path(folder)).args(arguments);
        git
    }

    pub(crate) fn prepare(&self, command: &mut Command) {
        command.env_clear().current_dir(self.lab()).stdin(Stdio::null());
        command.env("HOME", self.path("home")).env("PATH", self.path("bin"));
        command.env("XDG_CACHE_HOME", self.path("cache")).env("XDG_STATE_HOME", self.path("state"));
    }

    /// Begins a session whose commands and outputs are kept.
    pub(crate) fn session(&self) -> Session<'_> {
        Session { home: self, transcript: String::new() }
    }

    /// Returns the cells of the lab, as `s2lab` plans them.
    pub(crate) fn plan(&self, selectors: &[&str]) -> Vec<PlannedCell> {
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let kernels = kernel::load("kernels.yaml", &read(&self.lab().join("images/kernels.yaml"))).unwrap();
        let mut scenarios = vec![];
        for entry in fs::read_dir(self.lab().join("scenarios")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "yaml") {
                scenarios.push(load::load(path.to_str().unwrap(), &read(&path)).unwrap());
            }
        }
        let selectors = selectors.iter().map(|s| (*s).to_owned()).collect();
        plan(
            &scenarios,
            &kernels,
            &Selection { selectors, axes: vec![QemuChoice::axis(&[])], ..Selection::default() },
        )
        .unwrap()
    }

    /// Makes the story a run of this home, the latest.
    pub(crate) fn add_run(&self, story: &Story) {
        self.tell_as(RUN, story);
    }

    pub(crate) fn tell_as(&self, name: &str, story: &Story) {
        self.add_run_of(&self.lab(), name, story);
    }

    /// Makes the story a run of the lab folder `lab`, its latest.
    pub(crate) fn add_run_of(&self, lab: &Path, name: &str, story: &Story) {
        story.write(&self.path("state/s2lab/runs").join(name));
        self.make_latest(lab, name);
    }

    /// Makes a run that was kept in a folder a run of this home, the latest.
    pub(crate) fn copy_run(&self, name: &str, from: &Path) {
        copy(from, &self.path("state/s2lab/runs").join(name));
        self.make_latest(&self.lab(), name);
    }

    fn make_latest(&self, lab: &Path, name: &str) {
        let state = self.path("state/s2lab");
        let run = state.join("runs").join(name);
        let lab = lab.to_str().unwrap();
        let log = fs::read_to_string(run.join("events.jsonl")).unwrap();
        let (plan, rest) = log.split_once('\n').unwrap();
        let mut plan: serde_json::Value = serde_json::from_str(plan).unwrap();
        plan["event"]["plan"]["lab"] = lab.into();
        fs::write(run.join("events.jsonl"), format!("{plan}\n{rest}")).unwrap();
        fs::create_dir_all(state.join("labs")).unwrap();
        for (link, to) in [
            (state.join("runs/latest"), PathBuf::from(name)),
            (state.join("labs").join(digest(lab.as_bytes())), run),
        ] {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(to, link).unwrap();
        }
    }

    /// Returns the names of all runs, the oldest first.
    pub(crate) fn runs(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("state/s2lab/runs")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != "latest").collect();
        names.sort();
        names
    }

    /// Returns a file of the run that [`Home::add_run`] made.
    pub(crate) fn of_run(&self, below: &str) -> PathBuf {
        self.path("state/s2lab/runs").join(RUN).join(below)
    }

    /// Replaces the parts that vary between two tests, or two commits, by a name.
    pub(crate) fn stable(&self, text: &str) -> String {
        let text = text.replace(self.path("").to_str().unwrap().trim_end_matches('/'), "TMP");
        text.replace(s2lab::cli::VERSION, "VERSION")
    }
}

/// Commands and their outputs.
pub(crate) struct Session<'a> {
    home: &'a Home,
    transcript: String,
}

impl Session<'_> {
    pub(crate) fn s2lab(&mut self, arguments: &[&str]) -> Output {
        // A shell needs no quotes for these.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@=".contains(c);
        let quoted =
            arguments.iter().map(|argument| match argument.chars().all(plain) && !argument.is_empty() {
                true => format!(" {argument}"),
                false => format!(" '{argument}'"),
            });
        self.keep(&format!("s2lab{}", quoted.collect::<String>()), &mut self.home.command(arguments))
    }

    /// Adds a command of the test's, under the name `shown`.
    pub(crate) fn keep(&mut self, shown: &str, command: &mut Command) -> Output {
        let output = command.output().unwrap();
        writeln!(self.transcript, "$ {shown}").unwrap();
        self.transcript.push_str(&answer(&output));
        output
    }

    pub(crate) fn shell(&mut self, line: &str) -> Output {
        self.keep(line, &mut self.home.shell(line))
    }

    /// Adds a note between two commands to the transcript.
    pub(crate) fn note(&mut self, text: &str) {
        writeln!(self.transcript, "# {text}").unwrap();
    }

    /// Compares the session with the snapshot `name`.
    #[track_caller]
    pub(crate) fn check(self, name: &str) {
        self.check_named(name, &[RUN.to_owned()]);
    }

    /// Compares the session like [`Self::check`], with the time in the runs' names replaced.
    #[track_caller]
    pub(crate) fn check_runs(self, name: &str) {
        let runs = self.home.runs();
        self.check_named(name, &runs);
    }

    /// Compares the session like [`Self::check`], with these digests replaced.
    #[track_caller]
    pub(crate) fn check_with(mut self, name: &str, digests: &[String]) {
        for (digest, number) in digests.iter().zip(1..) {
            self.transcript = self.transcript.replace(digest, &format!("DIGEST-{number}"));
        }
        self.check(name);
    }

    #[track_caller]
    fn check_named(self, name: &str, runs: &[String]) {
        let transcript = self.home.stable(&self.transcript);
        let transcript = runs.iter().fold(transcript, |text, run| text.replace(run, "RUN"));
        insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!(name, transcript);
        });
    }
}

/// Returns the whole output of a command and its exit code. Lines of stderr are marked with `! `.
fn answer(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str("(no line feed)\n");
    }
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        writeln!(text, "{}", format!("! {line}").trim_end()).unwrap();
    }
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => {}
        (Some(code), _) => writeln!(text, "[exit {code}]").unwrap(),
        (None, signal) => writeln!(text, "[signal {signal:?}]").unwrap(),
    }
    text
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).into_iter().flatten() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &to) } else { fs::copy(&path, to).map(drop).unwrap() }
    }
}
