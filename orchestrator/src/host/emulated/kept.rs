//! Small facts that take time to learn, kept in the cache: `CACHE/KIND/DIGEST.json`, where the digest is that of all
//! that a fact depends on.

use s2lab_os::{
    outside::{self, kinds},
    whole::{self, Sync},
};
use serde::{Serialize, de::DeserializeOwned};
use std::path::{Path, PathBuf};

/// Returns the file of a fact in the folder of its kind.
pub(super) fn place(folder: &Path, subject: &impl Serialize) -> PathBuf {
    let text = serde_json::to_vec(subject).unwrap_or_default();
    folder.join(format!("{}.json", s2lab_model::hash::digest(&text)))
}

/// Returns the fact, if it is there and can be read.
pub(super) fn read<T: DeserializeOwned>(place: &Path) -> Option<T> {
    serde_json::from_slice(&outside::read(place, kinds::NOTE).ok()?).ok()
}

/// Keeps the fact. If that fails, the next start learns it again.
pub(super) fn keep(place: &Path, what: &str, fact: &impl Serialize) {
    let text = serde_json::to_vec(fact).unwrap_or_default();
    if let Err(error) = whole::write(place, &text, Sync::Later) {
        tracing::warn!("cannot keep {what}: {error}");
    }
}
