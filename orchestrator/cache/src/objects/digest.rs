//! SHA-256 of bytes, files and inputs.

use crate::error::{CacheError, Result};
pub use s2lab_model::hash::{Hasher, digest as bytes};
use s2lab_os::outside::{Outside, kinds};
use serde::Serialize;
use std::path::Path;

/// Returns the digest of the file at `path`, which it reads in pieces.
pub fn file(path: &Path) -> Result<String> {
    let mut from = Outside::open(path, kinds::PACKAGE)?;
    let mut hasher = Hasher::default();
    let mut piece = vec![0; 1 << 20];
    loop {
        match from.piece(&mut piece)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&piece[..n]),
        }
    }
}

/// Returns the digest of `inputs` as JSON. Give structs, whose members keep their order, and sorted
/// maps.
pub(crate) fn inputs(inputs: &impl Serialize) -> Result<String> {
    let text = serde_json::to_vec(inputs).map_err(|e| CacheError::malformed("inputs of an object", e))?;
    Ok(bytes(&text))
}
