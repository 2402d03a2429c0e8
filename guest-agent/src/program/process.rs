//! A process with its group, until its end or its deadline.

use super::ProgramEnd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use s2lab_protocol::ask::RunProgram;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The time in which a killed process must be gone.
const GRACE: Duration = Duration::from_secs(5);
/// The bytes that are read at a time.
const CHUNK: usize = 16 * 1024;

/// Runs a command in a process group of its own. Returns its end, and the begin of its output.
///
/// The output is not waited for: a process that has left the group may hold the pipe for ever.
pub(super) fn run(mut command: Command, timeout: Duration) -> io::Result<(ProgramEnd, Vec<u8>)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&ours, fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
    command.stdin(Stdio::null()).stdout(theirs.try_clone()?).stderr(theirs).process_group(0);
    let mut output = Output { pipe: Some(ours), kept: Vec::new() };
    let child = match command.spawn() {
        Ok(child) => child,
        Err(why) => return Ok((ProgramEnd::NotStarted(why.to_string()), vec![])),
    };
    // Without it the pipe has no end.
    drop(command);
    let mut running = Running::new(child)?;
    let cause = running.wait(&mut output, Instant::now() + timeout)?;
    // Its number is not free before it is waited for, so that this is its group.
    running.kill();
    let end = match (running.ended()?, cause) {
        (None, _) => ProgramEnd::Stuck,
        (Some(_), Cause::Late) => ProgramEnd::Timeout,
        (Some(_), Cause::Flood) => ProgramEnd::Flood,
        (Some(_), Cause::Ended) if !output.read()? => ProgramEnd::Flood,
        (Some(status), Cause::Ended) => of(status),
    };
    Ok((end, output.kept))
}

fn of(status: ExitStatus) -> ProgramEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => ProgramEnd::Exit(code),
        (None, signal) => ProgramEnd::Signal(signal.unwrap_or_default()),
    }
}

/// The reason why a process is not waited for any more.
enum Cause {
    Ended,
    Late,
    Flood,
}

struct Running {
    child: Child,
    pid: Pid,
    /// Readable when the process has ended.
    pidfd: OwnedFd,
}

impl Running {
    fn new(mut child: Child) -> io::Result<Running> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let opened = pid.ok_or(Errno::SRCH).and_then(|pid| Ok((pid, pidfd_open(pid, PidfdFlags::empty())?)));
        match opened {
            Ok((pid, pidfd)) => Ok(Running { child, pid, pidfd }),
            Err(why) => {
                let _ = (child.kill(), child.wait());
                Err(why.into())
            }
        }
    }

    fn wait(&self, output: &mut Output, deadline: Instant) -> io::Result<Cause> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Cause::Late);
            }
            let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
            fds.extend(output.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            wait(&mut fds, left)?;
            if fds.first().is_some_and(|pidfd| !pidfd.revents().is_empty()) {
                return Ok(Cause::Ended);
            }
            if !output.read()? {
                return Ok(Cause::Flood);
            }
        }
    }

    /// Kills all that is left of the group.
    fn kill(&self) {
        // Nothing may be left.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// Returns the status of the process, or None if it does not end.
    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + GRACE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            wait(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], left)?;
        }
    }
}

/// Waits until one of them is ready, for so long.
fn wait(fds: &mut [PollFd<'_>], left: Duration) -> io::Result<()> {
    let tv_sec = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    let left = Timespec { tv_sec, tv_nsec: left.subsec_nanos().into() };
    match poll(fds, Some(&left)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(why) => Err(why.into()),
    }
}

/// The output of a process.
struct Output {
    /// None: it has ended.
    pipe: Option<OwnedFd>,
    kept: Vec<u8>,
}

impl Output {
    /// Reads what is there. Returns false if it is more than may be.
    fn read(&mut self) -> io::Result<bool> {
        let mut chunk = vec![0; CHUNK];
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut chunk) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    let room = RunProgram::MOST_OUTPUT - self.kept.len();
                    self.kept.extend(chunk.iter().take(n.min(room)));
                    if n > room {
                        return Ok(false);
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(why) => return Err(why.into()),
            }
        }
        Ok(true)
    }
}
