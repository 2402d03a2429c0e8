//! Exit codes. Those of a run follow from its verdicts, by the table in `s2lab_model::verdict`.

use super::failure::Failure;
use crate::{
    lab::init::InitError,
    review::ReviewError,
    run::{bundle::BundleError, retention::RemoveError},
};
use s2lab_cache::CacheError;
use s2lab_os::whole::leads_elsewhere;

/// Success.
pub(crate) const FINE: u8 = 0;
/// A mistake of the user's: an argument, a file (clap's own code is the same).
pub(crate) const USAGE: u8 = 2;
/// A failure of the lab, or something is missing on the machine.
pub(crate) const LAB: u8 = 3;
/// A report is changed, new, missing or orphaned.
pub(crate) const DIFFERENT: u8 = 5;
/// The base of a shell's code for a command that a signal ended: this plus the signal's number
/// (POSIX 2.8.2).
pub(crate) const SIGNALLED: u8 = 128;

impl Failure {
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Failure::Coded { exit, .. } => *exit,
            Failure::Lab(_)
            | Failure::Open(_)
            | Failure::Plan(_)
            | Failure::Series(_)
            | Failure::Revisions(_)
            | Failure::Cache(
                CacheError::Part { .. }
                | CacheError::Artifact { .. }
                | CacheError::Given { .. }
                | CacheError::Image { .. }
                | CacheError::Incomplete { .. }
                | CacheError::Refused(_)
                | CacheError::BuildPlace { .. },
            )
            | Failure::Bundle(BundleError::Refused { .. })
            | Failure::Init(InitError::Exists { .. })
            | Failure::Remove(RemoveError::AtWork(_) | RemoveError::Foreign(_))
            | Failure::Merge(_)
            | Failure::PlanFile { .. }
            | Failure::OtherCheckout { .. }
            | Failure::Usage { .. } => USAGE,
            Failure::History(error) if error.is_about_input() => USAGE,
            Failure::Io { source, .. } | Failure::Review(ReviewError::Io { source, .. })
                if leads_elsewhere(source) =>
            {
                USAGE
            }
            Failure::Init(InitError::Io { .. })
            | Failure::Cache(_)
            | Failure::Factor(_)
            | Failure::Review(_)
            | Failure::Bundle(BundleError::Read(_))
            | Failure::Read(_)
            | Failure::Runtime(_)
            | Failure::History(_)
            | Failure::Remove(RemoveError::Io(..))
            | Failure::Log { .. }
            | Failure::Io { .. } => LAB,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2lab_model::verdict::Verdict;

    #[test]
    fn the_codes_of_failures_are_those_of_verdicts() {
        assert_eq!([FINE, USAGE, LAB], [Verdict::PASS.exit(), Verdict::Error.exit(), Verdict::Miss.exit()]);
    }
}
