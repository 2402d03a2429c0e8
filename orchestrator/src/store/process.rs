//! Programs of the machine that the store runs: bounded output, a deadline on silence, no survivors.

use super::{
    error::{Result, StoreError},
    progress::Progress,
};
use rustix::{
    io::Errno,
    process::{Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal},
};
use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(50);
/// More than any list of addresses that apt prints.
const MAX_OUTPUT: u64 = 64 << 20;
/// What an error shows of a program's output.
const SHOWN_LINES: usize = 60;

/// How to watch a program.
pub(crate) struct Watch<'a> {
    /// "it failed while it was to ...".
    pub(crate) purpose: String,
    /// Longest time without a change of `activity`.
    pub(crate) silence: Duration,
    /// A number that changes while the program makes progress; called every 50 ms.
    pub(crate) activity: &'a mut dyn FnMut() -> u64,
    pub(crate) progress: &'a dyn Progress,
}

/// What a program has said, and how it ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Runs `command` to its end and returns what it wrote to standard output.
///
/// The program leads a process group of its own, which ends with this function; it dies with the calling thread too.
pub(crate) fn run(command: Command, watch: Watch<'_>) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let purpose = watch.purpose.clone();
    let Ended { status, stdout, stderr } = run_to_end(command, Stdio::null(), watch)?;
    if !status.success() {
        return Err(StoreError::Program {
            program,
            status: status.to_string(),
            purpose,
            output: last_lines(if stderr.is_empty() { &stdout } else { &stderr }),
        });
    }
    Ok(stdout)
}

/// As [`run`], but a program that fails is no error, and reads `input`.
pub(crate) fn run_to_end(mut command: Command, input: Stdio, watch: Watch<'_>) -> Result<Ended> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    tie_to_us(&mut command);
    let mut child = command.spawn().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            StoreError::NoProgram { program: program.clone(), purpose: watch.purpose.clone() }
        }
        _ => StoreError::io("cannot start", &program)(e),
    })?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = attend(&mut child, &program, watch.silence, watch.activity, watch.progress);
    if status.is_err() {
        end(&mut child);
    }
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    Ok(Ended { status: status?, stdout, stderr })
}

/// As [`run`], for programs that are done in a moment.
pub(crate) fn run_briefly(command: Command, purpose: &str, progress: &dyn Progress) -> Result<Vec<u8>> {
    const SILENCE: Duration = Duration::from_secs(60);
    run(command, Watch { purpose: purpose.to_owned(), silence: SILENCE, activity: &mut || 0, progress })
}

/// Makes `command` lead a process group and die with the thread that starts it.
pub(crate) fn tie_to_us(command: &mut Command) {
    let parent = rustix::process::getpid();
    command.process_group(0);
    // SAFETY: between fork and exec only two system calls are made, and nothing is allocated on the good path.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have gone before the call above took effect.
            if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH.into()) }
        });
    }
}

fn attend(
    child: &mut Child,
    program: &str,
    silence: Duration,
    activity: &mut dyn FnMut() -> u64,
    progress: &dyn Progress,
) -> Result<ExitStatus> {
    let (mut last, mut since) = (activity(), Instant::now());
    loop {
        if let Some(status) = child.try_wait().map_err(StoreError::io("cannot wait for", program))? {
            activity();
            return Ok(status);
        }
        if progress.cancelled() {
            return Err(StoreError::Cancelled);
        }
        let now = activity();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > silence {
            return Err(StoreError::Stalled { what: program.to_owned(), limit: silence });
        }
        thread::sleep(POLL);
    }
}

/// Kills the whole group and reaps its leader.
pub(crate) fn end(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Both fail only when there is nothing left to end.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait();
}

fn collect(from: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut from) = from {
            // What is lost after an error or past the bound only shortens an error message or fails a parser.
            let _ = from.by_ref().take(MAX_OUTPUT).read_to_end(&mut text);
            let _ = io::copy(&mut from, &mut io::sink());
        }
        text
    })
}

fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
