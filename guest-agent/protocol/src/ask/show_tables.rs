//! The answer to a person in the host's shell who has asked for a guest's tables.

use super::{Ask, HostRequest};
use serde::{Deserialize, Serialize};

/// Shows a part of the text that [`crate::Notice::LookRequested`] has asked for. The first part
/// comes at once and may be empty: the person then knows that s2lab is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShowTables {
    /// The number of the notice.
    pub id: u64,
    /// At most [`ShowTables::LONGEST`] bytes.
    pub text: String,
    /// The end of the text. None: more parts come.
    pub end: Option<LookEnd>,
}

/// The result of a look that a person has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookEnd {
    Done,
    /// At least one guest was not looked at; the text says why.
    Failed,
}

impl ShowTables {
    /// The most bytes of a part. JSON may double them.
    pub const LONGEST: usize = 32 * 1024;
}

impl Ask for ShowTables {
    type Level = HostRequest;
    type Answer = ();
    const DOING: &str = "show tables";

    fn request(self) -> HostRequest {
        HostRequest::ShowTables(self)
    }
}
