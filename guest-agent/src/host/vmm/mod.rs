//! One guest's VMM: a process, started and ended. [`watch`] does everything in between.

mod builtin;
mod qemu;
mod qmp;
mod watch;

use crate::exit::fatal;
use crate::link::Link;
use crate::{fault, root::Root};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use s2lab_protocol::ask::StartGuest;
use s2lab_protocol::{Facility, Failure, VmmKind};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Duration;
use watch::{Channel, Streams, Watch};

/// The time for a VMM to start. QEMU takes 4.5 s under TCG on an idle machine.
const STARTS: Duration = Duration::from_secs(120);
/// The deadlines of each way to end a VMM: by an order, by SIGTERM, by SIGKILL.
const ENDS: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(5), Duration::from_secs(10)];

/// The reason why a VMM does not run its guest.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NotStarted {
    /// It ended, or does not answer. The text has its last output.
    Ended(String),
    /// Its own report.
    Reported(Failure),
}

/// A VMM that was started.
pub(crate) struct Vmm {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    /// The channel for orders.
    control: UnixStream,
    /// A channel that is closed when the process is gone and its end is reported.
    ended: Receiver<()>,
}

impl Vmm {
    /// Starts a guest. Returns when the VMM runs it, with the VMM's version and the link to the
    /// guest's agent. From then on exactly one [`s2lab_protocol::Notice::GuestEnded`] will be sent for it.
    pub(crate) fn start(
        root: &Root,
        spec: &StartGuest,
        link: &Arc<Link>,
    ) -> Result<(Vmm, String, UnixStream), Failure> {
        if !root.exists("dev/kvm") {
            return Err(fault::missing(Facility::Kvm, "there is no /dev/kvm"));
        }
        let failed =
            |why: &dyn std::fmt::Display| fault::system("start", format_args!("guest {}", spec.name), why);
        let pair = || UnixStream::pair().map_err(|why| failed(&why));
        let ((guest, guest_end), (control, control_end)) = (pair()?, pair()?);
        let ends = [guest_end.as_raw_fd(), control_end.as_raw_fd()];
        let (command, channel) = match spec.vmm {
            VmmKind::Qemu => (qemu::command(root, spec, ends)?, Channel::qmp()),
            VmmKind::Builtin => (builtin::command(root, spec, ends)?, Channel::builtin()),
        };
        let mut child = spawn(command, ends).map_err(|why| failed(&why))?;
        drop((guest_end, control_end));
        let pidfd = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => Arc::new(pidfd),
            Err(why) => {
                // A process that cannot be watched must not run. Both fail only if it is already
                // gone.
                let _ = (child.kill(), child.wait());
                return Err(failed(&why));
            }
        };
        let (last_word, ended) = sync_channel::<()>(0);
        let vmm = Vmm { pid: child.id(), pidfd: Arc::clone(&pidfd), control, ended };
        let (started, starts) = sync_channel(1);
        let watch = || -> io::Result<_> {
            let control = (channel, vmm.control.try_clone()?);
            let streams = Streams { pidfd, control, guest: guest.try_clone()? };
            let watch = Watch::new(&spec.name, spec.nonce, Arc::clone(link), child, streams, started)?;
            std::thread::Builder::new().spawn(move || {
                let _last_word = last_word;
                if let Err(why) = watch.run() {
                    fatal(why);
                }
            })
        };
        let late = |why| Err(NotStarted::Ended(format!("the VMM does not run: {why}")));
        let outcome = match watch() {
            Ok(_) => starts.recv_timeout(STARTS).unwrap_or_else(late),
            Err(why) => Err(NotStarted::Ended(why.to_string())),
        };
        match outcome {
            Ok(version) => Ok((vmm, version, guest)),
            Err(why) => {
                vmm.signal(Signal::KILL)?;
                Err(match why {
                    NotStarted::Ended(why) => qemu::not_started(&spec.name, &why),
                    NotStarted::Reported(failure) => failure,
                })
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.ended.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// Gives QEMU a command of QMP, a line.
    pub(crate) fn order(&self, command: &str) -> Result<(), Failure> {
        let written = (&self.control).write_all(format!("{command}\n").as_bytes());
        written.map_err(|why| fault::system("ask", format_args!("the VMM, process {}", self.pid), why))
    }

    /// Ends the VMM: by a request first, then by signals. A VMM that has already ended is fine.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        // A closed socket means that it is ending by itself.
        // The built-in VMM ends at any order.
        let _ = self.control.write_all(format!("{}\n", qmp::QUIT).as_bytes());
        for (limit, next) in ENDS.into_iter().zip([Some(Signal::TERM), Some(Signal::KILL), None]) {
            if self.ended.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected) {
                return Ok(());
            }
            if let Some(signal) = next {
                self.signal(signal)?;
            }
        }
        Err(fault::system("end", format_args!("the VMM, process {}", self.pid), "it survives SIGKILL"))
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(why) => Err(fault::system("end", format_args!("the VMM, process {}", self.pid), why)),
        }
    }
}

/// Starts a VMM in a process group of its own, with the open files `ends`.
fn spawn(mut command: Command, ends: [RawFd; 2]) -> io::Result<Child> {
    command.env_clear().process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: between fork and exec it makes system calls only and allocates nothing; the caller
    // has both files open.
    unsafe {
        command.pre_exec(move || {
            for end in ends {
                fcntl_setfd(BorrowedFd::borrow_raw(end), FdFlags::empty())?;
            }
            Ok(())
        });
    }
    command.spawn()
}
