//! ssh into a host, on any connected stream: commands, files, a shell for a person.
//!
//! libssh2 is not thread-safe, and `Channel::drop` of ssh2 0.9.6 frees without the session's lock.
//! So one OS thread owns the session and does one thing after another. The session never blocks;
//! the thread sleeps in poll(2) until a deadline.

mod session;
mod terminal;

pub use session::{Exit, Output};
pub use terminal::{RawMode, Size, restore, size};

use s2lab_os::waits::{self, Moment};
use session::Job;
use std::{
    fmt, io,
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::mpsc,
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

/// The most bytes that are kept of each output of a command.
pub const MAX_OUTPUT: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum SshError {
    #[error("{doing} was not done in {deadline:?}")]
    Silent { doing: String, deadline: Duration },
    /// The connection has ended.
    #[error("{doing}: the ssh connection is lost: {why}")]
    Lost { doing: String, why: String },
    /// The other side refuses, and the connection continues.
    #[error("{doing}: sshd refuses: {why}")]
    Refused { doing: String, why: String },
    #[error("{doing}: {exit}: {stderr}")]
    Command { doing: String, exit: Exit, stderr: String },
    #[error("{doing}: {source}")]
    Local { doing: &'static str, source: io::Error },
}

/// The streams and the terminal of a person's shell.
pub struct Shell {
    /// The command that the user's shell runs, without a terminal. None: a shell for the person.
    pub command: Option<String>,
    /// The type of the terminal ($TERM) and its size. Without it the shell reads its commands from
    /// a pipe.
    pub terminal: Option<(String, Size)>,
    pub input: OwnedFd,
    pub output: Box<dyn io::Write + Send>,
    pub errors: Box<dyn io::Write + Send>,
    /// A stream that is readable when the terminal's size has changed.
    pub resized: UnixStream,
}

/// A connection that is logged in. Dropping it ends it. Dropping a call before its end also ends
/// it: the rest of its answer could not be distinguished from the next answer.
pub struct Ssh {
    jobs: mpsc::Sender<Job>,
    stream: UnixStream,
}

impl fmt::Debug for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ssh")
    }
}

impl Ssh {
    /// Greets and logs in as root with a blank password, all within `deadline`.
    pub async fn connect(stream: UnixStream, deadline: Duration) -> Result<Self, SshError> {
        let local = |doing| move |source| SshError::Local { doing, source };
        stream.set_nonblocking(true).map_err(local("cannot use the ssh stream"))?;
        let ours = stream.try_clone().map_err(local("cannot use the ssh stream"))?;
        let (jobs, queue) = mpsc::channel();
        let (ready, connected) = oneshot::channel();
        let until = Until::new(deadline);
        let thread = thread::Builder::new().name("ssh".into());
        let started = thread.spawn(move || session::run(stream, until, ready, &queue));
        started.map_err(local("cannot start the thread for ssh"))?;
        let ssh = Self { jobs, stream: ours };
        ssh.answer("the ssh handshake", connected).await?;
        Ok(ssh)
    }

    /// Runs `command` in the user's shell with `stdin`. Output beyond [`MAX_OUTPUT`] is read and
    /// dropped.
    ///
    /// # Errors
    /// If the command does not end within `deadline`, the connection ends.
    pub async fn exec(&self, command: &str, stdin: Vec<u8>, deadline: Duration) -> Result<Output, SshError> {
        let (done, answer) = oneshot::channel();
        let job = Job::Exec { command: command.into(), stdin, until: Until::new(deadline), done };
        self.ask(job, command, answer).await
    }

    /// Returns the first `limit` bytes of a file, at most [`MAX_OUTPUT`].
    pub async fn read_file(&self, path: &str, limit: usize, deadline: Duration) -> Result<Vec<u8>, SshError> {
        let limit = limit.min(MAX_OUTPUT);
        let command = format!("head -c {limit} -- {}", quoted(path));
        self.must(format!("reading {path}"), &command, vec![], deadline).await.map(|output| output.stdout)
    }

    /// Writes a file with this mode, and the folders above it.
    ///
    /// # Errors
    /// The file may be there in part.
    pub async fn write_file(
        &self,
        path: &str,
        bytes: Vec<u8>,
        mode: u32,
        deadline: Duration,
    ) -> Result<(), SshError> {
        let quoted = quoted(path);
        let command =
            format!("mkdir -p -- \"$(dirname -- {quoted})\" && cat > {quoted} && chmod {mode:o} -- {quoted}");
        self.must(format!("copying to {path}"), &command, bytes, deadline).await.map(drop)
    }

    /// Runs a command like [`Ssh::exec`] that must exit with 0.
    async fn must(
        &self,
        doing: String,
        command: &str,
        stdin: Vec<u8>,
        deadline: Duration,
    ) -> Result<Output, SshError> {
        let output = self.exec(command, stdin, deadline).await?;
        match output.exit {
            Exit::Code(0) => Ok(output),
            exit => {
                let stderr = String::from_utf8_lossy(&output.stderr).trim_end().into();
                Err(SshError::Command { doing, exit, stderr })
            }
        }
    }

    /// Runs a shell until its user ends it.
    pub async fn shell(&self, shell: Shell) -> Result<Exit, SshError> {
        let (done, answer) = oneshot::channel();
        self.ask(Job::Shell { shell, done }, "the shell", answer).await
    }

    async fn ask<T>(
        &self,
        job: Job,
        doing: &str,
        answer: oneshot::Receiver<Result<T, SshError>>,
    ) -> Result<T, SshError> {
        // If the thread is gone, so is the answer's sender.
        let _ = self.jobs.send(job);
        self.answer(doing, answer).await
    }

    async fn answer<T>(
        &self,
        doing: &str,
        answer: oneshot::Receiver<Result<T, SshError>>,
    ) -> Result<T, SshError> {
        let mut cancel = Cancel { stream: &self.stream, armed: true };
        let answer = answer.await;
        cancel.armed = false;
        answer
            .unwrap_or_else(|_| Err(SshError::Lost { doing: doing.into(), why: "it was over before".into() }))
    }
}

/// Returns a word in the quotes of a POSIX shell.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A guard that ends the connection when its call is dropped.
struct Cancel<'a> {
    stream: &'a UnixStream,
    armed: bool,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if self.armed {
            // It fails only if the connection has already ended.
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }
}

/// A deadline that keeps its length.
#[derive(Debug, Clone, Copy)]
struct Until {
    end: Moment,
    deadline: Duration,
}

impl Until {
    fn new(deadline: Duration) -> Self {
        Self { end: waits::now() + deadline, deadline }
    }
}
