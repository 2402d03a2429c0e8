//! The stages of a cell, and the reason why it stopped.

use super::{guests::GuestError, log::EventLog};
use crate::{
    boot::preflight::Finding,
    host::{
        HostError, StartError,
        link::{LinkError, ending},
    },
};
use s2lab_model::{
    event::{Event, Stage, StopCause},
    kconfig::{Options, Shortfall},
};
use s2lab_os::whole::no_room;
use s2lab_protocol::{FailureKind, GuestEnd, Peer};
use std::{error::Error, io, path::Path, sync::Arc};

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

    /// Ends the current stage. Later events still count as part of it.
    pub fn finish(&mut self) {
        if let Some(stage) = self.current {
            self.log.event(Event::StageEnded { stage });
        }
    }
}

/// The hint for a guest that makes no progress.
const IDLE: &str = "a stage-2 fault that the host's KVM takes again and again looks like this, and so does a guest that hangs: \
                    diagnosis.txt says what the host did, the guest's console what it did";

/// The reason why a cell stopped before its end.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}")]
pub struct Stop {
    pub cause: StopCause,
    pub what: String,
    pub hint: Option<String>,
    /// The error behind `what`, if there is one.
    #[source]
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

impl PartialEq for Stop {
    /// Two stops are equal if a log cannot distinguish them.
    fn eq(&self, other: &Self) -> bool {
        (self.cause, &self.what, &self.hint) == (other.cause, &other.what, &other.hint)
    }
}

impl Stop {
    pub(super) fn new(cause: StopCause, what: impl Into<String>) -> Self {
        Self { cause, what: what.into(), hint: None, source: None }
    }

    pub fn lab(what: impl Into<String>) -> Self {
        Self::new(StopCause::Lab, what)
    }

    pub fn kernel(what: impl Into<String>) -> Self {
        Self::new(StopCause::Kernel, what)
    }

    /// Returns a stop because nothing makes progress any more. The caller checks if QEMU is alive.
    pub fn timeout(what: impl Into<String>) -> Self {
        Self::new(StopCause::Timeout, what)
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub fn interrupted() -> Self {
        Self::new(StopCause::Interrupted, "interrupted")
    }

    pub fn disk(folder: &Path, error: io::Error) -> Self {
        let hint = room(&error);
        Self { hint, ..Self::lab(format!("cannot write in {}: {error}", folder.display())).by(error) }
    }

    /// With the error behind it.
    #[must_use]
    fn by(self, error: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Arc::new(error)), ..self }
    }

    /// The stop and the errors behind it, each of which says something more.
    pub(super) fn chain(&self) -> String {
        let mut said = vec![self.what.clone()];
        let mut next = self.source();
        while let Some(error) = next {
            let text = error.to_string();
            if !said.iter().any(|known| known.contains(&text)) {
                said.push(text);
            }
            next = error.source();
        }
        said.join(": ")
    }
}

/// Returns the hint for a failed write.
pub(super) fn room(error: &io::Error) -> Option<String> {
    no_room(error).then(|| "the file system of the state folder is full: make room, or give --out".into())
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        let hint = finding.hint().map(str::to_owned);
        Stop { hint, ..Stop::new(finding.cause(), finding.to_string()) }
    }
}

impl From<GuestError> for Stop {
    fn from(error: GuestError) -> Self {
        Stop::lab(error.to_string())
    }
}

impl From<StartError> for Stop {
    fn from(error: StartError) -> Self {
        let hint = error.unwritable().and_then(room).or_else(|| error.hint());
        Stop { hint, ..Stop::new(error.cause(), error.to_string()).by(error) }
    }
}

impl From<HostError> for Stop {
    fn from(error: HostError) -> Self {
        let (cause, hint) = error.cause();
        let hint = error.unwritable().and_then(room).or(hint.map(str::to_owned));
        Stop { hint, ..Stop::new(cause, error.to_string()).by(error) }
    }
}

impl Stop {
    /// Returns the stop for an unexpected answer of the host's agent, on a kernel with the known
    /// `options`.
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
                // [`Stop::of_host`] decides about facilities that the host's kernel does not
                // initialize.
                FailureKind::Unsupported
                | FailureKind::System
                | FailureKind::Missing(_)
                | FailureKind::Refused(_) => StopCause::Lab,
            },
            // The VMM stops a guest when KVM_RUN fails: the kernel under test caused it.
            LinkError::GuestEnded { how: GuestEnd::Stopped { .. }, .. } => StopCause::Kernel,
            _ => StopCause::Lab,
        };
        let what = match &error {
            LinkError::GuestEnded { guest, how, .. } => format!("guest {guest} ended: {}", ending(how)),
            _ => error.to_string(),
        };
        let hint = matches!(error, LinkError::Idle { .. }).then(|| IDLE.into());
        Stop { hint, ..Stop::new(cause, what).by(error) }
    }
}
