//! The thread that looks after one VMM, from its first word to its last: everything that comes out of it passes here.

use super::console::{self, Console};
use super::qmp::{self, Said};
use super::router::{Meter, Uplink};
use crate::link::{Link, LinkError, READ_SIZE};
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

/// Of what QEMU says on stderr the last bytes are kept: an error and the registers it prints after it.
const TAIL: usize = 4096;
/// More bytes than this in a second from a guest's agent wait for the next second.
const FRAMES_PER_SECOND: usize = 4 << 20;

/// The agent's ends of what leads to a VMM, beside its stdout and stderr.
pub(crate) struct Streams {
    pub(crate) pidfd: Arc<OwnedFd>,
    pub(crate) qmp: UnixStream,
    /// To the guest's agent.
    pub(crate) guest: UnixStream,
}

/// What is known of one VMM. A source that came to its end is `None`.
pub(crate) struct Watch {
    name: String,
    link: Arc<Link>,
    child: Child,
    pidfd: Arc<OwnedFd>,
    qmp: Option<UnixStream>,
    qmp_reader: qmp::Reader,
    guest: Option<UnixStream>,
    uplink: Uplink,
    meter: Meter,
    stdout: Option<ChildStdout>,
    console: Console,
    /// The console is not looked at before.
    console_after: Instant,
    stderr: Option<ChildStderr>,
    tail: Tail,
    /// Where to say that QEMU runs the guest, with its version, or why not; none once that is said.
    started: Option<SyncSender<Result<String, String>>>,
    version: String,
    /// The guest's end is said.
    reported: bool,
}

/// What a turn of the loop finds ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Process,
    Qmp,
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
        started: SyncSender<Result<String, String>>,
    ) -> io::Result<Watch> {
        let Streams { pidfd, qmp, guest } = streams;
        let now = Instant::now();
        let watch = Watch {
            name: name.to_owned(),
            link,
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            child,
            pidfd,
            qmp: Some(qmp),
            qmp_reader: qmp::Reader::default(),
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
            // What was said before the end is told before it.
            for source in &ready {
                match source {
                    Source::Stderr => self.read_stderr(),
                    Source::Console => drop(self.read_console()?),
                    Source::Guest => drop(self.read_guest()?),
                    Source::Qmp => self.read_qmp()?,
                    Source::Process => {}
                }
            }
            if ready.contains(&Source::Process) {
                return self.end();
            }
        }
    }

    /// All open sources but the process.
    fn sources(&self) -> impl Iterator<Item = (Source, BorrowedFd<'_>)> {
        [
            (Source::Stderr, self.stderr.as_ref().map(AsFd::as_fd)),
            (Source::Console, self.stdout.as_ref().map(AsFd::as_fd)),
            (Source::Guest, self.guest.as_ref().map(AsFd::as_fd)),
            (Source::Qmp, self.qmp.as_ref().map(AsFd::as_fd)),
        ]
        .into_iter()
        .filter_map(|(source, fd)| Some((source, fd?)))
    }

    /// Waits until something is ready, a second at most.
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
            // Interrupted, or out of memory for a moment: the next turn looks again.
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

    /// True if there was something to read.
    fn read_console(&mut self) -> Result<bool, LinkError> {
        let mut buffer = [0; console::MAX_PIECE];
        let Some(n) = read(&mut self.stdout, &mut buffer) else { return Ok(false) };
        let now = Instant::now();
        for notice in self.console.push(buffer.get(..n).unwrap_or_default(), now) {
            self.link.notice(notice)?;
        }
        // A full buffer means that more is there already.
        self.console_after = if n == buffer.len() { now } else { now + console::GATHER };
        Ok(true)
    }

    /// True if there was something to read.
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

    fn read_qmp(&mut self) -> Result<(), LinkError> {
        let mut buffer = [0; 4096];
        let Some(n) = read(&mut self.qmp, &mut buffer) else { return Ok(()) };
        match self.qmp_reader.push(buffer.get(..n).unwrap_or_default()) {
            Ok(said) => said.into_iter().try_for_each(|said| self.hear(said)),
            Err(why) => self.stopped("unknown", &why.to_string()),
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
                if let Some(started) = self.started.take() {
                    // Nobody waits any more if it took too long; then a kill is on its way.
                    let _ = started.send(Ok(self.version.clone()));
                }
                Ok(())
            }
            // A guest that shuts down is followed by the end of QEMU (-no-reboot), before it runs it does not run yet.
            Said::Status { state, .. } if state == "shutdown" || state == "prelaunch" => Ok(()),
            Said::Status { state, .. } => self.stopped(&state, ""),
            Said::Refused { why } => {
                self.link.log(format!("QEMU of guest {} refused a command: {why}", self.name))
            }
            Said::Event { .. } | Said::Done => Ok(()),
        }
    }

    /// QEMU reads commands when it can; a socket that takes none is about to close.
    fn ask(&mut self, command: &str) {
        if let Some(qmp) = &mut self.qmp {
            let _ = qmp.write_all(format!("{command}\n").as_bytes());
        }
    }

    /// QEMU lives, the guest does not: says so and ends QEMU, which would stay for ever.
    fn stopped(&mut self, state: &str, why: &str) -> Result<(), LinkError> {
        self.read_stderr();
        let detail = format!("{why}{}", self.tail.text());
        let end = GuestEnd::Stopped { state: state.to_owned(), detail };
        self.report(end)?;
        // It may be gone already.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        Ok(())
    }

    fn report(&mut self, how: GuestEnd) -> Result<(), LinkError> {
        if std::mem::replace(&mut self.reported, true) {
            return Ok(());
        }
        match self.started.take() {
            // The answer to the request that started it says why; nobody waits any more if it took too long.
            Some(started) => drop(started.send(Err(format!("{how:?}")))),
            None => self.link.notice(Notice::GuestEnded { guest: self.name.clone(), how })?,
        }
        Ok(())
    }

    /// The process is gone.
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
        // As PID 1 the agent inherits whatever QEMU leaves behind.
        let _ = kill_process_group(group, Signal::KILL);
        while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
        self.report(GuestEnd::Exited { code, signal, detail: self.tail.text() })
    }
}

