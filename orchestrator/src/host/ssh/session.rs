//! The thread that owns an ssh session.

use super::{MAX_OUTPUT, Shell, SshError, Until, terminal};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use s2lab_os::waits;
use ssh2::{BlockDirections, Channel, ErrorCode, MethodType, Session};
use std::{
    fmt,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::mpsc,
    time::Duration,
};
use tokio::sync::oneshot;

/// The user who logs in, without a password.
const USER: &str = "root";
/// The methods: the fastest for an emulated CPU, and a host key that dropbear makes in a moment.
const METHODS: [(MethodType, &str); 2] = [
    (MethodType::Kex, "curve25519-sha256,curve25519-sha256@libssh.org"),
    (MethodType::HostKey, "ssh-ed25519"),
];
/// The deadline for opening and closing a shell.
const SHELL: Duration = Duration::from_secs(20);
/// The doing in an error of a shell.
const IN_SHELL: &str = "the shell";
/// The bytes that pass at a time.
const CHUNK: usize = 32 * 1024;
/// The key that, three times in a row, leaves a shell whose host does not answer any more: Ctrl-]
/// (0x1d).
const LEAVE: u8 = 0x1d;
const LEAVE_TIMES: usize = 3;
/// `LIBSSH2_ERROR_EAGAIN` (libssh2.h).
const AGAIN: ErrorCode = ErrorCode::Session(-37);
/// Codes of libssh2.h after which the session is unusable: SOCKET_SEND, SOCKET_DISCONNECT, PROTO,
/// DECRYPT, SOCKET_RECV.
const FATAL: [i32; 5] = [-7, -13, -14, -12, -43];

/// The end of a command. libssh2 does not distinguish a command that ended with 0 from a channel
/// that closed without any status; dropbear and OpenSSH always send one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    /// The signal's name without `SIG`.
    Signal(String),
    /// The person has left the shell.
    Left,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "killed by SIG{signal}"),
            Exit::Left => f.write_str("left"),
        }
    }
}

/// The output of a command, and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// The bytes of both that were not kept.
    pub dropped: u64,
    pub exit: Exit,
}

pub(super) enum Job {
    Exec { command: String, stdin: Vec<u8>, until: Until, done: oneshot::Sender<Result<Output, SshError>> },
    Shell { shell: Shell, done: oneshot::Sender<Result<Exit, SshError>> },
}

