//! `make` for a kernel, out of its tree.
//! make itself cannot distinguish a complete object from one whose compiler was killed while it
//! wrote. So a file marks the folder while make runs, and is removed when make has ended by itself,
//! with or without success: then make has removed half-made objects. A folder that is marked when
//! the next build begins is removed.

use crate::{
    builds::{config::BuildConfig, kernel_config, kernel_tools::KernelTools},
    error::{CacheError, Result},
    objects::files::remove_at_once,
    progress::Progress,
};
use s2lab_model::kconfig::Config;
use s2lab_os::{
    child::run::{self, FollowedEnd, Watch},
    outside::{self, kinds},
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The file that exists while make runs in the folder.
const MARK: &str = "s2lab-at-work";
/// The requested configuration.
const WANTED: &str = "s2lab-wanted.config";
/// The output of the last make.
pub(crate) const LOG: &str = "s2lab-build.log";
/// The extension of a folder whose make was killed, and which is being removed.
pub(crate) const KILLED: &str = "killed";
/// The longest time without a line: linking on a slow machine.
const SILENCE: Duration = Duration::from_secs(30 * 60);
/// The time that make has to clean up when it must end.
const GRACE: Duration = Duration::from_secs(10);
/// The lines of the log in an error.
const SHOWN_LINES: usize = 20;
/// Variables that make the same input give the same bytes at any place and time (Linux 6.1,
/// Documentation/kbuild/reproducible-builds.rst). An empty LOCALVERSION keeps a `+` away from trees
/// in a git repository.
const REPRODUCIBLE: [(&str, &str); 5] = [
    ("KBUILD_BUILD_TIMESTAMP", "1970-01-01 00:00:00 UTC"),
    ("KBUILD_BUILD_USER", "s2lab"),
    ("KBUILD_BUILD_HOST", "s2lab"),
    ("KBUILD_BUILD_VERSION", "1"),
    ("LOCALVERSION", ""),
];

/// Characters in a path that make, a shell and the kernel's Makefiles, which quote nothing, misread
/// (Linux 6.12, Makefile: "source directory cannot contain spaces or colons"). `O=` with a space
/// would write to the path before it.
const MISREAD: &str = ":$#%\\\"'`;&|<>()*?[]!,";

/// Checks that make can build below `folder`.
///
/// # Errors
/// [`CacheError::BuildPlace`] if its path would be misread.
pub(crate) fn fits(folder: &Path) -> Result<()> {
    let path = folder.to_string_lossy();
    let misread = |c: &char| c.is_whitespace() || c.is_control() || MISREAD.contains(*c);
    match path.chars().find(misread) {
        Some(misread) => Err(CacheError::BuildPlace { folder: folder.to_owned(), misread }),
        None => Ok(()),
    }
}

/// One kernel's build.
pub(crate) struct Make<'a> {
    /// The name in progress and errors.
    pub(crate) what: &'a str,
    pub(crate) tools: &'a KernelTools,
    pub(crate) source: &'a Path,
    pub(crate) out: &'a Path,
    pub(crate) progress: &'a dyn Progress,
}

