//! Debian packages through the machine's `apt-get`, with a private configuration: own lists, own cache, an empty
//! status, no root rights. Signatures, proxies and credentials stay apt's business.

mod text;

use super::{
    digest, entry,
    error::{Result, StoreError},
    lock::{self, Lock},
    process::{self, Watch},
    progress::Progress,
    suites::{self, Source},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

pub(crate) use text::Deb;
use text::{conf, file_name, parse_uris, preferences, sources_list};

/// Where Debian and its derivatives keep the keys of Debian's archive.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];
/// Lists younger than this are not fetched again while the store is being filled.
const LISTS_FRESH: Duration = Duration::from_secs(3600);
/// apt itself gives up on a silent server after 30 s, three times.
const SILENCE: Duration = Duration::from_secs(150);
const LOCK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Where packages are looked for.
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
}

/// Debian's name for this machine's architecture.
pub(crate) fn machine_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The private apt.
#[derive(Clone)]
pub(crate) struct Apt {
    /// apt's state.
    dir: PathBuf,
    store: PathBuf,
    offline: bool,
    progress: Arc<dyn Progress>,
}

impl Apt {
    pub(crate) fn new(dir: PathBuf, store: PathBuf, offline: bool, progress: Arc<dyn Progress>) -> Self {
        Self { dir, store, offline, progress }
    }

