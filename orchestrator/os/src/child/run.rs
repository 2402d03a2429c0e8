//! Programs that run to their end: bounded output, a deadline on silence, no survivors.

use super::tie;
use crate::waits;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};
use std::{
    env,
    io::{self, BufRead as _, Read},
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

const POLL: Duration = Duration::from_millis(50);
/// The most output, which is more than any list of addresses that apt prints.
const MAX_OUTPUT: u64 = 64 << 20;
/// The lines of a program's output in an error.
const SHOWN_LINES: usize = 60;

/// The rules for watching a program.
pub struct Watch<'a> {
    /// The purpose, as in "it failed while it was to ...".
    pub purpose: String,
    /// The longest time without a change of `activity`.
    pub silence: Duration,
    /// Returns a number that changes while the program makes progress. It is called every 50 ms.
    pub activity: &'a mut dyn FnMut() -> u64,
    /// Asked every 50 ms: true ends the program.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// Why a program has no output.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{what} `{program}`: {source}")]
    Io { what: &'static str, program: String, source: io::Error },
    #[error("the machine has no `{program}`, which is needed to {purpose}")]
    NoProgram { program: String, purpose: String },
    #[error("`{program}` failed ({status}) while it was to {purpose}\n{output}")]
    Failed { program: String, status: String, purpose: String, output: String },
    #[error("{program} made no progress for {} s", limit.as_secs())]
    Stalled { program: String, limit: Duration },
    #[error("cancelled")]
    Cancelled,
}

impl RunError {
    fn io(what: &'static str, program: &str) -> impl FnOnce(io::Error) -> Self {
        let program = program.to_owned();
        move |source| Self::Io { what, program, source }
    }
}

type Result<T> = std::result::Result<T, RunError>;

/// The output of a program, and its end.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs `command` to its end and returns what it wrote to standard output.
///
/// The program leads a process group of its own, which ends with this function; it dies with the
/// calling thread too.
pub fn run(command: Command, watch: Watch<'_>) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let purpose = watch.purpose.clone();
    let Ended { status, stdout, stderr } = run_to_end(command, Stdio::null(), watch)?;
    if !status.success() {
        return Err(RunError::Failed {
            program,
            status: status.to_string(),
            purpose,
            output: last_lines(if stderr.is_empty() { &stdout } else { &stderr }),
        });
    }
    Ok(stdout)
}

/// Runs a program like [`run`]. Its failure is no error, and it reads `input`.
pub fn run_to_end(mut command: Command, input: Stdio, watch: Watch<'_>) -> Result<Ended> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    tie(&mut command);
    let mut child = command.spawn().map_err(not_started(&program, &watch.purpose))?;
    let outputs = collect(child.stdout.take()).and_then(|out| Ok((out, collect(child.stderr.take())?)));
    let (stdout, stderr) = outputs.map_err(|error| {
        end(&mut child);
        RunError::io("cannot follow", &program)(error)
    })?;
    let status = attend(&mut child, &program, watch.silence, watch.activity, watch.cancelled);
    if status.is_err() {
        end(&mut child);
    }
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    Ok(Ended { status: status?, stdout, stderr })
}

/// The end of a program that [`follow`] has followed.
pub struct FollowedEnd {
    /// Its status, or the reason why s2lab ended it.
    pub result: Result<ExitStatus>,
    /// True if it ended by itself, even if only on request: then it had the time to clean up.
    pub by_itself: bool,
}

/// Runs `command` to its end and passes each line of its output, from either stream, to `line`. If
/// it must end early it gets a request to end, and after `grace` its whole process group is killed.
/// It ends too if s2lab is killed: its next line breaks a pipe.
pub fn follow(
    mut command: Command,
    watch: Watch<'_>,
    grace: Duration,
    line: &mut (dyn FnMut(&str) + Send),
) -> Result<FollowedEnd> {
    let program = command.get_program().to_string_lossy().into_owned();
    let cannot = |e: io::Error| RunError::io("cannot start", &program)(e);
    let (reader, writer) = io::pipe().map_err(cannot)?;
    let again = writer.try_clone().map_err(cannot)?;
    command.stdin(Stdio::null()).stdout(writer).stderr(again);
    tie(&mut command);
    thread::scope(|scope| {
        // The thread comes before the program, which need not be ended if there is no thread. The
        // thread ends with the last end of the pipe.
        let reading = thread::Builder::new().spawn_scoped(scope, || each_line(reader, line));
        reading.map_err(RunError::io("cannot follow", &program))?;
        let started = command.spawn();
        // It holds ends of the pipe, which would otherwise never end.
        drop(command);
        let mut child = started.map_err(not_started(&program, &watch.purpose))?;
        let result = attend(&mut child, &program, watch.silence, watch.activity, watch.cancelled);
        let by_itself = result.is_ok() || ask_to_end(&mut child, grace);
        Ok(FollowedEnd { result, by_itself })
    })
}

/// Returns the reason why a program was not started. `execvp` returns EACCES if a folder on PATH
/// cannot be searched, or a file there cannot be executed, and the program is nowhere else
/// (execvp(3)).
fn not_started(program: &str, purpose: &str) -> impl Fn(io::Error) -> RunError {
    move |error| {
        let nowhere = match error.kind() {
            io::ErrorKind::NotFound => true,
            io::ErrorKind::PermissionDenied => !program.contains('/') && find_on_path(program).is_none(),
            _ => false,
        };
        match nowhere {
            true => RunError::NoProgram { program: program.to_owned(), purpose: purpose.to_owned() },
            false => RunError::io("cannot start", program)(error),
        }
    }
}

/// Returns true if it ended within `grace` after the request.
fn ask_to_end(child: &mut Child, grace: Duration) -> bool {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It fails only if there is nothing left to end.
        let _ = kill_process_group(pid, Signal::TERM);
    }
    let asked = waits::now();
    while asked.elapsed() < grace {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return true;
        }
        thread::sleep(POLL);
    }
    end(child);
    false
}

