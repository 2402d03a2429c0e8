//! The stages of a cell, and the reason why it stopped.

use super::log::EventLog;
use crate::{
    host::{
        emulated::{cpu::CpuError, look, qmp::QmpError},
        link::{LinkError, ending},
    },
    whole::no_room,
};
use s2lab_model::{
    event::{Event, Stage, StopCause},
    kconfig::{Options, Shortfall},
};
use s2lab_protocol::{FailureKind, GuestEnd, Peer};
use std::{io, path::Path};

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
