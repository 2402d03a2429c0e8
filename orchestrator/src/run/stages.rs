//! Where a cell is, how long each part may take, and why it stopped.

use super::log::EventLog;
use crate::{
    host::{
        emulated::{cpu::CpuError, factor::Factor, look, qmp::QmpError},
        link::{LinkError, ending},
    },
    whole::no_room,
};
use s2lab_model::{
    event::{Event, Stage, StopCause},
    kconfig::{Options, Shortfall},
};
use s2lab_protocol::{FailureKind, GuestEnd, Peer};
use std::{io, path::Path, time::Duration};

/// Longer than anybody waits; instants can still be that far away.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How long each single wait of a cell may take. [`Deadlines::default`] is an order of magnitude above what the reference
/// machine needs; elsewhere it is stretched by the machine's [`Factor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Until QEMU has greeted, and its gdbstub has described the registers.
    pub attach: Duration,
    /// One QMP command: QEMU answers from its main loop, at once; this is for a machine that swaps.
    pub qmp: Duration,
    /// One request to the gdbstub.
    pub gdb: Duration,
    /// From the host's first instruction to its agent's hello.
    pub host_boot: Duration,
    pub bind: Duration,
    /// From the start of the VMM to the guest's hello.
    pub guest_boot: Duration,
    /// A request that costs the agent some system calls.
    pub request: Duration,
    /// A store step: one stage-2 fault costs 0.25 ms, a BAR of 1 GiB in 4 KiB pages about 70 s.
    pub store: Duration,
    /// A guest that stores tells once a second how far it is. After so long without getting on it is taken to be stuck.
    pub idle: Duration,
    /// All stops of one look.
    pub look: Duration,
    pub shut_down: Duration,
    /// Until QEMU says that it is well, after something else has not answered in time.
    pub alive: Duration,
    /// The rest of a crash, once its first line is there.
    pub drain: Duration,
    /// The host's agent says once a second that it lives (at most 1.03 s apart on a busy machine). After so long without a word
    /// its kernel is taken to be stuck.
    pub silence: Duration,
    /// A kernel that boots says something about as often (3.3 s were the longest pause of 70 boots on a busy machine: it unpacks
    /// the initramfs); after so long without a word it is taken to wait for ever.
    pub boot_silence: Duration,
    /// After a stall or a hung task: what still goes on shows itself in this time. See [`super::stuck`].
    pub stuck: Duration,
    /// All that is asked of a host after its cell has stopped early.
    pub diagnosis: Duration,
    /// What an ended machine has said and nobody has read yet.
    pub rest: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            attach: seconds(60),
            qmp: seconds(20),
            gdb: seconds(10),
            host_boot: seconds(120),
            bind: seconds(30),
            guest_boot: seconds(180),
            request: seconds(30),
            store: seconds(300),
            idle: seconds(8),
            look: seconds(60),
            shut_down: seconds(30),
            alive: seconds(5),
            drain: seconds(3),
            silence: seconds(8),
            boot_silence: seconds(8),
            stuck: seconds(6),
            diagnosis: seconds(5),
            rest: seconds(2),
        }
    }
}

impl Deadlines {
    /// For a machine that a person stops and steps: nothing is waited for that is not QEMU itself.
    #[must_use]
    pub fn off(self) -> Self {
        Self {
            host_boot: NEVER,
            bind: NEVER,
            guest_boot: NEVER,
            request: NEVER,
            store: NEVER,
            idle: NEVER,
            look: NEVER,
            shut_down: NEVER,
            silence: NEVER,
            boot_silence: NEVER,
            stuck: NEVER,
            ..self
        }
    }

    /// For a machine that takes `factor` times as long.
    pub fn times(self, factor: Factor) -> Self {
        let of = |base| factor.times(base);
        Self {
            attach: of(self.attach),
            qmp: of(self.qmp),
            gdb: of(self.gdb),
            host_boot: of(self.host_boot),
            bind: of(self.bind),
            guest_boot: of(self.guest_boot),
            request: of(self.request),
            store: of(self.store),
            idle: of(self.idle),
            look: of(self.look),
            shut_down: of(self.shut_down),
            alive: of(self.alive),
            diagnosis: of(self.diagnosis),
            drain: of(self.drain),
            silence: of(self.silence),
            boot_silence: of(self.boot_silence),
            stuck: of(self.stuck),
            rest: of(self.rest),
        }
    }
}

/// The stages of one attempt, written to the log as they come.
pub struct Stages {
    log: EventLog,
    current: Option<Stage>,
}

impl Stages {
    pub fn new(log: EventLog) -> Self {
        Self { log, current: None }
    }

