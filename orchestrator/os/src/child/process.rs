//! A child process that cannot outlive s2lab. It has a process group of its own, which is killed
//! when the launching thread ends, and a mark in its environment, by which its descendants are
//! found anywhere.

use super::{
    orphans::{self, MARK, Owner},
    tie,
};
use crate::waits::{self, timeout};
use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    io::{FdFlags, fcntl_setfd},
    process::{Pid, Signal, kill_process_group},
};
use std::{
    collections::BTreeSet,
    io,
    os::unix::process::CommandExt,
    process::ExitStatus,
    sync::{
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use tokio::{process::Child, runtime::Handle, sync::oneshot};

/// The time in which a killed group must end. A process that needs longer is stuck in the kernel.
const REAP: Duration = Duration::from_secs(2);
/// The interval of the checks whether the rest of a killed process is gone.
const AGAIN: Duration = Duration::from_millis(5);

/// Starts processes from one thread that lives as long as s2lab.
///
/// The kernel sends a child its parent-death signal when the *thread* that forked it ends
/// (prctl(2), PR_SET_PDEATHSIG), and tokio retires idle blocking threads; so the fork must not
/// happen on one of those.
#[derive(Clone)]
pub struct Launcher {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    command: std::process::Command,
    inherit: Vec<OwnedFd>,
    done: oneshot::Sender<io::Result<Child>>,
    _pending: Pending,
}

/// The number of jobs whose child has not been started yet.
static PENDING: AtomicUsize = AtomicUsize::new(0);

/// One of [`PENDING`].
struct Pending;

impl Pending {
    fn new() -> Self {
        PENDING.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        PENDING.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Launcher {
    /// Starts the thread. It must be called inside of a tokio runtime, whose reactor then watches
    /// the children. First it kills what remains of an s2lab that was killed: its children died
    /// with it, but their children may be alive.
    pub fn start() -> io::Result<Self> {
        let left = orphans::kill();
        if !left.is_empty() {
            tracing::warn!(
                "killed processes {left:?}, which an s2lab that ended without its clean-up had left"
            );
        }
        let (jobs, queue) = mpsc::channel::<Job>();
        let runtime = Handle::current();
        thread::Builder::new().name("launcher".into()).spawn(move || {
            let _inside = runtime.enter();
            for job in queue {
                // A caller that is gone drops the child, and so kills it.
                let _ = job.done.send(spawn(job.command, &job.inherit));
            }
        })?;
        Ok(Self { jobs })
    }

    /// Starts `command`. It inherits `inherit` under the numbers that they have here.
    pub async fn launch(
        &self,
        mut command: std::process::Command,
        inherit: Vec<OwnedFd>,
    ) -> io::Result<Process> {
        static LAUNCHED: AtomicU64 = AtomicU64::new(0);
        let number = LAUNCHED.fetch_add(1, Ordering::Relaxed);
        let value = Owner::this().mark(number);
        command.env(MARK, &value);
        let (done, started) = oneshot::channel();
        let gone = || io::Error::other("the launcher thread is gone");
        self.jobs.send(Job { command, inherit, done, _pending: Pending::new() }).map_err(|_| gone())?;
        let child = started.await.map_err(|_| gone())??;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).ok_or_else(gone)?;
        Ok(Process { child, group, mark: value })
    }
}

/// Kills all that this s2lab has launched, and waits until it is gone. What is dropped is killed at
/// once, but a process with gigabytes of memory takes its time to end.
///
/// # Errors
/// If something survives SIGKILL.
pub async fn end_all() -> io::Result<()> {
    let this = Owner::this();
    let begin = waits::now();
    loop {
        let pending = PENDING.load(Ordering::SeqCst);
        let left = orphans::kill_if(|mark| Owner::of(mark) == Some(this));
        if pending == 0 && left.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > REAP {
            let left: Vec<_> = left.into_iter().map(|(pid, _)| pid).collect();
            return Err(io::Error::other(format!("processes {left:?} survive SIGKILL")));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn spawn(mut command: std::process::Command, inherit: &[OwnedFd]) -> io::Result<Child> {
    tie(&mut command);
    let numbers: Vec<_> = inherit.iter().map(AsRawFd::as_raw_fd).collect();
    let keep = move || {
        for number in &numbers {
            // SAFETY: the parent holds these descriptors open until spawn returns, and this is its
            // forked copy.
            let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(*number) };
            fcntl_setfd(fd.as_fd(), FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: `keep` makes async-signal-safe system calls only; its error path allocates, in a
    // child that then ends.
    unsafe { command.pre_exec(keep) };
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).spawn()
}

/// A running child and its process group. Dropping it kills the group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
    mark: String,
}

impl Process {
    pub fn pid(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// The mark in the environment of the child and of all that it has started.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills the child and all processes that it has started, and waits until they are gone. An
    /// error says what survived, or that a process had left the process group: then s2lab's own
    /// death would not have ended it.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.kill_group();
        timeout(REAP, self.child.wait()).await.map_err(|_| self.survivor())??;
        let begin = waits::now();
        let mut strays = BTreeSet::new();
        loop {
            let left = self.kill_marked();
            if left.is_empty() {
                break;
            }
            strays.extend(left.into_iter().filter(|(_, stray)| *stray).map(|(pid, _)| pid));
            if begin.elapsed() > REAP {
                return Err(self.survivor());
            }
            tokio::time::sleep(AGAIN).await;
        }
        match strays.is_empty() {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "processes {strays:?} had left the process group {} and had to be hunted down",
                self.pid()
            ))),
        }
    }

    /// The group's number certainly belongs to it only while the leader is not reaped.
    fn kill_group(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // ESRCH: all of them have already ended.
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }

    /// Kills every live process with our mark. Returns their ids, and true for those that had left
    /// the group.
    fn kill_marked(&self) -> Vec<(i32, bool)> {
        orphans::kill_if(|mark| mark == self.mark)
            .into_iter()
            .map(|(pid, group)| (pid, group.is_some_and(|group| group != self.group)))
            .collect()
    }

    fn survivor(&self) -> io::Error {
        io::Error::other(format!("process group {} survives SIGKILL", self.pid()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
        self.kill_marked();
    }
}
