//! The files that a run boots: everything that comes out of the cache. All but some kernels is gathered
//! before the first cell.

use super::{
    kernel::{
        given::CheckedKernels,
        memory_module::is_asked,
        named::{CustomKernel, names, resolve},
        ready::{Bootable, KernelFiles, guest_kernel},
        selftests::asked,
    },
    lanes::Lanes,
    prepared::{KernelOrder, Preparation, PreparedKernels},
};
use rustix::fd::OwnedFd;
use s2lab_cache::{
    Agent, Cache, CacheError, Plugin, Qemu, Userland,
    parts::initramfs::{Node, append},
};
use s2lab_model::{
    event::PlannedCell,
    kernel::Kernels,
    plan::{Key, QemuChoice},
    record::environment,
};
use s2lab_os::{
    outside::{self, Outside, kinds},
    sealed::sealed,
};
use s2lab_protocol::MODULE_FILE;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::oneshot;

/// Everything that the cells of a run boot.
pub struct BootFiles {
    qemus: BTreeMap<QemuChoice, Qemu>,
    /// The missing QEMUs, and the reasons.
    missing_qemus: BTreeMap<QemuChoice, CacheError>,
    userland: Userland,
    agent: Agent,
    /// QEMU's plugin, or the reason why there is none.
    plugin: Result<Plugin, String>,
    guest_kernel: Bootable,
    kernels: Arc<PreparedKernels>,
    /// The preparation of the kernels, which may still be at work.
    preparation: Option<Preparation>,
    /// The words that kernels have for their command lines.
    arguments: BTreeMap<String, Vec<String>>,
    /// The caches that the files are in, the run's as the last. While they are open nobody removes a file.
    held: Vec<Cache>,
}

/// The sources of a plan's kernels.
#[derive(Clone, Copy)]
pub struct KernelSources<'a> {
    pub listed: &'a Kernels,
    /// The name of the kernel that guests boot.
    pub guest: &'a str,
    /// The folder of `kernels.yaml`.
    pub folder: &'a Path,
    pub chosen: &'a [CustomKernel],
    pub checked: &'a CheckedKernels,
}

