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
    started: Receiver<Result<String, NotStarted>>,
    watch: JoinHandle<Result<(), LinkError>>,
}

fn play(script: &str) -> Play {
    play_as(Channel::qmp(), script)
}

fn play_as(channel: Channel, script: &str) -> Play {
    let tape = Tape::default();
    let link = Arc::new(Link::new(Peer::Host, 7, tape.clone()));
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn().unwrap();
    let pidfd = Arc::new(pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap());
    let ((qmp, qmp_end), (guest, guest_end)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    qmp_end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (sender, started) = sync_channel(1);
    let watch =
        Watch::new("g0", 7, link, child, Streams { pidfd, control: (channel, qmp), guest }, sender).unwrap();
    let watch = std::thread::Builder::new().spawn(move || watch.run()).unwrap();
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
        self.say(r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}}}"#);
        self.hear(qmp::CAPABILITIES);
        self.hear(qmp::QUERY_STATUS);
        self.say(r#"{"return": {}, "id": 1}"#);
        self.say(r#"{"return": {"status": "running", "running": true}, "id": 2}"#);
        assert_eq!(self.started.recv_timeout(Duration::from_secs(10)).unwrap().unwrap(), "qemu 10.0.2");
    }

    /// Waits until the process has written to its console, and so all that it wrote to stderr
    /// before.
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
    let how = GuestEnd::Stopped { state: "internal-error".into(), detail: "error: kvm run failed".into() };
    let notices = play.notices();
    assert_eq!(notices[1..], [Notice::GuestEnded { guest: "g0".into(), how }], "{notices:?}");
}

#[test]
fn a_shutdown_waits_for_the_end_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let wait = format!("until [ -e {} ]; do sleep 0.01; done", go.display());
    let mut play = play(&format!("{wait}; printf booted; echo warning >&2; head -c 50000 /dev/zero; exit 3"));
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
    assert!(matches!(&why, NotStarted::Ended(why) if why.contains("no such device")), "{why:?}");
    assert_eq!(play.notices(), []);
}

#[test]
fn a_guest_that_lies_loses_its_link_and_the_rest_goes_on() {
    let mut play = play("sleep 600");
    play.start();
    let honest = crate::link::tests::frame(0, Peer::Guest("g0".into()), Peer::Lab);
    let liar = crate::link::tests::frame(1, Peer::Guest("g1".into()), Peer::Lab);
    for frame in [&honest, &liar, &honest] {
        // The link may already be closed.
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

#[test]
fn the_built_in_vmm_reports_by_itself() {
    let mut play = play_as(Channel::builtin(), "sleep 60");
    play.say(r#""running""#);
    let version = play.started.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
    assert_eq!(version, vm::VERSION);
    play.say(r#"{"stopped": {"state": "kvm-run-failed", "detail": "Bad address"}}"#);
    play.watch.join().unwrap().unwrap();
    let how = GuestEnd::Stopped { state: "kvm-run-failed".into(), detail: "Bad address".into() };
    let end = Body::Notice(Notice::GuestEnded { guest: "g0".into(), how });
    let ends: Vec<_> = play.tape.frames().into_iter().map(|frame| frame.body).collect();
    assert_eq!(ends, [end], "the process was killed, and its end is not reported again");
}

#[test]
fn a_vm_that_does_not_start_has_a_reason_and_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said");
    let script = format!("until [ -e {} ]; do sleep 0.01; done; exit 1", said.display());
    let mut play = play_as(Channel::builtin(), &script);
    play.say(r#"{"not-started": {"kind": {"refused": "kvm"}, "message": "no VM"}}"#);
    std::fs::write(said, "").unwrap();
    let why = play.started.recv_timeout(Duration::from_secs(10)).unwrap().unwrap_err();
    let kind = s2lab_protocol::FailureKind::Refused(s2lab_protocol::Facility::Kvm);
    let failure = s2lab_protocol::Failure { kind, message: "no VM".into() };
    assert_eq!(why, NotStarted::Reported(failure));
    play.watch.join().unwrap().unwrap();
    assert_eq!(play.tape.frames(), []);
}

#[test]
fn a_report_that_is_not_valid_ends_the_vmm() {
    let mut play = play_as(Channel::builtin(), "sleep 60");
    play.say(r#""running""#);
    play.started.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
    play.say("nonsense");
    play.watch.join().unwrap().unwrap();
    let is_said = |frame: s2lab_protocol::Frame| matches!(frame.body, Body::Notice(Notice::GuestEnded { how: GuestEnd::Stopped { detail, .. }, .. }) if detail.contains("not valid"));
    assert!(play.tape.frames().into_iter().any(is_said));
}
