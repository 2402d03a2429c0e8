//! The thread that watches one VMM, from its start to its end. All of the VMM's output passes here.

use super::NotStarted;
use super::qmp::{self, Said};
use crate::host::console::{self, Console};
use crate::host::router::{Meter, Uplink};
use crate::link::{Link, LinkError, READ_SIZE};
use crate::vm::{self, Report};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, pidfd_send_signal, waitpgid};
use s2lab_protocol::{GuestEnd, Notice};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdout};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// The bytes that are kept of the end of QEMU's stderr: an error and the registers after it.
const TAIL: usize = 4096;
/// The bytes in a second from a guest's agent above which the rest waits for the next second.
const FRAMES_PER_SECOND: usize = 4 << 20;

/// The agent's ends of the channels to a VMM, besides its stdout and stderr.
pub(crate) struct Streams {
    pub(crate) pidfd: Arc<OwnedFd>,
    /// The channel on which the VMM reports, and its language.
    pub(crate) control: (Channel, UnixStream),
    /// The channel to the guest's agent.
    pub(crate) guest: UnixStream,
}

/// The language of a VMM's reports.
pub(crate) enum Channel {
    Qmp(qmp::Reader),
    Builtin(vm::Reader),
}

impl Channel {
    pub(super) fn qmp() -> Channel {
        Channel::Qmp(qmp::Reader::default())
    }

    pub(super) fn builtin() -> Channel {
        Channel::Builtin(vm::Reader::default())
    }
}

/// The known state of one VMM. A source that has ended is None.
pub(crate) struct Watch {
    name: String,
    link: Arc<Link>,
    child: Child,
    pidfd: Arc<OwnedFd>,
    channel: Channel,
    control: Option<UnixStream>,
    guest: Option<UnixStream>,
    uplink: Uplink,
    meter: Meter,
    stdout: Option<ChildStdout>,
    console: Console,
    /// The time before which the console is not read.
    console_after: Instant,
    stderr: Option<ChildStderr>,
    tail: Tail,
    /// The sender for the result of the start: QEMU's version, or the reason why it does not run.
    /// None once it is sent.
    started: Option<SyncSender<Result<String, NotStarted>>>,
    version: String,
    /// True if the guest's end is reported.
    reported: bool,
}

/// The sources that a turn of the loop may find ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Process,
    Control,
    Guest,
    Console,
    Stderr,
}

