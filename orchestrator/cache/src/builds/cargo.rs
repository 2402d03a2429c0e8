//! The programs that cargo builds on the user's machine, from the source in s2lab.

use crate::{
    Cache,
    builds::build,
    carried::{self, File},
    error::{CacheError, Result},
    objects::{lock, object::remove_tree},
};
use s2lab_os::child::{
    self,
    run::{self, Watch},
};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The lock of a build.
pub(crate) const BUILD_LOCK: &str = "agent-build";
/// Beside the objects: the source, written anew by each build.
pub(crate) const SOURCE: &str = "agent-source";
/// The folder of the objects of all builds.
pub(crate) const OBJECTS: &str = "agent";
/// The longest silence. A build takes a minute on a slow machine; cargo fetches crates before.
const SILENCE: Duration = Duration::from_secs(20 * 60);
const LOCK_LIMIT: Duration = Duration::from_secs(30 * 60);
/// The separator of flags in CARGO_ENCODED_RUSTFLAGS, so that paths may have spaces (The Cargo
/// Book, "Environment Variables").
const SEPARATOR: &str = "\u{1f}";

/// All that decides the result of a build; it is in the name of the object.
#[derive(Serialize)]
pub(crate) struct Inputs<'a> {
    sources: String,
    target: &'a str,
    compiler: &'a str,
    flags: &'a [String],
}

impl<'a> Inputs<'a> {
    pub(crate) fn of(files: &[File], target: &'a str, compiler: &'a str, flags: &'a [String]) -> Self {
        Self { sources: carried::digest(files), target, compiler, flags }
    }
}

/// One build.
pub(crate) struct Build<'a> {
    pub(crate) what: &'a str,
    pub(crate) files: &'static [File],
    /// cargo's own arguments.
    pub(crate) arguments: &'a [&'a str],
    pub(crate) target: &'a str,
    /// rustc's arguments.
    pub(crate) flags: &'a [String],
    /// None: the machine's own.
    pub(crate) rustc: Option<PathBuf>,
}

impl Cache {
    /// Runs cargo, and returns the folder with the results of all profiles. It is kept, which makes
    /// the next build fast.
    pub(crate) fn cargo(&self, build: &Build<'_>) -> Result<PathBuf> {
        let &Build { what, files, arguments, target, flags, .. } = build;
        // Another s2lab's build would put its results in the same place.
        let objects = self.objects.root();
        let _lock = lock::acquire(&lock::path(objects, BUILD_LOCK), what, LOCK_LIMIT, &*self.progress)?;
        self.progress.step(&format!("building {what}"));
        let folder = build::folder(&self.objects);
        let (source, target_dir) = (folder.join(SOURCE), folder.join(OBJECTS));
        write(files, &source)?;
        let mut command = child::command("cargo", child::CARGO);
        command
            .current_dir(&source)
            .args(arguments)
            .args(["--quiet", "--locked", "--color", "never", "--target", target, "--target-dir"])
            .arg(&target_dir)
            .args(self.offline.then_some("--offline"))
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR))
            // Empty means none, whatever the user's configuration.
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "");
        if let Some(rustc) = &build.rustc {
            command.env("RUSTC", rustc);
        }
        let watch = Watch {
            purpose: format!("build {what}"),
            silence: SILENCE,
            activity: &mut || 0,
            cancelled: &|| self.progress.cancelled(),
        };
        run::run(command, watch)?;
        Ok(target_dir.join(target))
    }
}

fn write(files: &[File], source: &Path) -> Result<()> {
    remove_tree(source)?;
    carried::write(files, source).map_err(CacheError::io("cannot write", source))
}
