//! The machine's rustc.

use crate::Cache;
use s2lab_os::child::{
    self,
    run::{self, RunError},
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// The answers of rustc about itself.
#[derive(Debug, Clone)]
pub(crate) struct Rustc {
    pub(crate) sysroot: PathBuf,
    /// The answer to `-vV`.
    pub(crate) version: String,
}

/// The answers of this process. By way of rustup each of them takes longer than most other work before a
/// cell, so both questions are asked at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<Option<Rustc>>>);

impl Cache {
    /// Asks rustc, once.
    ///
    /// # Errors
    /// There is no rustc, or it fails. Then the next call asks again.
    pub(crate) fn rustc(&self) -> Result<Rustc, RunError> {
        let mut known = self.rustc.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let ask = |arguments: &[&str]| {
            let mut command = child::command("rustc", child::CARGO);
            // The working folder is that of the build, so that rustup picks the same compiler.
            command.args(arguments).current_dir(self.objects.root());
            run::ask(command, "print its version", &|| self.progress.cancelled())
                .map(|text| String::from_utf8_lossy(&text).trim().to_owned())
        };
        let (sysroot, version) = thread::scope(|scope| {
            let version = thread::Builder::new().spawn_scoped(scope, || ask(&["-vV"]));
            (ask(&["--print", "sysroot"]), version.map(thread::ScopedJoinHandle::join))
        });
        let version = match version {
            Ok(Ok(version)) => version?,
            // There is no thread for it.
            _ => ask(&["-vV"])?,
        };
        Ok(known.insert(Rustc { sysroot: sysroot?.into(), version }).clone())
    }
}