    /// What `find` found when it was first asked for `what`; the network is touched that one time only.
    pub(crate) fn resolve(
        &self,
        what: &str,
        scope: &Scope,
        find: impl FnOnce(&Session<'_>) -> Result<Vec<Deb>>,
    ) -> Result<Vec<Deb>> {
        let key = format!("{what} for {} from {}", scope.architectures.join(","), scope.suites.join(","));
        if let Some(debs) = self.remembered()?.remove(&key) {
            return Ok(debs);
        }
        if self.offline {
            return Err(StoreError::Offline { missing: format!("the version of {what}") });
        }
        let session = self.session(scope, LISTS_FRESH)?;
        let mut all = self.remembered()?;
        if let Some(debs) = all.remove(&key) {
            return Ok(debs);
        }
        let debs = find(&session)?;
        all.insert(key, debs.clone());
        let path = self.resolved_path();
        let text = serde_json::to_vec_pretty(&all).map_err(|e| StoreError::malformed(path.display(), e))?;
        entry::replace_file(&path, &text)?;
        Ok(debs)
    }

    /// Whether packages could be fetched, as far as the machine itself can tell.
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
                return Err(StoreError::io("cannot remove", self.resolved_path())(e));
            }
            _ => {}
        }
        entry::remove_tree(&self.stamps())
    }

    /// The files of `debs`, downloaded where they are missing.
    pub(crate) fn fetch(&self, what: &str, scope: &Scope, debs: &[Deb]) -> Result<Vec<PathBuf>> {
        if !self.missing(debs).is_empty() {
            if self.offline {
                let names: Vec<String> = self.missing(debs).iter().map(|d| d.exact()).collect();
                return Err(StoreError::Offline { missing: format!("{what}: {}", names.join(" ")) });
            }
            let session = self.session(scope, LISTS_FRESH)?;
            let missing = self.missing(debs);
            let first = if missing.is_empty() { Ok(()) } else { self.download(&session, what, &missing) };
            match first {
                // Lists older than the archive name files that are gone.
                Err(StoreError::Program { .. }) => {
                    drop(session);
                    let session = self.session(scope, Duration::ZERO)?;
                    self.download(&session, what, &self.missing(debs)).map_err(|e| gone(e, what, scope))?;
                }
                other => other?,
            }
        }
        Ok(debs.iter().map(|d| self.pooled(d)).collect())
    }

    fn missing<'a>(&self, debs: &'a [Deb]) -> Vec<&'a Deb> {
        let there = |d: &Deb| fs::metadata(self.pooled(d)).is_ok_and(|m| m.len() == d.size);
        debs.iter().filter(|d| !there(d)).collect()
    }

    fn pooled(&self, deb: &Deb) -> PathBuf {
        self.store.join("deb").join(format!("{}-{}.deb", deb.sha256, deb.name))
    }

    /// Into a temporary folder first; a file joins the pool once its digest is right.
    fn download(&self, session: &Session<'_>, what: &str, debs: &[&Deb]) -> Result<()> {
        let folder = self.dir.join("downloads");
        entry::remove_tree(&folder)?;
        fs::create_dir_all(&folder).map_err(StoreError::io("cannot create", &folder))?;
        let pool = self.store.join("deb");
        fs::create_dir_all(&pool).map_err(StoreError::io("cannot create", &pool))?;
        let total: u64 = debs.iter().map(|d| d.size).sum();

        let mut command = session.apt_get();
        command.arg("-qq").arg("download").args(debs.iter().map(|d| d.exact())).current_dir(&folder);
        let mut last = None;
        let mut activity = || {
            let here = fs::read_dir(&folder).into_iter().flatten().flatten();
            let done = here.filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum::<u64>().min(total);
            if last != Some(done) {
                self.progress.download(what, done, total);
                last = Some(done);
            }
            done
        };
        let purpose = format!("download {what}");
        process::run(
            command,
            Watch { purpose, silence: SILENCE, activity: &mut activity, progress: &*self.progress },
        )?;

        let expected: BTreeMap<&str, &Deb> = debs.iter().map(|d| (d.sha256.as_str(), *d)).collect();
        let mut arrived = BTreeSet::new();
        for file in fs::read_dir(&folder).map_err(StoreError::io("cannot list", &folder))? {
            let path = file.map_err(StoreError::io("cannot list", &folder))?.path();
            let found = digest::file(&path)?;
            if let Some(deb) = expected.get(found.as_str()) {
                let synced = fs::File::open(&path).and_then(|f| f.sync_data());
                synced.map_err(StoreError::io("cannot sync", &path))?;
                fs::rename(&path, self.pooled(deb))
                    .map_err(StoreError::io("cannot move into place", &path))?;
                arrived.insert(found);
            }
        }
        entry::remove_tree(&folder)?;
        match debs.iter().find(|d| !arrived.contains(&d.sha256)) {
            None => Ok(()),
            Some(deb) => Err(StoreError::Digest {
                what: deb.exact(),
                expected: deb.sha256.clone(),
                found: "none of the downloaded files".to_owned(),
            }),
        }
    }

    fn resolved_path(&self) -> PathBuf {
        self.store.join("resolved.json")
    }

    fn remembered(&self) -> Result<BTreeMap<String, Vec<Deb>>> {
        let path = self.resolved_path();
        match fs::read(&path) {
            Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_else(|error| {
                // All that it says can be asked for again.
                self.progress
                    .step(&format!("{} is damaged ({error}): versions are forgotten", path.display()));
                BTreeMap::new()
            })),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(e) => Err(StoreError::io("cannot read", path)(e)),
        }
    }

    fn stamps(&self) -> PathBuf {
        self.dir.join("lists").join("stamps")
    }

    fn lock(&self) -> Result<Lock> {
        Lock::acquire(&lock::path(&self.store, "apt"), "Debian packages", LOCK_LIMIT, &*self.progress)
    }

    /// Holds apt's state; lists that are older than `fresh` are fetched.
    fn session(&self, scope: &Scope, fresh: Duration) -> Result<Session<'_>> {
        let lock = self.lock()?;
        for sub in ["state", "lists/partial", "lists/stamps", "cache/archives/partial"] {
            let dir = self.dir.join(sub);
            fs::create_dir_all(&dir).map_err(StoreError::io("cannot create", &dir))?;
        }
        let session = Session { apt: self, conf: self.dir.join("apt.conf"), _lock: lock };
        let keyring = keyring()?;
        let sources = self.machine_sources()?;

        let stale: Vec<(&str, &str)> = scope
            .suites
            .iter()
            .flat_map(|s| scope.architectures.iter().map(move |a| (s.as_str(), a.as_str())))
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
            session.configure(scope, &sources_list(&sources, &stale, keyring)?)?;
            session.update()?;
            for (suite, architecture) in &stale {
                let stamp = self.stamp(suite, architecture);
                fs::write(&stamp, "").map_err(StoreError::io("cannot write", &stamp))?;
            }
        }
        let all: Vec<(&str, &str)> = scope
            .suites
            .iter()
            .flat_map(|s| scope.architectures.iter().map(move |a| (s.as_str(), a.as_str())))
            .collect();
        session.configure(scope, &sources_list(&sources, &all, keyring)?)?;
        Ok(session)
    }

    fn stamp(&self, suite: &str, architecture: &str) -> PathBuf {
        self.stamps().join(format!("{suite}_{architecture}"))
    }

    fn machine_sources(&self) -> Result<Vec<Source>> {
        let ask = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            command.arg("indextargets").args(arguments).args(["--format", suites::FORMAT]).env("LC_ALL", "C");
            process::run_briefly(command, "name the machine's archives", &*self.progress)
                .map(|text| suites::parse(&String::from_utf8_lossy(&text)))
        };
        // Without the machine's own lists (a fresh container image) apt names its archives only when told so.
        let sources = ask(&[])?;
        if sources.is_empty() { ask(&["--no-release-info"]) } else { Ok(sources) }
    }
}

