//! Agent and command, with a test in the place of s2lab.

use super::command::{Answer, Deadlines, NoAnswer, ask};
use super::*;
use s2lab_protocol::{Body, Decoder, FailureKind, Peer};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

const SOON: Duration = Duration::from_secs(10);
const PATIENT: Deadlines = Deadlines { begins: SOON, goes_on: SOON };
const QUICK: Deadlines =
    Deadlines { begins: Duration::from_millis(300), goes_on: Duration::from_millis(300) };

/// A command in a thread.
type Command = JoinHandle<Result<Answer, NoAnswer>>;

fn command(socket: &Path, guest: &str, deadlines: Deadlines) -> Command {
    let (socket, guest) = (socket.to_owned(), guest.to_owned());
    std::thread::Builder::new().spawn(move || ask(&socket, &guest, deadlines)).unwrap()
}

/// The agent's end of the link, whose frames a test reads.
struct Out(Sender<Vec<u8>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.send(bytes.to_vec());
        sent.map(|()| bytes.len()).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Served {
    folder: tempfile::TempDir,
    looks: Looks,
    frames: Receiver<Vec<u8>>,
}

impl Served {
    fn start() -> Served {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("usr/bin")).unwrap();
        let served = Served::in_folder(folder);
        let begin = Instant::now();
        // The last thing that is made.
        while std::fs::read_link(served.folder.path().join(COMMAND)).is_err() {
            assert!(begin.elapsed() < SOON);
            std::thread::sleep(Duration::from_millis(1));
        }
        served
    }

    fn in_folder(folder: tempfile::TempDir) -> Served {
        let (sender, frames) = channel();
        let link = Arc::new(Link::new(Peer::Host, 7, Out(sender)));
        let looks = Looks::start(&Root::at(folder.path()), &link).unwrap();
        Served { folder, looks, frames }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    fn ask(&self, guest: &str) -> Command {
        command(&self.socket(), guest, PATIENT)
    }

    /// Returns the next notice that s2lab gets.
    fn notice(&self) -> Notice {
        let mut decoder = Decoder::default();
        decoder.push(&self.frames.recv_timeout(SOON).unwrap());
        match decoder.next_frame().unwrap().unwrap().body {
            Body::Notice(notice) => notice,
            other => panic!("{other:?}"),
        }
    }

    fn requests(&self, id: u64, guest: Option<&str>) {
        assert_eq!(self.notice(), Notice::LookRequested { id, guest: guest.map(str::to_owned) });
    }

    fn show(&self, id: u64, text: &str, end: Option<LookEnd>) -> Result<(), Failure> {
        self.looks.show(&ShowTables { id, text: text.into(), end })
    }

    fn end(&self, id: u64) {
        self.show(id, "the end", Some(LookEnd::Done)).unwrap();
    }
}

fn answered(command: Command) -> (String, LookEnd) {
    let Answer { text, end } = command.join().unwrap().unwrap();
    (String::from_utf8(text).unwrap(), end)
}

fn refused(command: Command) -> String {
    match command.join().unwrap() {
        Err(NoAnswer::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_passed_on_and_its_text_comes_back_in_parts() {
    let served = Served::start();
    let all = served.ask("");
    served.requests(0, None);
    for (text, end) in [("", None), ("a\n", None), ("b\n", Some(LookEnd::Done))] {
        served.show(0, text, end).unwrap();
    }
    assert_eq!(answered(all), ("a\nb\n".into(), LookEnd::Done));
    let one = served.ask("g1");
    served.requests(1, Some("g1"));
    served.show(1, "why not\n", Some(LookEnd::Failed)).unwrap();
    assert_eq!(answered(one), ("why not\n".into(), LookEnd::Failed));
}

#[test]
fn while_one_look_is_taken_no_other_is() {
    let served = Served::start();
    let first = served.ask("g0");
    served.requests(0, Some("g0"));
    assert_eq!(refused(served.ask("")), "another look is not over yet");
    served.show(0, "some text, ", None).unwrap();
    assert_eq!(refused(served.ask("")), "another look is not over yet");
    assert_eq!(served.show(1, "of another", None).unwrap_err().kind, FailureKind::Invalid);
    served.end(0);
    assert_eq!(answered(first), ("some text, the end".into(), LookEnd::Done));
    assert_eq!(served.show(0, "late", None).unwrap_err().message, "no command waits for look 0");
}

#[test]
fn only_a_name_is_passed_on() {
    let served = Served::start();
    for bad in ["G0", "g0 g1", "\u{1b}[2J", &"x".repeat(100)] {
        let why = refused(served.ask(bad));
        assert!(why.ends_with("is not the name of a guest"), "{why}");
        assert!(why.is_ascii() && !why.contains('\u{1b}'), "{why}");
    }
    assert!(served.frames.try_recv().is_err());
}

/// A command that was interrupted, and s2lab does not know it yet.
fn left(served: &Served) {
    let mut left = UnixStream::connect(served.socket()).unwrap();
    left.write_all(b"g0\n").unwrap();
    served.requests(0, Some("g0"));
}

#[test]
fn a_command_that_has_left_ends_its_look() {
    let served = Served::start();
    left(&served);
    assert_eq!(served.show(0, "text", None).unwrap_err().kind, FailureKind::System);
    assert_eq!(served.show(0, "text", None).unwrap_err().kind, FailureKind::Invalid);
}

#[test]
fn after_a_command_that_has_left_another_is_served_at_once() {
    let served = Served::start();
    left(&served);
    let next = served.ask("");
    served.requests(1, None);
    assert_eq!(served.show(0, "of the one that left", None).unwrap_err().kind, FailureKind::Invalid);
    served.end(1);
    assert_eq!(answered(next), ("the end".into(), LookEnd::Done));
}

#[test]
fn a_host_without_a_place_for_the_command_is_reported() {
    let served = Served::in_folder(tempfile::tempdir().unwrap());
    let Notice::Log { text } = served.notice() else { panic!() };
    assert!(text.starts_with("no command `look`: cannot create /usr/bin/look: No such file"), "{text}");
}

#[test]
fn without_an_agent_that_answers_there_is_an_error_and_no_wait() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    assert!(matches!(ask(&socket, "", QUICK), Err(NoAnswer::Agent(_))));
    let listener = UnixListener::bind(&socket).unwrap();
    assert!(matches!(ask(&socket, "", QUICK), Err(NoAnswer::Late(_))));
    // It is still waiting to be accepted.
    drop(listener.accept().unwrap());
    let answered = |deadlines, answer: &str| {
        let command = command(&socket, "", deadlines);
        let (mut accepted, _) = listener.accept().unwrap();
        assert_eq!(line(&accepted).unwrap(), "");
        accepted.write_all(answer.as_bytes()).unwrap();
        (command, accepted)
    };
    for (answer, expected) in [
        ("", "the agent does not answer: failed to fill whole buffer"),
        ("+", "the answer broke off: its end is missing"),
        ("+text", "the answer broke off: its end is missing"),
        ("-why\u{1}", "why"),
    ] {
        let (command, accepted) = answered(PATIENT, answer);
        drop(accepted);
        assert_eq!(command.join().unwrap().unwrap_err().to_string(), expected);
    }
    let (command, _silent) = answered(QUICK, "+text");
    assert!(matches!(command.join().unwrap(), Err(NoAnswer::BrokeOff(_))));
}

#[test]
fn the_command_is_known_by_its_name() {
    assert!(is_command(OsStr::new("look")) && is_command(OsStr::new("/usr/bin/look")));
    assert!(!is_command(OsStr::new("/init")) && !is_command(OsStr::new("")));
}
