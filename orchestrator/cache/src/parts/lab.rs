//! The built-in lab folder: what this program carries, unpacked like everything else.

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
    /// The folder of the lab that this program carries, unpacked. Nothing is fetched for it.
    pub fn built_in_lab(&self) -> Result<PathBuf> {
        let inputs = Inputs { files: carried::digest(carried::LAB) };
        let object = self.objects.get("lab", "built-in", &inputs, |building| {
            carried::write(carried::LAB, &building.dir).map_err(CacheError::io("cannot write", &building.dir))
        })?;
        Ok(object.path)
    }
}