/// Reads from a non-blocking source; at its end, or when it breaks, the source is closed.
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
mod tests {
    use super::*;
    use crate::link::tests::Tape;
    use rustix::process::{PidfdFlags, pidfd_open};
    use s2lab_protocol::{Body, Peer};
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::thread::JoinHandle;

    /// A process of `sh` under watch; the test plays its QMP and its guest's agent.
    struct Play {
        tape: Tape,
        qmp: BufReader<UnixStream>,
        guest: UnixStream,
        started: Receiver<Result<String, String>>,
        watch: JoinHandle<Result<(), LinkError>>,
    }

    fn play(script: &str) -> Play {
        let tape = Tape::default();
        let link = Arc::new(Link::new(Peer::Host, 7, tape.clone()));
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn().unwrap();
        let pidfd = Arc::new(pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap());
        let ((qmp, qmp_end), (guest, guest_end)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        qmp_end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (sender, started) = sync_channel(1);
        let watch = Watch::new("g0", 7, link, child, Streams { pidfd, qmp, guest }, sender).unwrap();
        let watch = std::thread::spawn(move || watch.run());
        Play { tape, qmp: BufReader::new(qmp_end), guest: guest_end, started, watch }
    }

    impl Play {
        fn say(&mut self, line: &str) {
            self.qmp.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        }

        fn hear(&mut self, wanted: &str) {
            let mut line = String::new();
            self.qmp.read_line(&mut line).unwrap();
            assert_eq!(line.trim_end(), wanted);
        }

        fn start(&mut self) {
            self.say(
                r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}}}"#,
            );
            self.hear(qmp::CAPABILITIES);
            self.hear(qmp::QUERY_STATUS);
            self.say(r#"{"return": {}, "id": 1}"#);
            self.say(r#"{"return": {"status": "running", "running": true}, "id": 2}"#);
            assert_eq!(self.started.recv_timeout(Duration::from_secs(10)).unwrap().unwrap(), "qemu 10.0.2");
        }

        /// Waits until the process has written to its console, and with it all that it wrote to stderr before.
        fn wait_for_console(&self) {
            let begin = Instant::now();
            while self.tape.frames().is_empty() {
                assert!(begin.elapsed() < Duration::from_secs(10), "nothing on the console");
                std::thread::sleep(Duration::from_millis(1));
            }
        }

        /// Waits for the end and returns all notices.
        fn notices(self) -> Vec<Notice> {
            self.watch.join().unwrap().unwrap();
            let notice = |frame: s2lab_protocol::Frame| match frame.body {
                Body::Notice(notice) => Some(notice),
                _ => None,
            };
            self.tape.frames().into_iter().filter_map(notice).collect()
        }
    }

