//! Looks for a person in the host's shell: the agent passes the request of the command `look` on to
//! s2lab, and the text of the tables back.
//!
//! The command is a process of its own, which speaks to the agent through a socket: a line with the
//! guest's name, or an empty one for all guests; back come a byte, the text, and the byte of the
//! end. So a broken answer is not taken for a whole one.

mod command;
#[cfg(test)]
mod tests;

pub(crate) use command::{is_command, main};

use crate::fault;
use crate::link::{Link, LinkError};
use crate::root::Root;
use rustix::net::{RecvFlags, recv};
use s2lab_protocol::ask::{LookEnd, ShowTables};
use s2lab_protocol::{Failure, Notice, is_name};
use std::convert::Infallible;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The name of the command, its place in the host, and its program, which is the agent's.
const NAME: &str = "look";
const COMMAND: &str = "usr/bin/look";
const AGENT: &str = "/init";
/// The agent's socket.
const SOCKET: &str = "run/s2lab-look";
/// The first byte of an answer: the text comes, or the reason why not.
const ACCEPTED: u8 = b'+';
const REFUSED: u8 = b'-';
/// The time in which a command must send its line, or read what is written to it.
const PROMPT: Duration = Duration::from_secs(5);
/// The most bytes of a line that are read.
const LONGEST_LINE: u64 = 4096;

/// Returns the last byte of an answer.
fn last_byte(end: LookEnd) -> u8 {
    match end {
        LookEnd::Done => 0,
        LookEnd::Failed => 1,
    }
}

/// The reason why there is no command.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} /{path}: {why}")]
struct NoCommand {
    doing: &'static str,
    path: &'static str,
    why: io::Error,
}

/// The look that a person waits for. There is at most one.
#[derive(Clone, Default)]
pub(super) struct Looks(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The number of the next look.
    next: u64,
    waiting: Option<Waiting>,
}

struct Waiting {
    id: u64,
    command: UnixStream,
    /// The first byte was sent.
    begun: bool,
}

impl Looks {
    /// Serves the command in a thread, for ever. Without the command everything else works.
    pub(super) fn start(root: &Root, link: &Arc<Link>) -> Result<Looks, LinkError> {
        let looks = Looks::default();
        let (served, notes, root) = (looks.clone(), Arc::clone(link), root.clone());
        let started = std::thread::Builder::new().spawn(move || {
            let why = served.serve(&root, &notes).map_or_else(|why| why, |never| match never {});
            // A failure of the link ends the machine elsewhere.
            drop(notes.log(format!("no command `{NAME}`: {why}")));
        });
        started.map_err(|why| LinkError::Stream { doing: "starting looks beside", why })?;
        Ok(looks)
    }

    fn serve(&self, root: &Root, link: &Link) -> Result<Infallible, NoCommand> {
        let failed = |doing, path| move |why| NoCommand { doing, path, why };
        std::fs::create_dir_all(root.path("run")).map_err(failed("create", "run"))?;
        let listener = UnixListener::bind(root.path(SOCKET)).map_err(failed("listen on", SOCKET))?;
        symlink(AGENT, root.path(COMMAND)).map_err(failed("create", COMMAND))?;
        loop {
            let (command, _) = listener.accept().map_err(failed("listen on", SOCKET))?;
            // A command that is gone needs no answer.
            drop(self.request(command, link));
        }
    }

    /// Reads a command's line, and passes the request on.
    fn request(&self, mut command: UnixStream, link: &Link) -> io::Result<()> {
        command.set_read_timeout(Some(PROMPT))?;
        command.set_write_timeout(Some(PROMPT))?;
        let guest = line(&command)?;
        if !(guest.is_empty() || is_name(&guest)) {
            return refuse(&mut command, &format!("`{}` is not the name of a guest", guest.escape_default()));
        }
        let mut state = self.lock();
        if state.waiting.as_ref().is_some_and(|waiting| !waiting.is_gone()) {
            return refuse(&mut command, "another look is not over yet");
        }
        let id = state.next;
        state.next += 1;
        state.waiting = Some(Waiting { id, command, begun: false });
        drop(state);
        let guest = Some(guest).filter(|guest| !guest.is_empty());
        link.notice(Notice::LookRequested { id, guest }).map_err(io::Error::other)
    }

    /// Passes a part of the text on. If the command is gone, s2lab need not send the rest.
    pub(super) fn show(&self, part: &ShowTables) -> Result<(), Failure> {
        let ShowTables { id, text, end } = part;
        let mut state = self.lock();
        let Some(waiting) = state.waiting.as_mut().filter(|waiting| waiting.id == *id) else {
            return Err(fault::invalid(format_args!("no command waits for look {id}")));
        };
        let written = waiting.write(text, *end);
        if written.is_err() || end.is_some() {
            state.waiting = None;
        }
        written.map_err(|why| fault::system("pass on", "the tables", why))
    }

    /// A thread that panics while it holds the lock ends the agent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn write(&mut self, text: &str, end: Option<LookEnd>) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            self.command.write_all(&[ACCEPTED])?;
        }
        self.command.write_all(text.as_bytes())?;
        end.map_or(Ok(()), |end| self.command.write_all(&[last_byte(end)]))
    }

    /// Returns true if the command has ended. It sends nothing after its line.
    fn is_gone(&self) -> bool {
        let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        recv(&self.command, &mut [0], peek) != Err(rustix::io::Errno::AGAIN)
    }
}

/// Reads a line without its end. Nothing comes after it.
fn line(command: impl Read) -> io::Result<String> {
    let mut text = vec![];
    BufReader::new(command.take(LONGEST_LINE)).read_until(b'\n', &mut text)?;
    Ok(String::from_utf8_lossy(&text).trim_end_matches('\n').to_owned())
}

fn refuse(command: &mut UnixStream, why: &str) -> io::Result<()> {
    command.write_all(&[&[REFUSED], why.as_bytes(), &[last_byte(LookEnd::Failed)]].concat())
}