impl Watch {
    pub(crate) fn new(
        name: &str,
        nonce: u64,
        link: Arc<Link>,
        mut child: Child,
        streams: Streams,
        started: SyncSender<Result<String, NotStarted>>,
    ) -> io::Result<Watch> {
        let Streams { pidfd, control: (channel, control), guest } = streams;
        let now = Instant::now();
        let watch = Watch {
            name: name.to_owned(),
            link,
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            child,
            pidfd,
            channel,
            control: Some(control),
            guest: Some(guest),
            uplink: Uplink::new(name, nonce),
            meter: Meter::new(FRAMES_PER_SECOND, now),
            console: Console::new(name, now),
            console_after: now,
            tail: Tail::default(),
            started: Some(started),
            version: String::new(),
            reported: false,
        };
        for (_, fd) in watch.sources() {
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        Ok(watch)
    }

    /// Runs until the process is gone.
    pub(crate) fn run(mut self) -> Result<(), LinkError> {
        loop {
            let ready = self.wait();
            // Output from before the end is reported before it.
            for source in &ready {
                match source {
                    Source::Stderr => self.read_stderr(),
                    Source::Console => drop(self.read_console()?),
                    Source::Guest => drop(self.read_guest()?),
                    Source::Control => self.read_control()?,
                    Source::Process => {}
                }
            }
            if ready.contains(&Source::Process) {
                return self.end();
            }
        }
    }

    /// Yields all open sources but the process.
    fn sources(&self) -> impl Iterator<Item = (Source, BorrowedFd<'_>)> {
        [
            (Source::Stderr, self.stderr.as_ref().map(AsFd::as_fd)),
            (Source::Console, self.stdout.as_ref().map(AsFd::as_fd)),
            (Source::Guest, self.guest.as_ref().map(AsFd::as_fd)),
            (Source::Control, self.control.as_ref().map(AsFd::as_fd)),
        ]
        .into_iter()
        .filter_map(|(source, fd)| Some((source, fd?)))
    }

    /// Waits until something is ready, at most a second.
    fn wait(&self) -> Vec<Source> {
        let now = Instant::now();
        let rest = |source| {
            let after = match source {
                Source::Console => Some(self.console_after),
                Source::Guest => self.meter.closed_until(),
                _ => None,
            };
            after.map(|after| after.saturating_duration_since(now)).unwrap_or_default()
        };
        let (resting, mut open): (Vec<_>, Vec<_>) =
            self.sources().partition(|(source, _)| !rest(*source).is_zero());
        open.push((Source::Process, self.pidfd.as_fd()));
        let limit = resting.into_iter().map(|(source, _)| rest(source)).min().unwrap_or(Duration::MAX);
        let limit = limit.clamp(Duration::from_millis(1), Duration::from_millis(999));
        let limit = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
        let mut polled: Vec<_> =
            open.iter().map(|(_, fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        if poll(&mut polled, Some(&limit)).is_err() {
            // It was interrupted, or out of memory for a moment. The next turn tries again.
            return Vec::new();
        }
        let ready = open.into_iter().zip(&polled).filter(|(_, polled)| !polled.revents().is_empty());
        ready.map(|((source, _), _)| source).collect()
    }

    fn read_stderr(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(n) = read(&mut self.stderr, &mut buffer) {
            self.tail.push(buffer.get(..n).unwrap_or_default());
        }
    }

    /// Reads the console. Returns true if there was something to read.
    fn read_console(&mut self) -> Result<bool, LinkError> {
        let mut buffer = [0; console::MAX_PIECE];
        let Some(n) = read(&mut self.stdout, &mut buffer) else { return Ok(false) };
        let now = Instant::now();
        for notice in self.console.push(buffer.get(..n).unwrap_or_default(), now) {
            self.link.notice(notice)?;
        }
        // A full buffer means that more is already there.
        self.console_after = if n == buffer.len() { now } else { now + console::GATHER };
        Ok(true)
    }

    /// Reads from the guest's agent. Returns true if there was something to read.
    fn read_guest(&mut self) -> Result<bool, LinkError> {
        let mut buffer = [0; READ_SIZE];
        let Some(n) = read(&mut self.guest, &mut buffer) else { return Ok(false) };
        self.meter.take(n, Instant::now());
        self.uplink.push(buffer.get(..n).unwrap_or_default());
        loop {
            match self.uplink.next_frame() {
                Ok(Some(frame)) => self.link.relay(&frame)?,
                Ok(None) => return Ok(true),
                Err(why) => {
                    self.guest = None;
                    self.link.log(format!("the link of guest {} is closed: {why}", self.name))?;
                    return Ok(false);
                }
            }
        }
    }

    fn read_control(&mut self) -> Result<(), LinkError> {
        let mut buffer = [0; 4096];
        let Some(n) = read(&mut self.control, &mut buffer) else { return Ok(()) };
        let bytes = buffer.get(..n).unwrap_or_default();
        match &mut self.channel {
            Channel::Qmp(reader) => match reader.push(bytes) {
                Ok(said) => said.into_iter().try_for_each(|said| self.hear(said)),
                Err(why) => self.stopped("unknown", &why.to_string()),
            },
            Channel::Builtin(reader) => match reader.push(bytes) {
                Ok(reports) => reports.into_iter().try_for_each(|report| self.take(report)),
                Err(why) => self.stopped("unknown", &why.to_string()),
            },
        }
    }

    /// Takes a report of the built-in VMM.
    fn take(&mut self, report: Report) -> Result<(), LinkError> {
        match report {
            Report::Running => {
                self.running(vm::VERSION.to_owned());
                Ok(())
            }
            Report::NotStarted(failure) => {
                // Its end is no news for anybody else.
                self.reported = true;
                if let Some(started) = self.started.take() {
                    let _ = started.send(Err(NotStarted::Reported(failure)));
                }
                Ok(())
            }
            Report::Stopped { state, detail } => self.stopped(&state, &detail),
        }
    }

    fn running(&mut self, version: String) {
        if let Some(started) = self.started.take() {
            // Nobody waits any more if it took too long; then a kill follows.
            let _ = started.send(Ok(version));
        }
    }

    fn hear(&mut self, said: Said) -> Result<(), LinkError> {
        match said {
            Said::Greeting { version } => {
                self.version = format!("qemu {version}");
                self.ask(qmp::CAPABILITIES);
                self.ask(qmp::QUERY_STATUS);
                Ok(())
            }
            Said::Event { name } if name == "STOP" || name == "GUEST_PANICKED" => {
                self.ask(qmp::QUERY_STATUS);
                Ok(())
            }
            Said::Status { running: true, .. } => {
                self.running(self.version.clone());
                Ok(())
            }
            // QEMU ends after a guest that shuts down (-no-reboot). Before it runs it is in
            // prelaunch.
            Said::Status { state, .. } if state == "shutdown" || state == "prelaunch" => Ok(()),
            Said::Status { state, .. } => self.stopped(&state, ""),
            Said::Refused { why } => {
                self.link.log(format!("QEMU of guest {} refused a command: {why}", self.name))
            }
            Said::Event { .. } | Said::Done => Ok(()),
        }
    }

    /// Sends a command. QEMU reads it when it can; a socket that takes none is about to close.
    fn ask(&mut self, command: &str) {
        if let Some(qmp) = &mut self.control {
            let _ = qmp.write_all(format!("{command}\n").as_bytes());
        }
    }

    /// Reports that the VMM is alive and the guest is not, and ends the VMM: QEMU would stay for ever.
    fn stopped(&mut self, state: &str, why: &str) -> Result<(), LinkError> {
        self.read_stderr();
        let detail = format!("{why}{}", self.tail.text());
        let end = GuestEnd::Stopped { state: state.to_owned(), detail };
        self.report(end)?;
        // It may already be gone.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        Ok(())
    }

    fn report(&mut self, how: GuestEnd) -> Result<(), LinkError> {
        if std::mem::replace(&mut self.reported, true) {
            return Ok(());
        }
        match self.started.take() {
            // The answer to the request that started it has the reason. Nobody waits any more if it
            // took too long.
            Some(started) => drop(started.send(Err(NotStarted::Ended(format!("{how:?}"))))),
            None => self.link.notice(Notice::GuestEnded { guest: self.name.clone(), how })?,
        }
        Ok(())
    }

    /// Reports the end of the process.
    fn end(mut self) -> Result<(), LinkError> {
        self.read_stderr();
        while self.read_console()? {}
        while self.read_guest()? {}
        if let Some(notice) = self.console.finish() {
            self.link.notice(notice)?;
        }
        let group = Pid::from_child(&self.child);
        let (code, signal) = match self.child.wait() {
            Ok(status) => (status.code(), status.signal()),
            Err(why) => {
                self.tail.push(format!("\nno exit status: {why}").as_bytes());
                (None, None)
            }
        };
        // As PID 1 the agent inherits QEMU's remaining children.
        let _ = kill_process_group(group, Signal::KILL);
        while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
        self.report(GuestEnd::Exited { code, signal, detail: self.tail.text() })
    }
}

/// Reads from a non-blocking source. At its end, or on an error, the source is closed.
fn read<S: AsFd>(source: &mut Option<S>, buffer: &mut [u8]) -> Option<usize> {
    match rustix::io::read(source.as_ref()?, buffer) {
        Ok(n) if n > 0 => Some(n),
        Err(Errno::AGAIN | Errno::INTR) => None,
        _ => {
            *source = None;
            None
        }
    }
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let excess = self.0.len().saturating_sub(TAIL);
        self.0.drain(..excess);
    }

    fn text(&self) -> String {
        let (a, b) = self.0.as_slices();
        String::from_utf8_lossy(&[a, b].concat()).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests;
