//! The origin of a kernel that the command line names, or of an entry of `images/kernels.yaml` with
//! patches. Other entries have none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The origin of a kernel, as it is known when the run is planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelOrigin {
    /// The description, in a line for a person.
    pub about: String,
    /// The commit of a repository that it is built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The patches that are applied to its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesOrigin>,
}

/// The patches that are applied to a kernel's source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeriesOrigin {
    /// The number of patches.
    pub patches: usize,
    /// The SHA-256, in hexadecimal, of the SHA-256s of the patches, each in hexadecimal and with a
    /// line feed.
    pub digest: String,
    /// The subject of the cover letter, else that of the first patch; of `--series`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The Message-ID of that mail, without its angle brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The `patches` of the entry of `images/kernels.yaml`, relative to the lab folder. Empty if all
    /// patches are those of `--series`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}
