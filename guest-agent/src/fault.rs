//! Why a request fails, in the protocol's terms.

use s2lab_protocol::{Failure, FailureKind};
use std::fmt::Display;

/// The kernel under test lacks something; `what` names it and the module or CONFIG option that brings it.
pub(crate) fn missing(what: impl Display) -> Failure {
    Failure { kind: FailureKind::Missing, message: what.to_string() }
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
