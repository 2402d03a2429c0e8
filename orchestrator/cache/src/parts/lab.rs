//! The built-in lab folder: files in this program, unpacked like every other object.

use crate::{
    Cache, carried,
    error::{CacheError, Result},
};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Serialize)]
struct Inputs {
    files: String,
}

impl Cache {
    /// Returns the unpacked lab folder of this program. Nothing is fetched for it.
    pub fn built_in_lab(&self) -> Result<PathBuf> {
        let inputs = Inputs { files: carried::digest(carried::LAB) };
        let object = self.objects.get("lab", "built-in", &inputs, |building| {
            carried::write(carried::LAB, &building.dir).map_err(CacheError::io("cannot write", &building.dir))
        })?;
        Ok(object.path)
    }
}
