//! The files that a run boots: everything that comes out of the cache, gathered before the first
//! cell.

use super::{
    custom_kernel::CustomKernel,
    kernels::{ImageChoice, KernelRequest, wanted},
};
use crate::{
    cache::{
        Agent, Cache, CacheError, ImageFile, Kernel, Qemu, Userland,
        parts::{
            image::embedded_config,
            initramfs::{Node, append},
        },
    },
    outside::{self, Outside, kinds},
    sealed::sealed,
};
use rustix::fd::OwnedFd;
use s2lab_model::{
    crash::symbols::Symbols,
    event::PlannedCell,
    kconfig::{self, Config, Lack},
    kernel::Kernels,
    record::environment,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The modules that the host needs: its agent's channel, and VFIO. Their dependencies are found; on
/// Debian's cloud kernels that makes 11 files for 6.1 and 4 for 6.12.
pub(crate) const HOST_MODULES: [&str; 4] = ["virtio_pci", "virtio_console", "vfio_pci", "vfio_iommu_type1"];
/// The modules that a guest needs: its agent's channel.
pub(crate) const GUEST_MODULES: [&str; 2] = ["virtio_pci", "virtio_console"];

/// A kernel, ready to boot.
#[derive(Debug, Clone)]
pub struct Bootable {
    pub image: PathBuf,
    pub sha256: String,
    /// A cpio archive.
    pub modules: PathBuf,
    /// The needed modules that the kernel does not have, by its own lists.
    pub absent: Vec<String>,
    /// The version of its package. None: it was given by its path.
    pub package: Option<String>,
}

impl Bootable {
    /// Returns the names of the modules in its archive.
    pub fn delivered(&self) -> io::Result<BTreeSet<String>> {
        let mut archive = io::BufReader::new(Outside::open(&self.modules, kinds::ARCHIVE)?);
        let mut names = BTreeSet::new();
        loop {
            let member = cpio::newc::Reader::new(archive)?;
            if member.entry().is_trailer() {
                return Ok(names);
            }
            let name = member.entry().name().trim_start_matches("modules/").strip_suffix(".ko");
            names.extend(name.map(str::to_owned));
            archive = member.finish()?;
        }
    }

    /// Returns its source and its digest, for a report.
    fn origin(&self) -> String {
        let from = self.package.as_deref().unwrap_or("given by its path,");
        format!("{from} sha256:{}", self.sha256)
    }
}

impl From<Kernel> for Bootable {
    fn from(kernel: Kernel) -> Self {
        let Kernel { image, image_sha256: sha256, modules, absent, package_version, .. } = kernel;
        Self { image, sha256, modules, absent, package: Some(package_version) }
    }
}

impl From<ImageFile> for Bootable {
    fn from(file: ImageFile) -> Self {
        let ImageFile { image, image_sha256: sha256, modules, absent } = file;
        Self { image, sha256, modules, absent, package: None }
    }
}

/// A kernel under test.
#[derive(Debug, Clone)]
pub struct KernelFiles {
    pub boot: Bootable,
    /// The configuration, if it is known.
    pub config: Option<KernelConfig>,
    pub symbols: KernelSymbols,
}

impl KernelFiles {
    fn of_package(kernel: Kernel) -> Result<Self, CacheError> {
        let config = kernel.config.as_deref().map(config).transpose()?;
        let symbols = KernelSymbols { map: KernelSymbols::map(kernel.system_map.as_deref())?, vmlinux: None };
        Ok(Self { boot: kernel.into(), config, symbols })
    }
}

/// The sources of names for a kernel's addresses.
#[derive(Debug, Clone, Default)]
pub struct KernelSymbols {
    /// The kernel's `System.map`. Debian's packages have none: theirs is a line that refers to
    /// another package.
    pub map: Option<Arc<Symbols>>,
    /// The file for gdb.
    pub vmlinux: Option<PathBuf>,
}

impl KernelSymbols {
    fn of(choice: &ImageChoice) -> Result<Self, CacheError> {
        // A build has it beside the Image, or at the top of the tree with arch/arm64/boot/Image.
        let folders = choice.image.ancestors();
        let vmlinux = folders.enumerate().filter(|(above, _)| [1, 4].contains(above));
        let vmlinux = vmlinux.map(|(_, folder)| folder.join("vmlinux")).find(|path| path.is_file());
        Ok(Self { map: Self::map(choice.system_map.as_deref())?, vmlinux })
    }

    fn map(path: Option<&Path>) -> Result<Option<Arc<Symbols>>, CacheError> {
        let map = path.map(|path| {
            read_symbols(path).map_err(CacheError::io("cannot use the kernel's System.map", path))
        });
        Ok(map.transpose()?.map(Arc::new))
    }
}

/// Reads the `System.map` at `path`, which may be any file.
pub fn read_symbols(path: &Path) -> io::Result<Symbols> {
    Symbols::parse(&outside::read_text(path, kinds::SYSTEM_MAP)?).map_err(io::Error::other)
}

/// A kernel's configuration, and the SHA-256 of its file.
#[derive(Debug, Clone)]
pub struct KernelConfig {
    pub config: Config,
    pub sha256: String,
}

impl KernelConfig {
    /// Reads the file at `path`, which may be any file.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::parse(&outside::read_text(path, kinds::CONFIG)?)
    }

    fn parse(text: &str) -> io::Result<Self> {
        let config = Config::parse(text).map_err(io::Error::other)?;
        Ok(Self { config, sha256: s2lab_model::hash::digest(text.as_bytes()) })
    }
}