/// Runs the thread. An answer that nobody waits for any more is dropped.
pub(super) fn run(
    stream: UnixStream,
    until: Until,
    ready: oneshot::Sender<Result<(), SshError>>,
    jobs: &mpsc::Receiver<Job>,
) {
    let mut owner = match Owner::connect(stream, until) {
        Ok(owner) => owner,
        Err(error) => return drop(ready.send(Err(error))),
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    while let Ok(job) = jobs.recv() {
        let over = match job {
            Job::Exec { command, stdin, until, done } => answer(done, owner.exec(&command, &stdin, until)),
            Job::Shell { shell, done } => answer(done, owner.shell(shell)),
        };
        // Later jobs get no answer, which means that the connection has ended.
        if over {
            break;
        }
    }
    // It is at most one packet. If it does not fit, the stream's end has the same meaning.
    let _ = owner.session.disconnect(None, "over", None);
}

/// Sends the answer. Returns true if the connection has ended. After a deadline libssh2 stays in
/// the middle of something.
fn answer<T>(done: oneshot::Sender<Result<T, SshError>>, answer: Result<T, SshError>) -> bool {
    let over =
        matches!(answer, Err(SshError::Silent { .. } | SshError::Lost { .. } | SshError::Local { .. }));
    done.send(answer).is_err() || over
}

struct Owner {
    session: Session,
    stream: UnixStream,
}

impl Owner {
    fn connect(stream: UnixStream, until: Until) -> Result<Self, SshError> {
        let doing = "the ssh handshake";
        let local = |source| SshError::Local { doing, source };
        let mut session = Session::new().map_err(|error| local(error.into()))?;
        session.set_tcp_stream(stream.try_clone().map_err(local)?);
        session.set_blocking(false);
        for (kind, methods) in METHODS {
            session.method_pref(kind, methods).map_err(|error| local(error.into()))?;
        }
        let mut owner = Self { session, stream };
        until_done(&owner.stream, until, doing, &mut owner.session, Session::handshake)?;
        // The list of methods is requested by the method `none`, for which a blank password is
        // enough (RFC 4252, 5.2).
        let login = |session: &mut Session| session.auth_methods(USER).map(drop);
        until_done(&owner.stream, until, "the login", &mut owner.session, login)?;
        match owner.session.authenticated() {
            true => Ok(owner),
            false => Err(SshError::Refused { doing: "the login".into(), why: "it wants a password".into() }),
        }
    }

    fn exec(&mut self, command: &str, stdin: &[u8], until: Until) -> Result<Output, SshError> {
        let mut channel = self.open(until, command)?;
        self.channel(until, command, &mut channel, |channel| channel.exec(command))?;
        let mut output = Output { stdout: vec![], stderr: vec![], dropped: 0, exit: Exit::Left };
        let mut input = Input { bytes: stdin, ended: true, informed: false };
        let mut chunk = vec![0; CHUNK];
        loop {
            let mut moved = input.give(&mut channel).map_err(lost(command))?;
            // Both share one window, so each must be read or the other stops.
            for stream in [0, ssh2::EXTENDED_DATA_STDERR] {
                while let Some(n) = taken(channel.stream(stream).read(&mut chunk)).map_err(lost(command))? {
                    moved = true;
                    let kept = if stream == 0 { &mut output.stdout } else { &mut output.stderr };
                    let keep = n.min(MAX_OUTPUT - kept.len());
                    kept.extend_from_slice(chunk.get(..keep).unwrap_or_default());
                    output.dropped += (n - keep) as u64;
                    // A command that prints for ever has a deadline too.
                    until.check(command)?;
                }
            }
            if channel.eof() {
                break;
            }
            if !moved {
                self.wait(Some(until), command, &[])?;
            }
        }
        output.exit = self.ended(until, command, channel)?;
        Ok(output)
    }

    fn shell(&mut self, mut shell: Shell) -> Result<Exit, SshError> {
        let mut channel = self.open_shell(&shell)?;
        let (mut chunk, mut keys) = (vec![0; CHUNK], Keys::default());
        loop {
            let printed = print(&mut channel, &mut shell, &mut chunk)?;
            let moved = keys.give(&mut channel)? || printed;
            if channel.eof() {
                return self.ended(Until::new(SHELL), IN_SHELL, channel);
            }
            if moved {
                continue;
            }
            let (resized, typed) = self.shell_input(&shell, keys.are_wanted())?;
            if resized {
                self.resize(&mut shell, &mut channel)?;
            }
            if typed && keys.read(&shell, &mut chunk)? {
                return Ok(Exit::Left);
            }
        }
    }

    /// Opens a channel with a shell behind it, on the shell's terminal, or with its command.
    fn open_shell(&mut self, shell: &Shell) -> Result<Channel, SshError> {
        let until = Until::new(SHELL);
        let mut channel = self.open(until, IN_SHELL)?;
        if let Some((kind, size)) = &shell.terminal {
            let size = Some((size.columns, size.rows, 0, 0));
            self.channel(until, IN_SHELL, &mut channel, |channel| channel.request_pty(kind, None, size))?;
        }
        match &shell.command {
            Some(command) => self.channel(until, IN_SHELL, &mut channel, |channel| channel.exec(command))?,
            None => self.channel(until, IN_SHELL, &mut channel, Channel::shell)?,
        }
        shell.resized.set_nonblocking(true).map_err(shell_local)?;
        Ok(channel)
    }

    /// Waits until something can move. Returns if the terminal's size has changed, and if there are
    /// keys to read, where they are wanted.
    fn shell_input(&self, shell: &Shell, keys_wanted: bool) -> Result<(bool, bool), SshError> {
        let mut more = vec![PollFd::new(&shell.resized, PollFlags::IN)];
        more.extend(keys_wanted.then(|| PollFd::new(&shell.input, PollFlags::IN)));
        let ready = self.wait(None, IN_SHELL, &more)?;
        let is_ready = |at: usize| ready.get(at) == Some(&true);
        Ok((is_ready(0), is_ready(1)))
    }

    /// Passes on the terminal's new size.
    fn resize(&self, shell: &mut Shell, channel: &mut Channel) -> Result<(), SshError> {
        // The number of changes does not matter. Without its sender the size does not change any
        // more.
        let _ = shell.resized.read(&mut [0; 64]);
        let Some(size) = shell.terminal.as_ref().and_then(|_| terminal::size(&shell.input)) else {
            return Ok(());
        };
        let resize = |channel: &mut Channel| channel.request_pty_size(size.columns, size.rows, None, None);
        self.channel(Until::new(SHELL), IN_SHELL, channel, resize)
    }

    fn open(&mut self, until: Until, doing: &str) -> Result<Channel, SshError> {
        until_done(&self.stream, until, doing, &mut self.session, |session| session.channel_session())
    }

    /// Closes the channel. The end of its command may come after its last output.
    fn ended(&mut self, until: Until, doing: &str, mut channel: Channel) -> Result<Exit, SshError> {
        self.channel(until, doing, &mut channel, Channel::close)?;
        self.channel(until, doing, &mut channel, Channel::wait_close)?;
        let signal = channel.exit_signal().map_err(|why| failed(doing, &why))?;
        let status = channel.exit_status().map_err(|why| failed(doing, &why))?;
        Ok(signal.exit_signal.map_or(Exit::Code(status), Exit::Signal))
    }

    fn channel<T>(
        &self,
        until: Until,
        doing: &str,
        channel: &mut Channel,
        act: impl FnMut(&mut Channel) -> Result<T, ssh2::Error>,
    ) -> Result<T, SshError> {
        let mut act = act;
        loop {
            match act(channel) {
                Err(error) if error.code() == AGAIN => self.wait(Some(until), doing, &[])?,
                done => return done.map_err(|why| failed(doing, &why)),
            };
        }
    }

    fn wait(&self, until: Option<Until>, doing: &str, more: &[PollFd<'_>]) -> Result<Vec<bool>, SshError> {
        wait(&self.session, &self.stream, until, doing, more)
    }
}

/// Calls until libssh2 is done.
fn until_done<T>(
    stream: &UnixStream,
    until: Until,
    doing: &str,
    session: &mut Session,
    mut act: impl FnMut(&mut Session) -> Result<T, ssh2::Error>,
) -> Result<T, SshError> {
    loop {
        match act(session) {
            Err(error) if error.code() == AGAIN => wait(session, stream, Some(until), doing, &[])?,
            done => return done.map_err(|why| failed(doing, &why)),
        };
    }
}

/// Waits until the stream is ready for libssh2, or one of `more` is ready. Returns those of `more`
/// that are.
fn wait(
    session: &Session,
    stream: &UnixStream,
    until: Option<Until>,
    doing: &str,
    more: &[PollFd<'_>],
) -> Result<Vec<bool>, SshError> {
    let wanted = match session.block_directions() {
        BlockDirections::Outbound => PollFlags::OUT,
        BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
        BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
    };
    let mut all = vec![PollFd::new(stream, wanted)];
    all.extend(more.iter().cloned());
    let left = until.map(|until| until.left(doing)).transpose()?;
    let limit = left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    match poll(&mut all, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(why) => return Err(SshError::Lost { doing: doing.into(), why: why.to_string() }),
    }
    Ok(all.iter().skip(1).map(|fd| !fd.revents().is_empty()).collect())
}

impl Until {
    fn left(self, doing: &str) -> Result<Duration, SshError> {
        waits::turn(self.end).ok_or_else(|| SshError::Silent { doing: doing.into(), deadline: self.deadline })
    }

    fn check(self, doing: &str) -> Result<(), SshError> {
        self.left(doing).map(drop)
    }
}

/// The input of a command's stdin.
struct Input<'a> {
    bytes: &'a [u8],
    /// True if nothing follows `bytes`.
    ended: bool,
    /// True if the command has been informed of that.
    informed: bool,
}

impl Input<'_> {
    /// Writes as much as the command takes at once. Returns true if that was anything.
    fn give(&mut self, channel: &mut Channel) -> io::Result<bool> {
        let mut moved = false;
        while !self.bytes.is_empty() && !channel.eof() {
            let Some(n) = taken(channel.write(self.bytes))? else { break };
            self.bytes = self.bytes.get(n..).unwrap_or_default();
            moved = true;
        }
        if self.ended && self.bytes.is_empty() && !self.informed {
            match channel.send_eof() {
                Ok(()) => self.informed = true,
                Err(error) if error.code() == AGAIN => return Ok(moved),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(moved)
    }
}

/// The keys of a shell's user, on their way to it.
#[derive(Default)]
struct Keys {
    typed: Vec<u8>,
    /// True if nothing follows.
    ended: bool,
    /// True if the shell has been informed of that.
    informed: bool,
    /// The number of [`LEAVE`] keys in a row.
    leaving: usize,
}

impl Keys {
    /// Returns true if more keys can be read.
    fn are_wanted(&self) -> bool {
        !self.ended && self.typed.is_empty()
    }

    /// Writes as many keys as the shell takes at once. Returns true if that was anything.
    fn give(&mut self, channel: &mut Channel) -> Result<bool, SshError> {
        let mut input = Input { bytes: &self.typed, ended: self.ended, informed: self.informed };
        let moved = input.give(channel).map_err(lost(IN_SHELL))?;
        self.informed = input.informed;
        self.typed = input.bytes.to_vec();
        Ok(moved)
    }

    /// Reads keys. Returns true if the user leaves the shell.
    fn read(&mut self, shell: &Shell, chunk: &mut [u8]) -> Result<bool, SshError> {
        let n = match rustix::io::read(&shell.input, &mut *chunk) {
            Ok(n) => n,
            // A terminal that is gone sends nothing more.
            Err(Errno::IO) => 0,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(shell_local(error.into())),
        };
        self.ended = n == 0;
        self.typed = chunk.get(..n).unwrap_or_default().to_vec();
        if shell.terminal.is_none() {
            return Ok(false);
        }
        self.leaving =
            self.typed.iter().fold(self.leaving, |row, key| if *key == LEAVE { row + 1 } else { 0 });
        Ok(self.leaving >= LEAVE_TIMES)
    }
}

/// Prints what the shell has said. Returns true if that was anything.
fn print(channel: &mut Channel, shell: &mut Shell, chunk: &mut [u8]) -> Result<bool, SshError> {
    let mut moved = false;
    for (stream, to) in [(0, &mut shell.output), (ssh2::EXTENDED_DATA_STDERR, &mut shell.errors)] {
        if let Some(n) = taken(channel.stream(stream).read(chunk)).map_err(lost(IN_SHELL))? {
            moved = true;
            let written = to.write_all(chunk.get(..n).unwrap_or_default());
            written.and_then(|()| to.flush()).map_err(shell_local)?;
        }
    }
    Ok(moved)
}

fn shell_local(source: io::Error) -> SshError {
    SshError::Local { doing: IN_SHELL, source }
}

/// Returns the number of bytes that went through, or None at the end, and when libssh2 has to wait.
fn taken(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(0) => Ok(None),
        Ok(n) => Ok(Some(n)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes an error of I/O on a channel. ssh2 drops libssh2's code, so every error counts as the end.
fn lost(doing: &str) -> impl Fn(io::Error) -> SshError + '_ {
    move |why| SshError::Lost { doing: doing.into(), why: why.to_string() }
}

fn failed(doing: &str, error: &ssh2::Error) -> SshError {
    let (doing, why) = (doing.to_owned(), error.message().to_owned());
    match error.code() {
        ErrorCode::Session(code) if FATAL.contains(&code) => SshError::Lost { doing, why },
        _ => SshError::Refused { doing, why },
    }
}
