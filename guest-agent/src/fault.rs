//! Why a request fails, in the protocol's terms.

use s2lab_protocol::{Facility, Failure, FailureKind, ask::Request};
use std::fmt::Display;

/// The host's kernel does not show `facility`; `what` says what is not there.
pub(crate) fn missing(facility: Facility, what: impl Display) -> Failure {
    Failure { kind: FailureKind::Missing(facility), message: what.to_string() }
}

/// The host's kernel has `facility`, and does not do what it is for; `what` says what happened.
pub(crate) fn refused(facility: Facility, what: impl Display) -> Failure {
    Failure { kind: FailureKind::Refused(facility), message: what.to_string() }
}

/// The request does not fit the machine.
pub(crate) fn invalid(what: impl Display) -> Failure {
    Failure { kind: FailureKind::Invalid, message: what.to_string() }
}

/// A system call failed while `doing` something on `what`.
pub(crate) fn system(doing: &str, what: impl Display, why: impl Display) -> Failure {
    Failure { kind: FailureKind::System, message: format!("cannot {doing} {what}: {why}") }
}

/// The other level answers that request.
pub(crate) fn wrong_level(request: &Request) -> Failure {
    let message = format!("this level does not answer {request:?}");
    Failure { kind: FailureKind::Unsupported, message }
}