/// Everything that the cells of a run boot.
#[derive(Debug)]
pub struct Images {
    qemu: Qemu,
    userland: Userland,
    agent: Agent,
    guest_kernel: Bootable,
    kernels: BTreeMap<String, KernelFiles>,
    /// The missing kernels, and the reasons.
    missing: BTreeMap<String, CacheError>,
}

impl Images {
    /// Makes images from existing parts. `kernels` have the names of the plan.
    pub fn from_parts(
        qemu: Qemu,
        userland: Userland,
        agent: Agent,
        guest_kernel: Bootable,
        kernels: BTreeMap<String, KernelFiles>,
    ) -> Self {
        Self { qemu, userland, agent, guest_kernel, kernels, missing: BTreeMap::new() }
    }

    /// Gathers the needs of `cells`, which have at least one kernel. `folder` is the folder of
    /// `kernels.yaml`.
    pub async fn gather(
        cache: &Cache,
        kernels: &Kernels,
        folder: &Path,
        chosen: &[CustomKernel],
        cells: &[PlannedCell],
    ) -> Result<Self, CacheError> {
        let qemu = cache.qemu().await?;
        let guest_kernel = guest_kernel(cache, kernels, folder).await?;
        let (mut all, mut missing): (Vec<(&String, KernelRequest)>, _) = (Vec::new(), BTreeMap::new());
        for name in names(cells) {
            match asked(name, kernels, folder, chosen) {
                Ok(wanted) => all.push((name, wanted)),
                Err(error) => drop(missing.insert(name.clone(), error)),
            }
        }
        all.sort_by(|(_, one), (_, other)| one.order().cmp(&other.order()));
        let mut files = BTreeMap::new();
        for (name, wanted) in &all {
            match kernel(cache, wanted).await {
                Ok(found) => drop(files.insert((*name).clone(), found)),
                Err(CacheError::Cancelled) => return Err(CacheError::Cancelled),
                Err(error) => drop(missing.insert((*name).clone(), error)),
            }
        }
        let missing = bearable(&files, missing)?;
        let userland = cache.host_userland().await?;
        let agent = cache.agent().await?;
        Ok(Self { qemu, userland, agent, guest_kernel, kernels: files, missing })
    }

    /// Returns the emulator of the host.
    pub fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    /// Returns the kernel of that name in the plan.
    pub fn kernel(&self, name: &str) -> Option<&KernelFiles> {
        self.kernels.get(name)
    }

    /// Returns the reason why the kernel of that name is missing.
    pub fn missing(&self, name: &str) -> Option<&CacheError> {
        self.missing.get(name)
    }