    #[test]
    fn an_internal_error_is_told_once_with_stderr_and_ends_the_vmm() {
        let mut play = play("echo error: kvm run failed >&2; printf .; exec sleep 600");
        play.start();
        play.wait_for_console();
        play.say(r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#);
        play.hear(qmp::QUERY_STATUS);
        play.say(r#"{"return": {"status": "internal-error", "running": false}, "id": 2}"#);
        let how =
            GuestEnd::Stopped { state: "internal-error".into(), detail: "error: kvm run failed".into() };
        let notices = play.notices();
        assert_eq!(notices[1..], [Notice::GuestEnded { guest: "g0".into(), how }], "{notices:?}");
    }

    #[test]
    fn a_shutdown_waits_for_the_end_of_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let go = folder.path().join("go");
        let wait = format!("until [ -e {} ]; do sleep 0.01; done", go.display());
        let mut play =
            play(&format!("{wait}; printf booted; echo warning >&2; head -c 50000 /dev/zero; exit 3"));
        play.start();
        play.say(r#"{"event": "STOP"}"#);
        play.hear(qmp::QUERY_STATUS);
        play.say(r#"{"return": {"status": "shutdown", "running": false}, "id": 2}"#);
        std::fs::write(go, "").unwrap();
        let notices = play.notices();
        let (last, console) = notices.split_last().unwrap();
        let how = GuestEnd::Exited { code: Some(3), signal: None, detail: "warning".into() };
        assert_eq!(*last, Notice::GuestEnded { guest: "g0".into(), how });
        let hex: String = console
            .iter()
            .map(|notice| match notice {
                Notice::Console { hex, .. } => hex.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(hex.len(), 2 * (6 + 50_000), "all of the console, before the end");
        assert!(hex.starts_with("626f6f7465640000"), "{}", &hex[..20]);
    }

    #[test]
    fn a_vmm_that_never_runs_is_the_answer_to_the_request_and_no_notice() {
        let play = play("echo no such device >&2; exit 1");
        let why = play.started.recv_timeout(Duration::from_secs(10)).unwrap().unwrap_err();
        assert!(why.contains("no such device"), "{why}");
        assert_eq!(play.notices(), []);
    }

    #[test]
    fn a_guest_that_lies_loses_its_link_and_the_rest_goes_on() {
        let mut play = play("sleep 600");
        play.start();
        let honest = crate::link::tests::frame(0, Peer::Guest("g0".into()), Peer::Lab);
        let liar = crate::link::tests::frame(1, Peer::Guest("g1".into()), Peer::Lab);
        for frame in [&honest, &liar, &honest] {
            // The link may be closed already.
            let _ = play.guest.write_all(&s2lab_protocol::encode(frame).unwrap());
        }
        play.say(r#"{"event": "STOP"}"#);
        play.hear(qmp::QUERY_STATUS);
        play.say(r#"{"return": {"status": "guest-panicked", "running": false}, "id": 2}"#);
        let mut rest = vec![];
        let _ = play.guest.read_to_end(&mut rest);
        let tape = play.tape.clone();
        let notices = play.notices();
        assert!(matches!(&notices[0], Notice::Log { text } if text.contains("guest g1")), "{notices:?}");
        let panicked =
            |how: &GuestEnd| matches!(how, GuestEnd::Stopped { state, .. } if state == "guest-panicked");
        assert!(matches!(&notices[1], Notice::GuestEnded { how, .. } if panicked(how)), "{notices:?}");
        let passed = tape.frames().iter().filter(|frame| frame.from != Peer::Host).count();
        assert_eq!(passed, 1, "the honest frame, and none after the lie");
    }

    #[test]
    fn a_tail_keeps_the_end() {
        let mut tail = Tail::default();
        tail.push(&[b'a'; TAIL]);
        tail.push(b"the end\n");
        let text = tail.text();
        assert!(text.ends_with("aathe end") && text.len() < TAIL, "{}", text.len());
    }
}