impl Make<'_> {
    /// Configures and builds. The results are in [`Make::out`].
    pub(crate) fn build(&self, config: &BuildConfig) -> Result<()> {
        self.begin()?;
        self.configure(config)?;
        if let BuildConfig::Fragments(files) = config {
            let path = self.out.join(".config");
            let got = outside::read_text(&path, kinds::CONFIG)?;
            let missing = kernel_config::not_taken(files, &got)
                .map_err(|reason| CacheError::malformed(self.what, reason))?;
            if !missing.is_empty() {
                self.end()?;
                let options = missing.iter().map(ToString::to_string).collect();
                return Err(CacheError::Config { what: self.what.to_owned(), options });
            }
        }
        self.compile()?;
        self.end()
    }

    /// Prepares the folder for make.
    pub(super) fn begin(&self) -> Result<()> {
        let mark = self.out.join(MARK);
        if mark.exists() {
            self.progress.step(&format!("{}: the last build was killed, it begins anew", self.what));
            // A rename comes first: processes of the old build may still be writing.
            remove_at_once(self.out, &self.out.with_extension(KILLED))?;
        }
        s2lab_os::private::make(self.out).map_err(CacheError::io("cannot create", self.out))?;
        let log = self.log();
        fs::write(&log, "").map_err(CacheError::io("cannot write", &log))?;
        fs::write(&mark, "").map_err(CacheError::io("cannot write", &mark))
    }

    /// Marks the content of the folder as valid.
    pub(super) fn end(&self) -> Result<()> {
        let mark = self.out.join(MARK);
        fs::remove_file(&mark).map_err(CacheError::io("cannot remove", mark))
    }

    pub(super) fn configure(&self, config: &BuildConfig) -> Result<()> {
        let wanted = self.out.join(WANTED);
        let text = config.text();
        match config {
            BuildConfig::Fragments(_) => {
                fs::write(&wanted, text).map_err(CacheError::io("cannot write", &wanted))?;
                self.run(&["-s", "allnoconfig"], &[("KCONFIG_ALLCONFIG", &wanted)], &mut |_| {})
            }
            BuildConfig::Whole(_) => {
                let path = self.out.join(".config");
                fs::write(&path, text).map_err(CacheError::io("cannot write", &path))?;
                self.run(&["-s", "olddefconfig"], &[], &mut |_| {})
            }
        }
    }

    /// Builds with the configuration.
    fn compile(&self) -> Result<()> {
        let targets: &[&str] = if self.has_modules()? { &["Image", "modules"] } else { &["Image"] };
        self.progress.step(&format!("building {}, log in {}", self.what, self.log().display()));
        self.run(&["prepare"], &[], &mut |_| {})?;
        let total = self.expected(targets)?;
        let done = AtomicU64::new(0);
        // The expected number may be a little too small. The rest is not reported.
        let report = |done: u64| {
            if done <= total {
                self.progress.build(self.what, done, total);
            }
        };
        report(0);
        let built = self.run(targets, &[], &mut |line| {
            if is_object(line) {
                report(done.fetch_add(1, Ordering::Relaxed) + 1);
            }
        });
        self.progress.build(self.what, 0, 0);
        built
    }

    /// Returns the number of objects that make would build now, by a dry run. The dry run stops at
    /// a generated file that needs an earlier result, which comes after the objects.
    fn expected(&self, targets: &[&str]) -> Result<u64> {
        let mut count = 0;
        let arguments: Vec<&str> = ["-n", "-k"].iter().chain(targets).copied().collect();
        let mut command = self.command(&arguments, &[]);
        command.arg("V=0");
        let followed = self.follow(command, &mut |line| {
            count += u64::from(line.split("echo '").nth(1).is_some_and(is_object));
        })?;
        // A failing dry run is ignored; a cancellation or a timeout is not.
        match followed.result {
            Ok(_) => Ok(count),
            Err(error) => Err(self.ended(followed.by_itself, error.into())),
        }
    }

    /// Installs the modules below `into`, without the parts for debuggers.
    pub(crate) fn install_modules(&self, into: &Path) -> Result<()> {
        let path = format!("INSTALL_MOD_PATH={}", into.display());
        self.run(&["modules_install", "INSTALL_MOD_STRIP=1", "DEPMOD=true", &path], &[], &mut |_| {})
    }

    pub(crate) fn has_modules(&self) -> Result<bool> {
        let path = self.out.join(".config");
        let text = outside::read_text(&path, kinds::CONFIG)?;
        let config = Config::parse(&text).map_err(|e| CacheError::malformed(path.display(), e))?;
        Ok(config.setting("MODULES") == s2lab_model::kconfig::Setting::BuiltIn)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.out.join(LOG)
    }

    fn command(&self, arguments: &[&str], environment: &[(&str, &Path)]) -> Command {
        let mut command = self.tools.make();
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let out = format!("O={}", self.out.display());
        command.arg("-C").arg(self.source).args([&out, "ARCH=arm64", &format!("-j{jobs}")]).args(arguments);
        command.envs(REPRODUCIBLE).envs(environment.iter().copied());
        command
    }

    /// Runs make until it succeeds. Each line of its output goes to the log and to `line`.
    pub(super) fn run(
        &self,
        arguments: &[&str],
        environment: &[(&str, &Path)],
        line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<()> {
        let path = self.log();
        let file = File::options().append(true).open(&path);
        let mut log = file.map_err(CacheError::io("cannot open", &path))?;
        let mut said: Vec<String> = Vec::new();
        let mut unwritten = None;
        let followed = self.follow(self.command(arguments, environment), &mut |text| {
            // The first error is the one to report; the rest of the build would fail by itself.
            if let Err(error) = writeln!(log, "{text}") {
                unwritten.get_or_insert(error);
            }
            if worth_showing(text) && said.len() < SHOWN_LINES {
                said.push(text.to_owned());
            }
            line(text);
        })?;
        let status = followed.result.map_err(|error| self.ended(followed.by_itself, error.into()))?;
        if status.success() {
            return Ok(());
        }
        self.end()?;
        match unwritten {
            Some(error) => Err(CacheError::io("cannot write", path)(error)),
            None => Err(CacheError::Build {
                what: self.what.to_owned(),
                status: status.to_string(),
                log: path,
                said: said.join("\n"),
            }),
        }
    }

    fn follow(&self, command: Command, line: &mut (dyn FnMut(&str) + Send)) -> Result<FollowedEnd> {
        let arguments = command.get_args().map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
        let lines = AtomicU64::new(0);
        let mut activity = || lines.load(Ordering::Relaxed);
        let watch = Watch {
            purpose: format!("build {}", self.what),
            silence: SILENCE,
            activity: &mut activity,
            cancelled: &|| self.progress.cancelled(),
        };
        let started = Instant::now();
        let followed = run::follow(command, watch, GRACE, &mut |text| {
            lines.fetch_add(1, Ordering::Relaxed);
            line(text);
        });
        tracing::debug!(ms = started.elapsed().as_millis(), said = lines.into_inner(), "make {arguments}");
        Ok(followed?)
    }

    /// Returns an error that has ended make early. The folder stays marked if make had no time to
    /// clean up.
    fn ended(&self, by_itself: bool, error: CacheError) -> CacheError {
        if by_itself && let Err(other) = self.end() {
            tracing::warn!("{other}");
        }
        error
    }
}

/// Returns true if make reports that it makes an object: `  CC      mm/mmap.o`, `  AS      ...`,
/// `  CC [M]  ...`.
fn is_object(line: &str) -> bool {
    ["  CC ", "  AS "].iter().any(|begin| line.starts_with(begin))
}

/// Returns true if a line of make explains its failure.
fn worth_showing(line: &str) -> bool {
    ["error:", "Error ", "*** ", "undefined reference", "No such file"].iter().any(|sign| line.contains(sign))
}

#[cfg(test)]
mod tests;
