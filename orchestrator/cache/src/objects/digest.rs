//! SHA-256 of bytes, files and inputs.

use crate::error::{CacheError, Result};
use s2lab_os::outside::{Outside, kinds};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::{fmt::Write as _, path::Path};

/// Feeds on bytes, ends in 64 hexadecimal digits.
#[derive(Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        self.0.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Of `bytes`.
pub(crate) fn bytes(bytes: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// Of the file at `path`, read in pieces.
pub(crate) fn file(path: &Path) -> Result<String> {
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

/// Of `inputs` as JSON. Give structs, whose members keep their order, and sorted maps.
pub(crate) fn inputs(inputs: &impl Serialize) -> Result<String> {
    let text = serde_json::to_vec(inputs).map_err(|e| CacheError::malformed("inputs of an object", e))?;
    Ok(bytes(&text))
}
