//! The programs that scenarios bring: read and checked with the scenario, and kept for a run.

use super::LabError;
use crate::run::programs::Programs;
use s2lab_model::{event::PlannedCell, hash::digest, program, scenario::ProgramError};
use s2lab_os::outside::{self, kinds};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Reads the program at `file`, relative to the scenario, and returns its SHA-256.
pub(super) fn digest_of(scenario: &Path, file: &str) -> Result<String, ProgramError> {
    let bytes = outside::read(&path(scenario, file), kinds::TEST_PROGRAM)
        .map_err(|error| ProgramError { message: error.why.to_string(), hint: None })?;
    program::check(&bytes)?;
    Ok(digest(&bytes))
}

/// Returns the files of the programs of these cells, whose scenarios are among `files`.
pub fn programs(files: &[PathBuf], cells: &[PlannedCell]) -> Result<Programs, LabError> {
    let mut programs = Programs::new();
    for cell in cells.iter().filter(|cell| !cell.resolved.programs.is_empty()) {
        let name = cell.key.scenario();
        let of = files.iter().find(|file| file.file_stem().is_some_and(|stem| *stem == *name));
        for (file, due) in &cell.resolved.programs {
            if programs.contains_key(due) {
                continue;
            }
            let path = path(of.map_or(Path::new(""), PathBuf::as_path), file);
            let bytes = outside::read(&path, kinds::TEST_PROGRAM);
            match bytes.ok().filter(|bytes| digest(bytes) == *due) {
                Some(bytes) => drop(programs.insert(due.clone(), Arc::from(bytes))),
                None => return Err(LabError::ProgramChanged { path }),
            }
        }
    }
    Ok(programs)
}

fn path(scenario: &Path, file: &str) -> PathBuf {
    scenario.parent().unwrap_or(Path::new("")).join(file)
}
