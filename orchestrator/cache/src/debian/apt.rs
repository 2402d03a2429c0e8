//! Debian packages through the machine's `apt-get`, with a private configuration: own lists, own
//! cache, an empty status, no root rights. apt handles signatures, proxies and credentials.

mod pool;
mod session;
mod text;

use crate::{
    debian::suites::{self, Source},
    error::{CacheError, Result},
    objects::{
        lock::{self, Lock},
        object,
    },
    progress::Progress,
};
use s2lab_os::{
    child::{self, run},
    outside::{self, kinds},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub(crate) use session::Session;
pub(crate) use text::Deb;
use text::sources_list;

/// The places in which Debian and its derivatives keep the keys of Debian's archive.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];
/// Debian's name for the architecture of the host.
const HOST: &str = "arm64";
/// The age up to which lists are not fetched again while the cache is being filled.
const LISTS_FRESH: Duration = Duration::from_secs(3600);
/// The age up to which lists are not fetched again when versions move: those of one suite serve all
/// kernels of a night.
const LISTS_ANEW: Duration = Duration::from_secs(300);
/// The longest silence. apt itself gives up on a silent server after 30 s, three times.
const SILENCE: Duration = Duration::from_secs(150);
const LOCK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// A question to the archive. Its words are the key under which the answer is kept, so they must
/// contain everything that decides it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The name for people, such as `QEMU`; for a single package its name.
    pub(crate) what: &'a str,
    /// The packages to search, if `what` does not name them.
    pub(crate) packages: &'a [&'a str],
    /// The packages that are left out of the answer.
    pub(crate) without: &'a [&'a str],
}

impl<'a> Question<'a> {
    /// Returns the question for one package and its purpose.
    pub(crate) fn package(name: &'a str) -> Self {
        Self { what: name, packages: &[], without: &[] }
    }

    fn key(&self, scope: &Scope) -> String {
        let mut key = self.what.to_owned();
        for (word, names) in [("of", self.packages), ("without", self.without)] {
            if !names.is_empty() {
                key += &format!(" {word} {}", names.join(", "));
            }
        }
        key + &format!(" for {} from {}", scope.architectures.join(","), scope.suites.join(","))
    }
}

/// The suites and architectures to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) suites: Vec<String>,
    /// The first is the native one: dependencies are taken from it.
    pub(crate) architectures: Vec<String>,
}

impl Scope {
    pub(crate) fn new(suites: &[impl AsRef<str>], architectures: &[&str]) -> Result<Self> {
        let suites: Vec<String> = suites.iter().map(|s| s.as_ref().to_owned()).collect();
        suites.iter().try_for_each(|s| suites::check_name("Debian suite", s))?;
        Ok(Self { suites, architectures: architectures.iter().map(|a| (*a).to_owned()).collect() })
    }

    /// Returns the scope with the host's architecture, if it is of the default suites. A new machine needs the lists of
    /// both, and at once they take half of the time.
    fn with_the_hosts(&self) -> Self {
        let mut both = self.clone();
        let is_default = self.suites.iter().all(|suite| suites::ALL.contains(&suite.as_str()));
        if is_default && !both.architectures.iter().any(|architecture| architecture == HOST) {
            both.architectures.push(HOST.to_owned());
        }
        both
    }

    /// Yields each suite with each architecture.
    fn lists(&self) -> impl Iterator<Item = (&str, &str)> {
        let of = |suite| self.architectures.iter().map(move |architecture| (suite, architecture.as_str()));
        self.suites.iter().map(String::as_str).flat_map(of)
    }
}

/// Returns Debian's name for this machine's architecture.
pub(crate) fn machine_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A private apt.
#[derive(Clone)]
pub(crate) struct Apt {
    /// The folder of apt's state.
    dir: PathBuf,
    objects: PathBuf,
    offline: bool,
    progress: Arc<dyn Progress>,
}

impl Apt {
    pub(crate) fn new(dir: PathBuf, objects: PathBuf, offline: bool, progress: Arc<dyn Progress>) -> Self {
        Self { dir, objects, offline, progress }
    }