impl BootFiles {
    /// Makes them from existing parts. `kernels` have the names of the plan.
    pub fn from_parts(
        qemu: Qemu,
        userland: Userland,
        agent: Agent,
        plugin: Result<Plugin, String>,
        guest_kernel: Bootable,
        kernels: Arc<PreparedKernels>,
    ) -> Self {
        Self {
            qemus: BTreeMap::from([(QemuChoice::Default, qemu)]),
            missing_qemus: BTreeMap::new(),
            userland,
            agent,
            plugin,
            guest_kernel,
            kernels,
            preparation: None,
            arguments: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    /// Gathers the needs of `cells`, which have at least one kernel, until the first of them can begin.
    /// The kernels of `late`, and those for which more than a kernel is built, take longer than the others, and are
    /// prepared after them. `cache` reports to `lanes`.
    pub async fn gather(
        cache: Cache,
        lanes: &Arc<Lanes>,
        sources: KernelSources<'_>,
        cells: &[PlannedCell],
        late: &BTreeSet<String>,
    ) -> Result<Self, CacheError> {
        let KernelSources { listed, guest, folder, chosen, checked } = sources;
        let mut preparation = None;
        let (qemu_is_due, qemu) = oneshot::channel::<()>();
        let fetched = async {
            let qemus = qemus(&cache, cells).await?;
            drop(qemu_is_due);
            let userland = cache.host_userland().await?;
            let guest_kernel = guest_kernel(&cache, listed, guest, folder).await?;
            let (kernels, requests, late) = requests(sources, cells, late);
            let begun = Preparation::begin(cache.clone(), Arc::clone(lanes), Arc::clone(&kernels), requests);
            let begun = preparation.insert(begun);
            kernels.begin(&late).await;
            if kernels.can_boot() {
                return Ok((qemus, userland, guest_kernel, kernels));
            }
            begun.ended().await;
            let error = Arc::into_inner(kernels).and_then(PreparedKernels::into_error);
            Err(error.unwrap_or_else(|| CacheError::Task("there is no kernel".to_owned())))
        };
        // Its tool chain and its build take longest on a new machine.
        let built = async {
            match cache.agent().await {
                Ok(agent) => Ok((agent, plugin(&cache).await?)),
                Err(error) => {
                    // QEMU is the first thing that a machine without network or apt lacks: the error names it.
                    let _ = qemu.await;
                    Err(error)
                }
            }
        };
        let done = lanes.both(fetched, built).await;
        let ((qemus, userland, guest_kernel, kernels), (agent, plugin)) = match (done, preparation) {
            (Err(error), Some(preparation)) => {
                preparation.stop().await;
                return Err(error);
            }
            (done, begun) => {
                preparation = begun;
                done?
            }
        };
        let arguments =
            chosen.iter().map(|kernel| (kernel.label.clone(), kernel.arguments.clone())).collect();
        let held = checked.cache.iter().cloned().chain([cache]).collect();
        Ok(Self {
            qemus: qemus.0,
            missing_qemus: qemus.1,
            userland,
            agent,
            plugin,
            guest_kernel,
            kernels,
            preparation,
            arguments,
            held,
        })
    }

    /// Returns the folder `name` of the run's cache.
    pub fn beside(&self, name: &str) -> Option<PathBuf> {
        Some(self.held.last()?.beside(name))
    }

    /// Takes the preparation of the kernels that are not settled yet. Dropping it cancels it.
    pub fn take_preparation(&mut self) -> Option<Preparation> {
        self.preparation.take()
    }

    /// Returns the kernels of the run.
    pub fn kernels(&self) -> &Arc<PreparedKernels> {
        &self.kernels
    }

    /// Returns the emulator of a cell's host, or the reason why it is missing.
    pub fn qemu(&self, key: &Key) -> Result<&Qemu, Option<&CacheError>> {
        let Some(choice) = QemuChoice::of(key) else { return Err(None) };
        self.qemus.get(&choice).ok_or_else(|| self.missing_qemus.get(&choice))
    }

    /// Returns all emulators of the run's hosts.
    pub fn qemus(&self) -> impl Iterator<Item = (QemuChoice, &Qemu)> {
        self.qemus.iter().map(|(choice, qemu)| (*choice, qemu))
    }

    /// Returns QEMU's plugin, or the reason why there is none.
    pub fn plugin(&self) -> Result<&Plugin, &str> {
        self.plugin.as_ref().map_err(String::as_str)
    }

    /// Returns the kernel of that name in the plan, if it is there by now.
    pub fn kernel(&self, name: &str) -> Option<&KernelFiles> {
        self.kernels.get(name)?.as_ref().ok()
    }

    /// Returns the words that the kernel of that name has for its command line.
    pub fn arguments(&self, name: &str) -> &[String] {
        self.arguments.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns the reason why the kernel of that name is missing.
    pub fn missing(&self, name: &str) -> Option<&CacheError> {
        self.kernels.get(name)?.as_ref().err()
    }

    /// Returns facts for the environment of a report, with the QEMU of its host.
    pub fn facts(&self, qemu: &Qemu) -> BTreeMap<String, String> {
        let package = qemu.packages.iter().find(|package| package.name.starts_with("qemu-system-arm"));
        let qemu = match package {
            Some(package) => {
                format!("{} (package {} sha256:{})", qemu.version, package.version, package.sha256)
            }
            None => format!("{} (the machine's own)", qemu.version),
        };
        let userland =
            self.userland.packages.iter().map(|p| format!("{} {} sha256:{}", p.name, p.version, p.sha256));
        BTreeMap::from([
            (environment::QEMU.to_owned(), qemu),
            (environment::AGENT.to_owned(), format!("sha256:{}", self.agent.sha256)),
            (environment::GUEST_IMAGE.to_owned(), self.guest_kernel.origin()),
            (environment::HOST_QEMU.to_owned(), self.userland.qemu_version.clone()),
            (
                environment::HOST_PACKAGES.to_owned(),
                s2lab_model::hash::digest(userland.collect::<Vec<_>>().join("\n").as_bytes()),
            ),
        ])
    }

    /// Returns the digests of all that goes into a host with this kernel, by names of ours. `runs_qemu` is that
    /// of [`BootFiles::initramfs`], `digest` the digest of a file.
    pub fn digests(
        &self,
        qemu: &Qemu,
        kernel: &KernelFiles,
        runs_qemu: bool,
        digest: impl Fn(&Path) -> Result<String, CacheError>,
    ) -> Result<BTreeMap<&'static str, String>, CacheError> {
        let packages = qemu.packages.iter().map(|package| package.sha256.as_str());
        let emulator = match qemu.packages.is_empty() {
            true => digest(&qemu.program)?,
            // With its libraries.
            false => packages.collect::<Vec<_>>().join(" "),
        };
        let module = kernel.module.file().map(|file| Ok::<_, CacheError>(("module", digest(file)?)));
        let mut all = BTreeMap::from([
            ("agent", self.agent.sha256.clone()),
            ("guest-image", self.guest_kernel.sha256.clone()),
            ("guest-modules", digest(&self.guest_kernel.modules)?),
            ("image", kernel.boot.sha256.clone()),
            ("modules", digest(&kernel.boot.modules)?),
            ("plugin", self.plugin.as_ref().map_or(String::new(), |plugin| plugin.sha256.clone())),
            ("qemu", format!("{} {emulator}", qemu.version)),
            ("userland", digest(self.userland(runs_qemu))?),
        ]);
        all.extend(module.transpose()?);
        Ok(all)
    }

    /// Returns the user land of a host in which QEMU runs guests, or none does.
    fn userland(&self, runs_qemu: bool) -> &Path {
        if runs_qemu { &self.userland.archive } else { &self.userland.without_qemu }
    }

    /// Makes the host's initramfs in a memfd: user land, modules, the agent, and the files of QEMU's guests if it
    /// `runs_qemu`.
    pub fn initramfs(&self, kernel: &KernelFiles, runs_qemu: bool) -> io::Result<OwnedFd> {
        let agent = outside::read(&self.agent.program, kinds::PROGRAM)?;
        let init = [
            // A kernel without a console starts init without descriptors. Rust's runtime then opens
            // this, or aborts, which is a panic of the kernel (std/src/sys/pal/unix/mod.rs,
            // sanitize_standard_fds).
            ("dev", Node::Directory { mode: 0o755 }),
            ("dev/null", Node::Device { mode: 0o666, major: 1, minor: 3 }),
            ("init", Node::File { mode: 0o755, data: &agent }),
        ];
        sealed("initramfs", |out| {
            copy(self.userland(runs_qemu), out)?;
            copy(&kernel.boot.modules, out)?;
            append(out, init)?;
            if let Some(file) = kernel.module.file() {
                let module = outside::read(file, kinds::MODULE)?;
                let path = format!("modules/{MODULE_FILE}");
                let folder = ("modules", Node::Directory { mode: 0o755 });
                append(out, [folder, (path.as_str(), Node::File { mode: 0o644, data: &module })])?;
            }
            if !runs_qemu {
                return Ok(());
            }
            let mut guest_archive = outside::read(&self.guest_kernel.modules, kinds::ARCHIVE)?;
            append(&mut guest_archive, init)?;
            let image = outside::read(&self.guest_kernel.image, kinds::IMAGE)?;
            let guest = [
                ("guest", Node::Directory { mode: 0o755 }),
                ("guest/Image", Node::File { mode: 0o644, data: &image }),
                ("guest/initrd", Node::File { mode: 0o644, data: &guest_archive }),
            ];
            append(out, guest)
        })
    }
}

/// Returns the QEMUs of the cells' hosts, and the reasons why others are missing.
async fn qemus(
    cache: &Cache,
    cells: &[PlannedCell],
) -> Result<(BTreeMap<QemuChoice, Qemu>, BTreeMap<QemuChoice, CacheError>), CacheError> {
    let (mut found, mut missing) = (BTreeMap::new(), BTreeMap::new());
    let choices: BTreeSet<_> = cells.iter().filter_map(|cell| QemuChoice::of(&cell.key)).collect();
    for choice in choices {
        let qemu = match choice {
            QemuChoice::Default => cache.qemu().await,
            QemuChoice::Newest => cache.newest_qemu().await,
        };
        match qemu {
            Ok(qemu) => drop(found.insert(choice, qemu)),
            Err(CacheError::Cancelled) => return Err(CacheError::Cancelled),
            Err(error) => drop(missing.insert(choice, error)),
        }
    }
    let missing = bearable(&found, missing)?;
    Ok((found, missing))
}

/// Returns the plugin, or the reason why it could not be built. A run needs none.
async fn plugin(cache: &Cache) -> Result<Result<Plugin, String>, CacheError> {
    match cache.plugin().await {
        Ok(plugin) => Ok(Ok(plugin)),
        Err(CacheError::Cancelled) => Err(CacheError::Cancelled),
        Err(error) => {
            tracing::debug!("no plugin: {error}");
            Ok(Err(error.to_string().lines().next().unwrap_or_default().to_owned()))
        }
    }
}

/// Returns the kernels of `cells`, of which those are settled that need no preparation, and the requests
/// for the others in the order of their preparation. The last of them, whose names are returned too, are those of
/// `late` and those for which more is built.
pub(super) fn requests(
    KernelSources { listed, folder, chosen, checked, .. }: KernelSources<'_>,
    cells: &[PlannedCell],
    late: &BTreeSet<String>,
) -> (Arc<PreparedKernels>, Vec<KernelOrder>, BTreeSet<String>) {
    let kernels = PreparedKernels::awaited(names(cells).cloned());
    let mut requests = vec![];
    for name in names(cells) {
        match (checked.files.get(name), resolve(name, listed, folder, chosen)) {
            // It was read when the arguments were checked.
            (Some(files), _) => kernels.settle(name, Ok(files.clone())),
            (None, Ok(request)) => {
                let (asked, needs_module) = (asked(cells, name), is_asked(cells, name));
                requests.push(KernelOrder { name: name.clone(), request, asked, needs_module });
            }
            (None, Err(error)) => kernels.settle(name, Err(error)),
        }
    }
    let is_late = |order: &&KernelOrder| late.contains(&order.name) || order.builds_more();
    let late: BTreeSet<String> = requests.iter().filter(is_late).map(|order| order.name.clone()).collect();
    let place = |order: &KernelOrder| late.contains(&order.name);
    requests
        .sort_by(|one, other| (place(one), one.request.order()).cmp(&(place(other), other.request.order())));
    (Arc::new(kernels), requests, late)
}

/// Keeps the QEMUs that could be had. If one of several is missing, the others can be tested with, and the
/// cells of the missing one say why.
fn bearable<K: Ord, T>(
    files: &BTreeMap<K, T>,
    mut missing: BTreeMap<K, CacheError>,
) -> Result<BTreeMap<K, CacheError>, CacheError> {
    match files.is_empty() {
        true => missing.pop_first().map_or(Ok(BTreeMap::new()), |(_, error)| Err(error)),
        false => Ok(missing),
    }
}

fn copy(from: &Path, out: &mut impl Write) -> io::Result<()> {
    io::copy(&mut Outside::open(from, kinds::ARCHIVE)?, out).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_qemu_keeps_its_reason_while_another_is_there() {
        let missing = || {
            let error = |name: &str| CacheError::Offline { missing: name.to_owned() };
            ["a", "b"].map(|name| (name.to_owned(), error(name))).into_iter().collect()
        };
        let there = BTreeMap::from([("c".to_owned(), ())]);
        let kept = bearable(&there, missing()).unwrap();
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["a", "b"]);
        let none = BTreeMap::<String, ()>::new();
        assert!(matches!(bearable(&none, missing()), Err(CacheError::Offline { missing }) if missing == "a"));
        assert!(bearable(&there, BTreeMap::new()).unwrap().is_empty());
    }
}
