//! Debian packages through the machine's `apt-get`, with a private configuration: own lists, own cache, an empty
//! status, no root rights. Signatures, proxies and credentials stay apt's business.

use super::{
    Package, digest, entry,
    error::{Result, StoreError},
    lock::{self, Lock},
    process::{self, Watch},
    progress::Progress,
    suites::{self, Source},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

/// Where Debian and its derivatives keep the keys of Debian's archive.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];
/// Lists younger than this are not fetched again while the store is being filled.
const LISTS_FRESH: Duration = Duration::from_secs(3600);
/// apt itself gives up on a silent server after 30 s, three times.
const SILENCE: Duration = Duration::from_secs(150);
const LOCK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// A .deb file in the archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Deb {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

impl Deb {
    pub(crate) fn package(&self) -> Package {
        Package {
            name: self.name.clone(),
            version: self.version.clone(),
            architecture: self.architecture.clone(),
            sha256: self.sha256.clone(),
        }
    }

    /// As `apt-get download` wants it. Architecture `all` has no candidate of that name.
    fn exact(&self) -> String {
        match self.architecture.as_str() {
            "all" => format!("{}={}", self.name, self.version),
            architecture => format!("{}:{architecture}={}", self.name, self.version),
        }
    }
}

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
                    self.download(&self.session(scope, Duration::ZERO)?, what, &self.missing(debs))?;
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
        let mut activity = || {
            let here = fs::read_dir(&folder).into_iter().flatten().flatten();
            let done = here.filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum::<u64>().min(total);
            self.progress.download(what, done, total);
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
            Ok(text) => serde_json::from_slice(&text).map_err(|e| StoreError::malformed(path.display(), e)),
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
        let keyring = KEYRINGS
            .into_iter()
            .find(|k| Path::new(k).exists())
            .ok_or_else(|| StoreError::NoKeyring { paths: KEYRINGS.map(str::to_owned).to_vec() })?;
        let sources = self.machine_sources()?;

        let stale: Vec<(&str, &str)> = scope
            .suites
            .iter()
            .flat_map(|s| scope.architectures.iter().map(move |a| (s.as_str(), a.as_str())))
            .filter(|(suite, architecture)| {
                let stamp = fs::metadata(self.stamp(suite, architecture)).and_then(|m| m.modified());
                !stamp.is_ok_and(|t| t.elapsed().is_ok_and(|age| age < fresh))
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

/// One line a suite, with the architectures whose lists are wanted.
fn sources_list(sources: &[Source], wanted: &[(&str, &str)], keyring: &str) -> Result<String> {
    let mut by_suite: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (suite, architecture) in wanted {
        by_suite.entry(suite).or_default().push(architecture);
    }
    let mut text = String::new();
    for (suite, architectures) in by_suite {
        let (uri, architectures) = (suites::uri(sources, suite)?, architectures.join(","));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "deb [signed-by={keyring} arch={architectures} target=Packages lang=none] {uri} {suite} main"
        );
    }
    Ok(text)
}

/// Suites of backports are marked "not automatic"; here the newest version wins whatever its suite.
fn preferences(suites: &[String]) -> String {
    suites.iter().fold(String::new(), |mut text, suite| {
        let _ = writeln!(text, "Package: *\nPin: release n={suite}\nPin-Priority: 500\n");
        text
    })
}

/// The private configuration.
fn conf(dir: &Path, architectures: &[String]) -> Result<String> {
    let dir = dir.to_str().filter(|d| !d.contains(['"', '\\', '\n'])).ok_or_else(|| StoreError::BadName {
        what: "folder that apt accepts",
        name: dir.display().to_string(),
    })?;
    let native = architectures.first().map_or("", String::as_str);
    let list: String = architectures.iter().map(|a| format!(" \"{a}\";")).collect();
    Ok(format!(
        "// Hooks of the machine's configuration concern the machine's packages.\n\
         #clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n\
         #clear APT::Architectures;\n\
         APT::Architecture \"{native}\";\nAPT::Architectures {{{list} }};\n\
         APT::Default-Release \"\";\nAPT::Get::List-Cleanup \"false\";\nAPT::Update::Error-Mode \"any\";\n\
         APT::Get::AllowUnauthenticated \"false\";\nAcquire::AllowInsecureRepositories \"false\";\n\
         Acquire::AllowWeakRepositories \"false\";\n\
         // The folders are ours, not the download user's.\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Retries \"3\";\nAcquire::http::Timeout \"30\";\nAcquire::https::Timeout \"30\";\n\
         Dir::State \"{dir}/state\";\nDir::State::lists \"{dir}/lists\";\nDir::State::status \"{dir}/status\";\n\
         Dir::Cache \"{dir}/cache\";\nDir::Cache::archives \"{dir}/cache/archives\";\n\
         Dir::Etc::sourcelist \"{dir}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::preferences \"{dir}/preferences\";\nDir::Etc::preferencesparts \"/dev/null\";\n"
    ))
}

/// Reads the lines `'URI' FILE SIZE SHA256:DIGEST`.
fn parse_uris(text: &str) -> Result<Vec<Deb>> {
    let line = |line: &str| {
        let bad =
            |reason: &str| StoreError::malformed("apt's list of files", format_args!("{reason}: `{line}`"));
        let mut words = line.split_whitespace().skip(1);
        let (file, size, sum) = (words.next(), words.next(), words.next());
        let (name, version, architecture) = file_name(file.ok_or_else(|| bad("no file"))?)?;
        let size = size.and_then(|s| s.parse().ok()).ok_or_else(|| bad("no size"))?;
        let sha256 = sum.and_then(|s| s.strip_prefix("SHA256:")).ok_or_else(|| bad("no SHA-256"))?;
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad("no SHA-256"));
        }
        let (version, architecture) = (version.clone(), architecture.to_owned());
        Ok(Deb { name: name.to_owned(), version, architecture, size, sha256: sha256.to_ascii_lowercase() })
    };
    let mut debs = text.lines().filter(|l| l.starts_with('\'')).map(line).collect::<Result<Vec<_>>>()?;
    debs.sort();
    debs.dedup();
    Ok(debs)
}

/// `name_version_architecture.deb`; apt writes `:` of an epoch as `%3a`.
fn file_name(file: &str) -> Result<(&str, String, &str)> {
    let bad = || StoreError::malformed("apt's list of files", format_args!("`{file}` is no name of a .deb"));
    let mut parts = file.strip_suffix(".deb").ok_or_else(bad)?.splitn(3, '_');
    let (Some(name), Some(version), Some(architecture)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(bad());
    };
    suites::check_package(name)?;
    suites::check_name("architecture", architecture)?;
    let version = version.replace("%3a", ":");
    // Debian Policy §5.6.12.
    if version.is_empty() || !version.chars().all(|c| c.is_ascii_alphanumeric() || ".+-~:".contains(c)) {
        return Err(bad());
    }
    Ok((name, version, architecture))
}
