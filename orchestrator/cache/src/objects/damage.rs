//! Damage of an object.

/// The file in an object that lists its content.
pub(crate) const MANIFEST: &str = "manifest.json";

/// A difference between an object and its manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("`{MANIFEST}` cannot be used: {0}")]
    Manifest(String),
    #[error("`{0}` is missing")]
    Missing(String),
    #[error("`{file}` has {found} bytes instead of {expected}")]
    Size { file: String, found: u64, expected: u64 },
    #[error("`{0}` has another content")]
    Content(String),
    #[error("`{file}` cannot be read: {why}")]
    Unreadable { file: String, why: String },
}