/// Splits the output into lines. A line without an end is cut into pieces.
fn each_line(from: impl Read, line: &mut (dyn FnMut(&str) + Send)) {
    const LONGEST: u64 = 1 << 16;
    let mut from = io::BufReader::new(from);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match from.by_ref().take(LONGEST).read_until(b'\n', &mut bytes) {
            Ok(n) if n > 0 => line(String::from_utf8_lossy(&bytes).trim_end_matches('\n')),
            _ => return,
        }
    }
}

/// Runs a program like [`run`] that ends within a moment.
pub fn run_briefly(command: Command, purpose: &str, cancelled: &dyn Fn() -> bool) -> Result<Vec<u8>> {
    const SILENCE: Duration = Duration::from_secs(60);
    run(command, Watch { purpose: purpose.to_owned(), silence: SILENCE, activity: &mut || 0, cancelled })
}

/// Runs a program like [`run_briefly`] that prints something about itself.
pub fn ask(command: Command, purpose: &str, cancelled: &dyn Fn() -> bool) -> Result<Vec<u8>> {
    const SILENCE: Duration = Duration::from_secs(10);
    run(command, Watch { purpose: purpose.to_owned(), silence: SILENCE, activity: &mut || 0, cancelled })
}

fn attend(
    child: &mut Child,
    program: &str,
    silence: Duration,
    activity: &mut dyn FnMut() -> u64,
    cancelled: &dyn Fn() -> bool,
) -> Result<ExitStatus> {
    let (mut last, mut since) = (activity(), waits::now());
    // Linux before 5.3 has none.
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok();
    loop {
        if let Some(status) = child.try_wait().map_err(RunError::io("cannot wait for", program))? {
            activity();
            return Ok(status);
        }
        if cancelled() {
            return Err(RunError::Cancelled);
        }
        let now = activity();
        if now != last {
            (last, since) = (now, waits::now());
        } else if since.elapsed() > silence {
            return Err(RunError::Stalled { program: program.to_owned(), limit: silence });
        }
        pause(pidfd.as_ref());
    }
}

/// Waits for the end of a program, at most for [`POLL`]. Most programs take a few milliseconds.
fn pause(pidfd: Option<&OwnedFd>) {
    let (Some(pidfd), Ok(limit)) = (pidfd, Timespec::try_from(POLL)) else { return thread::sleep(POLL) };
    // It is readable when the process has ended (pidfd_open(2)).
    if poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&limit)).is_err() {
        thread::sleep(POLL);
    }
}

/// Kills the whole group and reaps its leader.
pub fn end(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Both fail only if there is nothing left to end.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait();
}

fn collect(from: Option<impl Read + Send + 'static>) -> io::Result<thread::JoinHandle<Vec<u8>>> {
    thread::Builder::new().spawn(move || {
        let mut text = Vec::new();
        if let Some(mut from) = from {
            // A loss after an error or past the bound only shortens an error message or fails a
            // parser.
            let _ = from.by_ref().take(MAX_OUTPUT).read_to_end(&mut text);
            let _ = io::copy(&mut from, &mut io::sink());
        }
        text
    })
}

/// Returns the first executable file of that name on PATH.
pub fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let is_program = |file: &PathBuf| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(&path).map(|folder| folder.join(program)).find(is_program)
}

fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
