//! Failures between s2lab and the agents.

use s2lab_model::escape::bounded;
use s2lab_protocol::{Failure, FrameError, GuestEnd, Peer, ask::Ask};
use std::{io, time::Duration};

/// Characters of an answer that a message shows.
const LONGEST_ANSWER: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the channel to the host's agent: {0}")]
    Io(#[from] io::Error),
    #[error("the agent's channel carries no frames: {0}")]
    Frame(#[from] FrameError),
    #[error("{peer}: {why}")]
    Protocol { peer: Peer, why: String },
    #[error("the agent's channel is closed")]
    Closed,
    #[error("{peer} has not answered `{what}` in {deadline:?}")]
    Silent { peer: Peer, what: &'static str, deadline: Duration },
    #[error("{peer} made no progress in `{what}` for {idle:?}; its agent is {}", if *lives { "alive" } else { "silent" })]
    Idle { peer: Peer, what: &'static str, idle: Duration, lives: bool },
    #[error("{peer} cannot do `{what}`: {}", failure.message)]
    Failed { peer: Peer, what: &'static str, failure: Failure },
    #[error("{peer} answers `{what}` with something else: {answer}: {why}")]
    WrongAnswer { peer: Peer, what: &'static str, answer: String, why: String },
    #[error("guest {guest} ended during `{what}`: {}", ending(how))]
    GuestEnded { guest: String, what: &'static str, how: GuestEnd },
}

impl LinkError {
    /// The error of an answer to `A` that cannot be one, because of `why`.
    pub(crate) fn wrong_answer<A: Ask>(peer: Peer, answer: &impl ToString, why: impl ToString) -> Self {
        let answer = bounded(&answer.to_string(), LONGEST_ANSWER);
        Self::WrongAnswer { peer, what: A::DOING, answer, why: bounded(&why.to_string(), LONGEST_ANSWER) }
    }
}

/// Returns a guest's end as text.
pub fn ending(how: &GuestEnd) -> String {
    let (short, detail) = match how {
        GuestEnd::Stopped { state, detail } => (format!("its VMM stopped it ({state})"), detail),
        GuestEnd::Exited { code: Some(code), detail, .. } => (format!("its VMM exited with {code}"), detail),
        GuestEnd::Exited { signal: Some(signal), detail, .. } => {
            (format!("its VMM was killed by signal {signal}"), detail)
        }
        GuestEnd::Exited { detail, .. } => ("its VMM ended".into(), detail),
    };
    if detail.is_empty() { short } else { format!("{short}: {}", detail.trim_end()) }
}
