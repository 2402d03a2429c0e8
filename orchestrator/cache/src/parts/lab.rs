//! The built-in lab folder: what this program carries, unpacked like everything else.

use crate::{
    Store, carried,
    error::{Result, StoreError},
};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Serialize)]
struct Inputs {
    files: String,
}

impl Store {
    /// The folder of the lab that this program carries, unpacked. Nothing is fetched for it.
    pub fn built_in_lab(&self) -> Result<PathBuf> {
        let inputs = Inputs { files: carried::digest(carried::LAB) };
        let entry = self.entries.get("lab", "built-in", &inputs, |building| {
            carried::write(carried::LAB, &building.dir).map_err(StoreError::io("cannot write", &building.dir))
        })?;
        Ok(entry.path)
    }
}