    /// Returns the same apt, which does not use the network.
    pub(crate) fn without_network(&self) -> Self {
        Self { offline: true, ..self.clone() }
    }

    /// Returns the result of the first `find`. Only the first call uses the network.
    pub(crate) fn resolve(
        &self,
        question: Question<'_>,
        scope: &Scope,
        find: impl FnOnce(&Session<'_>) -> Result<Vec<Deb>>,
    ) -> Result<Vec<Deb>> {
        let (what, key) = (question.what, question.key(scope));
        if let Some(debs) = self.known(question, scope)? {
            return Ok(debs);
        }
        if self.offline {
            return Err(CacheError::Offline { missing: format!("the version of {what}") });
        }
        let session = self.session(scope, LISTS_FRESH)?;
        if let Some(debs) = self.remembered()?.remove(&key) {
            return Ok(debs);
        }
        let debs = find(&session)?;
        self.remember(key, &debs)?;
        Ok(debs)
    }

    /// Returns the result of `find` like [`Apt::resolve`], and its scope, in the first of `scopes` whose
    /// suites the archive has. An answer that is kept for any of them counts before that.
    pub(crate) fn resolve_in_first(
        &self,
        question: Question<'_>,
        scopes: &[Scope],
        find: impl Fn(&Session<'_>) -> Result<Vec<Deb>>,
    ) -> Result<(Vec<Deb>, Scope)> {
        for scope in scopes {
            if let Some(debs) = self.known(question, scope)? {
                return Ok((debs, scope.clone()));
            }
        }
        first_suites(scopes, |scope| self.resolve(question, scope, &find))
    }

    /// Asks the archive again like [`Apt::resolve_anew`], in the scopes of [`Apt::resolve_in_first`].
    pub(crate) fn resolve_anew_in_first(
        &self,
        question: Question<'_>,
        scopes: &[Scope],
        find: impl Fn(&Session<'_>) -> Result<Vec<Deb>>,
    ) -> Result<()> {
        let anew = |scope: &Scope| self.resolve_anew(question, scope, &find);
        first_suites(scopes, anew).map(drop)
    }

    /// Asks the archive again, and keeps its new answer. Without one, the kept answer stays.
    pub(crate) fn resolve_anew(
        &self,
        question: Question<'_>,
        scope: &Scope,
        find: impl FnOnce(&Session<'_>) -> Result<Vec<Deb>>,
    ) -> Result<()> {
        if self.offline {
            return Err(CacheError::Offline { missing: format!("the newest version of {}", question.what) });
        }
        let session = self.session(scope, LISTS_ANEW)?;
        self.remember(question.key(scope), &find(&session)?)
    }

    fn remember(&self, key: String, debs: &[Deb]) -> Result<()> {
        let mut all = self.remembered()?;
        all.insert(key, debs.to_vec());
        let path = self.resolved_path();
        let text = serde_json::to_vec_pretty(&all).map_err(|e| CacheError::malformed(path.display(), e))?;
        object::replace_file(&path, &text)
    }

    /// Returns the kept answer.
    pub(crate) fn known(&self, question: Question<'_>, scope: &Scope) -> Result<Option<Vec<Deb>>> {
        Ok(self.remembered()?.remove(&question.key(scope)))
    }

    /// Checks that packages could be fetched, as far as the machine itself shows.
    pub(crate) fn archive(&self) -> Result<()> {
        keyring()?;
        let sources = self.machine_sources()?;
        suites::ALL.iter().try_for_each(|suite| suites::uri(&sources, suite).map(drop))
    }

    /// Forgets versions and lists, so that the newest are found again.
    pub(crate) fn forget(&self) -> Result<()> {
        let _lock = self.lock()?;
        match fs::remove_file(self.resolved_path()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(CacheError::io("cannot remove", self.resolved_path())(e));
            }
            _ => {}
        }
        object::remove_tree(&self.stamps())
    }

    fn resolved_path(&self) -> PathBuf {
        self.objects.join("resolved.json")
    }

    fn remembered(&self) -> Result<BTreeMap<String, Vec<Deb>>> {
        let path = self.resolved_path();
        match outside::read(&path, kinds::MANIFEST) {
            Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_else(|error| {
                // All of its content can be fetched again.
                self.progress
                    .step(&format!("{} is damaged ({error}): versions are forgotten", path.display()));
                BTreeMap::new()
            })),
            Err(error) if error.is_absent() => Ok(BTreeMap::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn stamps(&self) -> PathBuf {
        self.dir.join("lists").join("stamps")
    }

    fn lock(&self) -> Result<Lock> {
        lock::acquire(&lock::path(&self.objects, "apt"), "Debian packages", LOCK_LIMIT, &*self.progress)
    }

    /// Locks apt's state. Lists that are older than `fresh` are fetched.
    fn session(&self, scope: &Scope, fresh: Duration) -> Result<Session<'_>> {
        let lock = self.lock()?;
        for sub in ["state", "lists/partial", "lists/stamps", "cache/archives/partial"] {
            let dir = self.dir.join(sub);
            s2lab_os::private::make(&dir).map_err(CacheError::io("cannot create", &dir))?;
        }
        let session = Session::new(self, lock);
        let keyring = keyring()?;
        let sources = self.machine_sources()?;

        let both = scope.with_the_hosts();
        let stale: Vec<(&str, &str)> = both
            .lists()
            .filter(|(suite, architecture)| {
                let stamp = fs::metadata(self.stamp(suite, architecture)).and_then(|m| m.modified());
                #[expect(
                    clippy::disallowed_methods,
                    reason = "an age from run to run; one of the future is none"
                )]
                let age = stamp.ok().and_then(|stamp| stamp.elapsed().ok());
                age.is_none_or(|age| age >= fresh)
            })
            .collect();
        if !stale.is_empty() {
            let suites: BTreeSet<&str> = stale.iter().map(|(s, _)| *s).collect();
            self.progress
                .step(&format!("reading the package lists of {}", Vec::from_iter(suites).join(", ")));
            session.configure(&both, &sources_list(&sources, &stale, keyring)?)?;
            session.update()?;
            for (suite, architecture) in &stale {
                let stamp = self.stamp(suite, architecture);
                fs::write(&stamp, "").map_err(CacheError::io("cannot write", &stamp))?;
            }
        }
        let all: Vec<(&str, &str)> = scope.lists().collect();
        session.configure(scope, &sources_list(&sources, &all, keyring)?)?;
        Ok(session)
    }

    fn stamp(&self, suite: &str, architecture: &str) -> PathBuf {
        self.stamps().join(format!("{suite}_{architecture}"))
    }

    fn machine_sources(&self) -> Result<Vec<Source>> {
        let ask = |arguments: &[&str]| {
            let mut command = child::command("apt-get", child::APT);
            command.arg("indextargets").args(arguments).args(["--format", suites::FORMAT]);
            let text =
                run::run_briefly(command, "name the machine's archives", &|| self.progress.cancelled())?;
            Ok::<_, CacheError>(suites::parse(&String::from_utf8_lossy(&text)))
        };
        // Without the machine's own lists (a fresh container image) apt names its archives only
        // with an option.
        let sources = ask(&[])?;
        if sources.is_empty() { ask(&["--no-release-info"]) } else { Ok(sources) }
    }
}

/// Returns the answer in the first of `scopes` whose suites the archive has. Every other failure
/// counts: an archive that is out of reach must not lead to an older release.
fn first_suites<T>(scopes: &[Scope], ask: impl Fn(&Scope) -> Result<T>) -> Result<(T, Scope)> {
    let mut missing = None;
    for scope in scopes {
        match ask(scope) {
            Ok(answer) => return Ok((answer, scope.clone())),
            Err(error @ CacheError::NoSuite { .. }) => missing = missing.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(missing.unwrap_or_else(|| CacheError::NoMirror { suite: "any suite".to_owned() }))
}

fn keyring() -> Result<&'static str> {
    let there = KEYRINGS.into_iter().find(|k| Path::new(k).exists());
    there.ok_or_else(|| CacheError::NoKeyring { paths: KEYRINGS.map(str::to_owned).to_vec() })
}
