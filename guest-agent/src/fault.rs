//! Failures of requests, in the protocol's terms.

use s2lab_protocol::{Facility, Failure, FailureKind, ask::Request};
use std::fmt::Display;

/// Returns the failure that the host's kernel does not show `facility`. `what` names the missing
/// part.
pub(crate) fn missing(facility: Facility, what: impl Display) -> Failure {
    Failure { kind: FailureKind::Missing(facility), message: what.to_string() }
}

/// Returns the failure that the host's kernel has `facility`, which does not work. `what` describes
/// it.
pub(crate) fn refused(facility: Facility, what: impl Display) -> Failure {
    Failure { kind: FailureKind::Refused(facility), message: what.to_string() }
}

/// Returns the failure that the request does not fit the machine.
pub(crate) fn invalid(what: impl Display) -> Failure {
    Failure { kind: FailureKind::Invalid, message: what.to_string() }
}

/// Returns the failure of a system call while `doing` something on `what`.
pub(crate) fn system(doing: &str, what: impl Display, why: impl Display) -> Failure {
    Failure { kind: FailureKind::System, message: format!("cannot {doing} {what}: {why}") }
}

/// The other level answers that request.
pub(crate) fn wrong_level(request: &Request) -> Failure {
    let message = format!("this level does not answer {request:?}");
    Failure { kind: FailureKind::Unsupported, message }
}
