//! Questions to the private apt, while its state is locked.

use super::{
    Apt, Deb, SILENCE, Scope,
    text::{conf, file_name, parse_uris, parse_versions, preferences},
};
use crate::{
    error::{CacheError, Result},
    objects::lock::Lock,
};
use s2lab_os::{
    child::{
        self,
        run::{self, RunError, Watch},
    },
    outside::{self, kinds},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The words of apt when an archive answers and has no such suite; without an answer it has others (apt
/// 2.6 apt-pkg/acquire-item.cc, AllowInsecureRepositories).
const NO_SUITE: &str = "does not have a Release file";

/// apt's private state, configured for one scope, and locked.
pub(crate) struct Session<'a> {
    apt: &'a Apt,
    conf: PathBuf,
    _lock: Lock,
}

impl<'a> Session<'a> {
    pub(super) fn new(apt: &'a Apt, lock: Lock) -> Self {
        Self { apt, conf: apt.dir.join("apt.conf"), _lock: lock }
    }

    pub(super) fn configure(&self, scope: &Scope, sources: &str) -> Result<()> {
        let dir = &self.apt.dir;
        for (name, text) in [
            ("apt.conf", conf(dir, &scope.architectures)?),
            ("sources.list", sources.to_owned()),
            ("preferences", preferences(&scope.suites)),
            ("status", String::new()),
        ] {
            let path = dir.join(name);
            fs::write(&path, text).map_err(CacheError::io("cannot write", &path))?;
        }
        Ok(())
    }

    /// `-c` is read after the machine's configuration, so it takes precedence.
    fn tool(&self, program: &str) -> Command {
        let mut command = child::command(program, child::APT);
        command.arg("-c").arg(&self.conf).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    pub(super) fn apt_get(&self) -> Command {
        self.tool("apt-get")
    }

    /// Fetches the lists of the configured suites.
    ///
    /// # Errors
    /// [`CacheError::NoSuite`] if the archive answers and does not have one of them.
    pub(super) fn update(&self) -> Result<()> {
        let lists = self.apt.dir.join("lists");
        let mut activity = || {
            let sizes = |dir: &Path| {
                let files = fs::read_dir(dir).into_iter().flatten().flatten();
                files.filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum::<u64>()
            };
            sizes(&lists) + sizes(&lists.join("partial"))
        };
        let mut command = self.apt_get();
        command.args(["-qq", "update"]);
        let purpose = "read the archive's package lists".to_owned();
        let progress = &*self.apt.progress;
        run::run(
            command,
            Watch { purpose, silence: SILENCE, activity: &mut activity, cancelled: &|| progress.cancelled() },
        )
        .map(drop)
        .map_err(|error| match CacheError::fetch("the archive's package lists", error) {
            CacheError::Fetch { output, .. } if output.contains(NO_SUITE) => {
                CacheError::NoSuite { suites: self.suites(), output }
            }
            error => error,
        })
    }

    /// Returns the newest version of each of `packages` (`name` or `name:architecture`), without
    /// dependencies.
    pub(crate) fn newest(&self, packages: &[String]) -> Result<Vec<Deb>> {
        let mut command = self.apt_get();
        command.args(["-qq", "--print-uris", "download"]).args(packages);
        self.ask(command, packages).and_then(|text| parse_uris(&text))
    }

    /// Returns `packages` and all their dependencies, without recommendations.
    pub(crate) fn closure(&self, packages: &[String]) -> Result<Vec<Deb>> {
        let mut command = self.apt_get();
        command.args(["-qq", "--print-uris", "--yes", "--no-install-recommends", "install"]).args(packages);
        let text = self.ask(command, packages)?;
        // `install` names MD5 sums; `download` names SHA-256.
        let files = text.lines().filter_map(|l| l.split_whitespace().nth(1));
        let exact = files.map(|f| {
            file_name(f).map(|(n, v, a)| match a {
                "all" => format!("{n}={v}"),
                a => format!("{n}:{a}={v}"),
            })
        });
        self.newest(&exact.collect::<Result<Vec<String>>>()?)
    }

    /// Returns the first alternative of each dependency of exactly this package.
    pub(crate) fn depends(&self, deb: &Deb) -> Result<Vec<String>> {
        let mut command = self.tool("apt-cache");
        command.arg("show").arg(deb.exact());
        let text = self.ask(command, &[deb.exact()])?;
        let field = text.lines().find_map(|l| l.strip_prefix("Depends:")).unwrap_or_default();
        let name = |dependency: &str| dependency.split_whitespace().next().map(str::to_owned);
        Ok(field.split(',').filter_map(name).collect())
    }

    fn ask(&self, command: Command, packages: &[String]) -> Result<String> {
        match run::run_briefly(command, "find packages", &|| self.apt.progress.cancelled()) {
            Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            Err(RunError::Failed { output, .. }) => {
                let exact = packages.iter().filter_map(|package| package.split_once('='));
                let gone = exact.filter_map(|(name, version)| self.without(name, version)).next();
                Err(gone.unwrap_or_else(|| CacheError::NoPackage {
                    package: packages.join(" "),
                    suites: self.suites(),
                    reason: output,
                }))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Returns the error for the first of `debs` that has left the archive.
    pub(super) fn gone(&self, debs: &[&Deb]) -> Option<CacheError> {
        let exact = debs.iter().map(|deb| deb.exact());
        exact.filter_map(|exact| exact.split_once('=').and_then(|(n, v)| self.without(n, v))).next()
    }

    /// Returns the error that the archive has `name`, but not this version of it. Returns None if
    /// it has the version, or does not know the name.
    fn without(&self, name: &str, version: &str) -> Option<CacheError> {
        let mut command = self.tool("apt-cache");
        command.arg("madison").arg(name);
        // If even this fails, the error of this question is not the one to report.
        let text = run::run_briefly(command, "find versions", &|| self.apt.progress.cancelled()).ok()?;
        let has = parse_versions(&String::from_utf8_lossy(&text));
        if has.is_empty() || has.iter().any(|other| other == version) {
            return None;
        }
        let (package, version) = (name.to_owned(), version.to_owned());
        Some(CacheError::NoVersion { package, version, suites: self.suites(), has: has.join(", ") })
    }

    /// Returns the configured suites.
    fn suites(&self) -> String {
        let sources = outside::read_text(&self.apt.dir.join("sources.list"), kinds::NOTE).unwrap_or_default();
        sources.lines().filter_map(|l| l.rsplit(' ').nth(1)).collect::<Vec<_>>().join(", ")
    }
}