    pub fn log(&self) -> &EventLog {
        &self.log
    }

    pub fn current(&self) -> Stage {
        self.current.unwrap_or(Stage::Prepare)
    }

    pub fn enter(&mut self, stage: Stage) {
        self.finish();
        self.log.event(Event::StageStarted { stage });
        self.current = Some(stage);
    }

    /// Ends the current stage; what comes after still counts as part of it.
    pub fn finish(&mut self) {
        if let Some(stage) = self.current {
            self.log.event(Event::StageEnded { stage });
        }
    }
}

/// What a person does about a guest that does not get on.
const IDLE: &str = "a stage-2 fault that the host's KVM takes again and again looks like this, and so does a guest that hangs: \
                    diagnosis.txt says what the host did, the guest's console what it did";

/// Why a cell stopped before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    pub cause: StopCause,
    pub what: String,
    pub hint: Option<String>,
}

impl Stop {
    fn new(cause: StopCause, what: impl Into<String>) -> Self {
        Self { cause, what: what.into(), hint: None }
    }

    pub fn lab(what: impl Into<String>) -> Self {
        Self::new(StopCause::Lab, what)
    }

    pub fn kernel(what: impl Into<String>) -> Self {
        Self::new(StopCause::Kernel, what)
    }

    /// Nothing moves any more; whether QEMU is well has to be seen.
    pub fn timeout(what: impl Into<String>) -> Self {
        Self::new(StopCause::Timeout, what)
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub fn interrupted() -> Self {
        Self::new(StopCause::Interrupted, "interrupted")
    }

    /// Whether it says more than that the lab failed.
    pub fn outweighs_lab(&self) -> bool {
        matches!(self.cause, StopCause::Kernel | StopCause::Interrupted)
    }

    pub fn disk(folder: &Path, error: io::Error) -> Self {
        let stop = Self::lab(format!("cannot write in {}: {error}", folder.display()));
        Self { hint: room(&error), ..stop }
    }

    pub fn cpu(error: &CpuError) -> Self {
        match error {
            CpuError::Unknown { name, known } => {
                let near = s2lab_model::diagnostic::suggest(name, known.iter().map(String::as_str));
                Self { hint: Some(near), ..Self::new(StopCause::Scenario, error.to_string()) }
            }
            _ => Self::lab(error.to_string()),
        }
    }
}

/// What to do about a write that failed.
pub(super) fn room(error: &io::Error) -> Option<String> {
    no_room(error).then(|| "the file system of the state folder is full: make room, or give --out".into())
}

impl From<QmpError> for Stop {
    fn from(error: QmpError) -> Self {
        Stop::lab(error.to_string())
    }
}

impl From<look::Error> for Stop {
    fn from(error: look::Error) -> Self {
        let hint = match &error {
            look::Error::Keep { source, .. } => room(source),
            _ => None,
        };
        Stop { hint, ..Stop::lab(error.to_string()) }
    }
}

impl Stop {
    /// Why the host's agent did not answer as it was asked, on a kernel of which `options` are known.
    pub(super) fn of_host(error: LinkError, options: &Options) -> Self {
        let shortfall = match &error {
            LinkError::Failed { peer: Peer::Host, failure, .. } => options.shortfall(failure),
            _ => None,
        };
        match shortfall {
            Some(Shortfall { cause, what, hint }) => Stop::new(cause, what).hint(hint),
            None => error.into(),
        }
    }
}

impl From<LinkError> for Stop {
    fn from(error: LinkError) -> Self {
        let cause = match &error {
            LinkError::Silent { .. } | LinkError::Idle { .. } => StopCause::Timeout,
            LinkError::Failed { failure, .. } => match failure.kind {
                FailureKind::Invalid => StopCause::Scenario,
                // What the host's kernel does not bring up is decided by [`Stop::of_host`].
                FailureKind::Unsupported
                | FailureKind::System
                | FailureKind::Missing(_)
                | FailureKind::Refused(_) => StopCause::Lab,
            },
            // The VMM stops a guest when KVM_RUN fails: the kernel under test's doing.
            LinkError::GuestEnded { how: GuestEnd::Stopped { .. }, .. } => StopCause::Kernel,
            _ => StopCause::Lab,
        };
        let what = match &error {
            LinkError::GuestEnded { guest, how, .. } => format!("guest {guest} ended: {}", ending(how)),
            _ => error.to_string(),
        };
        let hint = matches!(error, LinkError::Idle { .. }).then(|| IDLE.into());
        Stop { hint, ..Stop::new(cause, what) }
    }
}