fn keyring() -> Result<&'static str> {
    let there = KEYRINGS.into_iter().find(|k| Path::new(k).exists());
    there.ok_or_else(|| StoreError::NoKeyring { paths: KEYRINGS.map(str::to_owned).to_vec() })
}

/// apt's private state, configured for one scope, and locked.
pub(crate) struct Session<'a> {
    apt: &'a Apt,
    conf: PathBuf,
    _lock: Lock,
}

impl Session<'_> {
    fn configure(&self, scope: &Scope, sources: &str) -> Result<()> {
        let dir = &self.apt.dir;
        for (name, text) in [
            ("apt.conf", conf(dir, &scope.architectures)?),
            ("sources.list", sources.to_owned()),
            ("preferences", preferences(&scope.suites)),
            ("status", String::new()),
        ] {
            let path = dir.join(name);
            fs::write(&path, text).map_err(StoreError::io("cannot write", &path))?;
        }
        Ok(())
    }

    /// `-c` is read after the machine's configuration, so that it has the last word.
    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.conf).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn apt_get(&self) -> Command {
        self.tool("apt-get")
    }

    fn update(&self) -> Result<()> {
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
        process::run(
            command,
            Watch { purpose, silence: SILENCE, activity: &mut activity, progress: &*self.apt.progress },
        )?;
        Ok(())
    }

    /// The newest version of each of `packages` (`name` or `name:architecture`), without dependencies.
    pub(crate) fn newest(&self, packages: &[String]) -> Result<Vec<Deb>> {
        let mut command = self.apt_get();
        command.args(["-qq", "--print-uris", "download"]).args(packages);
        self.ask(command, packages).and_then(|text| parse_uris(&text))
    }

    /// `packages` and all that they depend on, without recommendations.
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

    /// The first alternative of each dependency of exactly this package.
    pub(crate) fn depends(&self, deb: &Deb) -> Result<Vec<String>> {
        let mut command = self.tool("apt-cache");
        command.arg("show").arg(deb.exact());
        let text = self.ask(command, &[deb.exact()])?;
        let field = text.lines().find_map(|l| l.strip_prefix("Depends:")).unwrap_or_default();
        let name = |dependency: &str| dependency.split_whitespace().next().map(str::to_owned);
        Ok(field.split(',').filter_map(name).collect())
    }

    fn ask(&self, command: Command, packages: &[String]) -> Result<String> {
        match process::run_briefly(command, "find packages", &*self.apt.progress) {
            Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            Err(StoreError::Program { output, .. }) => Err(StoreError::NoPackage {
                package: packages.join(" "),
                suites: fs::read_to_string(self.apt.dir.join("sources.list"))
                    .unwrap_or_default()
                    .lines()
                    .filter_map(|l| l.rsplit(' ').nth(1))
                    .collect::<Vec<_>>()
                    .join(", "),
                reason: output,
            }),
            Err(other) => Err(other),
        }
    }
}

/// With fresh lists, a version that apt does not find has left the archive.
fn gone(error: StoreError, what: &str, scope: &Scope) -> StoreError {
    match error {
        StoreError::Program { output, .. } if output.contains("not found") => StoreError::NoPackage {
            package: what.to_owned(),
            suites: scope.suites.join(", "),
            reason: output,
        },
        other => other,
    }
}
