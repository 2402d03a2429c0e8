//! Known failures: the entries of `known.yaml`, each of which tolerates a failure for a time.

use super::Date;
use crate::plan::{Key, glob};
use crate::verdict::Verdict;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The content of `known.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct KnownFailures {
    /// The known failures. The first entry that is for a cell decides.
    #[schemars(length(max = MOST_ENTRIES))]
    pub known: Vec<KnownFailure>,
}

/// The most entries: nobody looks after more.
pub(super) const MOST_ENTRIES: usize = 200;

/// A failure that is known, and tolerated until a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct KnownFailure {
    /// The scenario that fails: a name, or a glob with `*` and `?`.
    #[schemars(extend("format" = "pattern"))]
    pub scenario: String,
    /// The kernel on which it fails: a name, or a glob with `*` and `?`.
    #[schemars(extend("format" = "pattern"))]
    pub kernel: String,
    /// One sentence: what fails, and why that is tolerated.
    #[schemars(extend("format" = "line"))]
    pub reason: String,
    /// The report of the failure: a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "link"))]
    pub link: Option<String>,
    /// The person or team that tolerates it.
    #[schemars(extend("format" = "line"))]
    pub who: String,
    /// The last date on which it is tolerated.
    #[schemars(with = "String", extend("format" = "date"))]
    pub until: Date,
}

impl KnownFailure {
    /// Returns true if the entry is for the cell. A negative control has no known failure.
    pub fn is_for(&self, key: &Key) -> bool {
        glob(&self.scenario, key.scenario()) && glob(&self.kernel, key.kernel()) && !key.is_control()
    }
}

/// Returns true for the verdicts that may be tolerated. A failure of the lab shows nothing about the
/// kernel, and is never tolerated.
pub fn may_be_tolerated(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Fail | Verdict::Timeout(_) | Verdict::Flaky => true,
        Verdict::Pass { .. } | Verdict::Skip(_) | Verdict::Error | Verdict::Miss | Verdict::Lost => false,
    }
}
