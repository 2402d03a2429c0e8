//! Why a request fails, in the protocol's terms.

use s2lab_protocol::{Facility, Failure, FailureKind};
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

/// This level does not answer that request.
pub(crate) fn unsupported(request: &str, level: &str) -> Failure {
    Failure {
        kind: FailureKind::Unsupported,
        message: format!("the {level}'s agent does not answer {request}"),
    }
}
