//! s2lab as a user starts it, with a state folder of its own.

use std::{
    ffi::OsStr,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The deadline of a test's run. A first run fetches hundreds of megabytes and builds the agent,
/// and up to five kernels.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90 * 60);
/// The environment variables that every program here needs.
const KEPT: [&str; 7] =
    ["HOME", "PATH", "XDG_CACHE_HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR"];

pub(crate) struct Place {
    state: TempDir,
    /// The cache, if it is not the machine's own.
    cache: Option<PathBuf>,
}

pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { state: tempfile::tempdir().unwrap(), cache: None }
    }

    pub(crate) fn with_cache(cache: &Path) -> Self {
        Self { cache: Some(cache.to_owned()), ..Self::new() }
    }

    /// Starts s2lab in the checkout, which has the shipped lab folder.
    pub(crate) fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_s2lab")), arguments)
    }

    /// Returns the command of [`Place::s2lab`] for another s2lab program.
    pub(crate) fn command_of<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(checkout()).env_clear();
        command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("XDG_STATE_HOME", self.state.path()).stdin(Stdio::null());
        // Every program that s2lab starts inherits it: `left_over` finds them by it.
        command.env("TMPDIR", self.state.path());
        command.envs(self.cache.iter().map(|cache| ("XDG_CACHE_HOME", cache)));
        // Files instead of pipes: nobody has to read them while the program runs.
        let file = |name| fs::File::create(self.state.path().join(name)).unwrap();
        command.stdout(file("stdout")).stderr(file("stderr"));
        command
    }

    pub(crate) fn finish(&self, mut child: Child) -> Done {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > DEADLINE {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let read = |name| fs::read_to_string(self.state.path().join(name)).unwrap();
        Done { code: status.code(), signal: status.signal(), stdout: read("stdout"), stderr: read("stderr") }
    }

    pub(crate) fn s2lab<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Done {
        let child = self.start(arguments);
        self.finish(child)
    }

    /// Runs s2lab like [`Place::s2lab`], with `stdin` on its stdin.
    pub(crate) fn s2lab_with<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        stdin: &str,
    ) -> Done {
        let path = self.state.path().join("stdin");
        fs::write(&path, stdin).unwrap();
        let mut command = self.command(arguments);
        self.finish(command.stdin(fs::File::open(path).unwrap()).spawn().unwrap())
    }

    /// Returns the folder of the newest run.
    pub(crate) fn run(&self) -> PathBuf {
        fs::canonicalize(self.state.path().join("s2lab/runs/latest")).unwrap()
    }

    /// Returns the reports of the newest run by key.
    pub(crate) fn reports(&self) -> Vec<(String, String)> {
        let mut found: Vec<_> = fs::read_dir(self.run().join("reports"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())
            })
            .collect();
        found.sort();
        found
    }

    pub(crate) fn path(&self) -> &Path {
        self.state.path()
    }
}

impl Done {
    /// Returns the output without the folders and times that differ from run to run.
    pub(crate) fn normal(&self) -> String {
        let stdout = self.stdout.replace(&checkout().display().to_string(), "[checkout]");
        let lines = stdout.lines().map(|line| {
            let mut words: Vec<_> = line.split_whitespace().collect();
            for at in 1..words.len() {
                if words[at] == "s" && words[at - 1].parse::<f64>().is_ok() {
                    words[at - 1] = "[time]";
                }
                if words[at].contains("/s2lab/runs/") {
                    words[at] = "[run]";
                }
            }
            words.join(" ")
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

pub(crate) fn checkout() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

/// Returns a scenario file of these tests.
pub(crate) fn scenario(name: &str) -> String {
    format!("{}/orchestrator/tests/e2e/scenarios/{name}.yaml", checkout().display())
}

/// Returns an accepted report of the shipped lab folder.
pub(crate) fn accepted(scenario: &str, kernel: &str) -> String {
    fs::read_to_string(checkout().join("reports").join(scenario).join(format!("{kernel}.txt"))).unwrap()
}

/// Returns one of a report's parts, by its name.
pub(crate) fn part(report: &str, name: &str) -> String {
    let (_, rest) =
        report.split_once(&format!("[{name}]\n")).unwrap_or_else(|| panic!("no part {name} in\n{report}"));
    rest.split("\n[").next().unwrap().to_owned()
}

/// Returns the processes, other than zombies, whose environment shows that a test's s2lab started
/// them.
pub(crate) fn left_over(place: &Place) -> Vec<String> {
    let mark = format!("TMPDIR={}", place.path().display());
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        path.file_name()?.to_str()?.parse::<u32>().ok()?;
        let environment = fs::read(path.join("environ")).ok()?;
        let marked = environment.split(|b| *b == 0).any(|variable| variable == mark.as_bytes());
        let line = fs::read(path.join("cmdline")).ok()?;
        (marked && !line.is_empty()).then(|| String::from_utf8_lossy(&line).replace('\0', " "))
    });
    processes.collect()
}

/// Returns a report without what is never compared: its numbers, and the leaves of RAM, whose number
/// depends on which pages a guest has touched by then.
pub(crate) fn constant(report: &str) -> String {
    let (before, after) = report.split_once("[numbers]\n").unwrap();
    let before = before.lines().filter(|line| !line.starts_with("    ram varies  "));
    let blocking = after.lines().filter(|line| line.starts_with("  blocking "));
    before.chain(blocking).collect::<Vec<_>>().join("\n")
}