    /// Returns facts for a report's environment.
    pub fn facts(&self) -> BTreeMap<String, String> {
        let qemu_source =
            self.qemu.packages.iter().find(|package| package.name.starts_with("qemu-system-arm"));
        let qemu = match qemu_source {
            Some(package) => {
                format!("{} (package {} sha256:{})", self.qemu.version, package.version, package.sha256)
            }
            None => format!("{} (the machine's own)", self.qemu.version),
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

    /// Makes the host's initramfs in a memfd: user land, modules, the agent, and the guests' files.
    pub fn initramfs(&self, kernel: &KernelFiles) -> io::Result<OwnedFd> {
        let agent = outside::read(&self.agent.program, kinds::PROGRAM)?;
        let init = [
            // A kernel without a console starts init without descriptors. Rust's runtime then opens
            // this, or aborts, which is a panic of the kernel (std/src/sys/pal/unix/mod.rs,
            // sanitize_standard_fds).
            ("dev", Node::Directory { mode: 0o755 }),
            ("dev/null", Node::Device { mode: 0o666, major: 1, minor: 3 }),
            ("init", Node::File { mode: 0o755, data: &agent }),
        ];
        let mut guest_archive = outside::read(&self.guest_kernel.modules, kinds::ARCHIVE)?;
        append(&mut guest_archive, init)?;
        let image = outside::read(&self.guest_kernel.image, kinds::IMAGE)?;
        sealed("initramfs", |out| {
            copy(&self.userland.archive, out)?;
            copy(&kernel.boot.modules, out)?;
            let guest = [
                ("guest", Node::Directory { mode: 0o755 }),
                ("guest/Image", Node::File { mode: 0o644, data: &image }),
                ("guest/initrd", Node::File { mode: 0o644, data: &guest_archive }),
            ];
            append(out, init.into_iter().chain(guest))
        })
    }
}

/// Yields the kernels of these cells, each once.
fn names(cells: &[PlannedCell]) -> impl Iterator<Item = &String> {
    let mut known = BTreeSet::new();
    cells.iter().map(|cell| &cell.kernel).filter(move |name| known.insert(*name))
}

/// Returns the request to the cache for the kernel of this name.
fn asked(
    name: &str,
    kernels: &Kernels,
    folder: &Path,
    chosen: &[CustomKernel],
) -> Result<KernelRequest, CacheError> {
    let given = chosen.iter().find(|chosen| chosen.label == name);
    given.map_or_else(|| wanted(kernels, name, folder), |chosen| Ok(chosen.wanted.clone()))
}

/// Returns the kernels of these cells that were given as files. The others are checked when they
/// are gathered.
pub fn given(
    kernels: &Kernels,
    folder: &Path,
    chosen: &[CustomKernel],
    cells: &[PlannedCell],
) -> Vec<(String, ImageChoice)> {
    let given = |name: &String| match asked(name, kernels, folder, chosen) {
        Ok(KernelRequest::File(choice)) => Some((name.clone(), choice)),
        Ok(KernelRequest::Archive(_) | KernelRequest::Built(_)) | Err(_) => None,
    };
    names(cells).filter_map(given).collect()
}

/// Checks kernels that were given as files, before a run is made: defects of them are the user's
/// mistake.
///
/// # Errors
/// [`CacheError::Given`] for a file that is not a kernel, modules that are not its own, and modules
/// that a cell needs and nobody gave.
pub async fn check_given(
    cache: &Cache,
    given: &[(String, ImageChoice)],
    cells: &[PlannedCell],
) -> Result<(), CacheError> {
    for (name, choice) in given {
        let files = kernel(cache, &KernelRequest::File(choice.clone())).await?;
        let Some(KernelConfig { config, .. }) = &files.config else { continue };
        let delivered = files.boot.delivered();
        let delivered = delivered.map_err(CacheError::io("cannot read", &files.boot.modules))?;
        for cell in cells.iter().filter(|cell| cell.kernel == *name) {
            let lacks = kconfig::lacking(config, &cell.scenario, &delivered);
            if let Some(module) = lacks.iter().find_map(Lack::module_not_given) {
                return Err(not_given(module, choice));
            }
        }
    }
    Ok(())
}

/// Returns the error for a module that the kernel has but that was not given.
fn not_given(module: &str, choice: &ImageChoice) -> CacheError {
    match &choice.modules {
        Some(folder) => {
            CacheError::given(folder, format!("it has no module `{module}`, which the kernel needs"))
        }
        None => CacheError::given(
            &choice.image,
            format!("its configuration has `{module}` as a module, and no modules were given: --modules DIR"),
        ),
    }
}

/// Returns the known facts of a kernel from any source.
pub(crate) async fn kernel(cache: &Cache, wanted: &KernelRequest) -> Result<KernelFiles, CacheError> {
    match wanted {
        KernelRequest::Archive(debian) => KernelFiles::of_package(cache.kernel(debian, &HOST_MODULES).await?),
        KernelRequest::Built(build) => {
            KernelFiles::of_package(cache.build_kernel(build, &HOST_MODULES).await?)
        }
        KernelRequest::File(choice) => {
            let file = cache.image(&choice.image, choice.modules.as_deref(), &HOST_MODULES).await?;
            Ok(KernelFiles {
                config: given_or_embedded(choice, &file.image)?,
                symbols: KernelSymbols::of(choice)?,
                boot: file.into(),
            })
        }
    }
}

/// Keeps the kernels that could be had. If one of several does not build, the others can be tested,
/// and a warning names the missing one with its cells.
fn bearable<T>(
    files: &BTreeMap<String, T>,
    mut missing: BTreeMap<String, CacheError>,
) -> Result<BTreeMap<String, CacheError>, CacheError> {
    match files.is_empty() {
        true => missing.pop_first().map_or(Ok(BTreeMap::new()), |(_, error)| Err(error)),
        false => Ok(missing),
    }
}

/// Returns the kernel that guests boot: the one that was brought, else the entry that `kernels`
/// names.
async fn guest_kernel(cache: &Cache, kernels: &Kernels, folder: &Path) -> Result<Bootable, CacheError> {
    if let Some(given) = cache.given_guest(&GUEST_MODULES).await? {
        return Ok(given.into());
    }
    let kernel: Bootable = match wanted(kernels, &kernels.guest, folder)? {
        KernelRequest::Archive(debian) => cache.kernel(&debian, &GUEST_MODULES).await?.into(),
        KernelRequest::Built(build) => cache.build_kernel(&build, &GUEST_MODULES).await?.into(),
        KernelRequest::File(choice) => {
            cache.image(&choice.image, choice.modules.as_deref(), &GUEST_MODULES).await?.into()
        }
    };
    match kernel.absent.first() {
        None => Ok(kernel),
        Some(module) => {
            let place = format!("the guests' kernel ({})", kernels.guest);
            Err(CacheError::NoModule { module: module.clone(), place, needed_by: None })
        }
    }
}

/// Returns a kernel's configuration: the one that the user named, else the one in its Image.
fn given_or_embedded(choice: &ImageChoice, image: &Path) -> Result<Option<KernelConfig>, CacheError> {
    match &choice.config {
        Some(path) => config(path).map(Some),
        None => embedded_config(image)?
            .map(|text| KernelConfig::parse(&text))
            .transpose()
            .map_err(CacheError::io("cannot use the configuration in", image)),
    }
}

fn config(path: &Path) -> Result<KernelConfig, CacheError> {
    KernelConfig::read(path).map_err(CacheError::io("cannot use the kernel configuration", path))
}

fn copy(from: &Path, out: &mut impl Write) -> io::Result<()> {
    io::copy(&mut Outside::open(from, kinds::ARCHIVE)?, out).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_where_the_guests_kernel_comes_from() {
        let (image, modules) = (PathBuf::from("Image"), PathBuf::from("modules.cpio"));
        let given = ImageFile { image, image_sha256: "5e".to_owned(), modules, absent: vec![] };
        let given = Bootable::from(given);
        assert_eq!(given.origin(), "given by its path, sha256:5e");
        let packaged = Bootable { package: Some("6.12.95-1".to_owned()), ..given };
        assert_eq!(packaged.origin(), "6.12.95-1 sha256:5e");
    }

    #[test]
    fn each_missing_kernel_keeps_its_reason_while_another_is_there() {
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
