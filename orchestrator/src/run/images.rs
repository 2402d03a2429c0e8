//! What a run boots: all that comes out of the cache, gathered before the first cell.

use super::{
    chosen::Chosen,
    kernels::{ImageChoice, Wanted, wanted},
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

/// Modules that the host needs: its agent's channel, and VFIO. Those that they depend on are found; on Debian's cloud kernels that
/// makes 11 files for 6.1 and 4 for 6.12.
pub(crate) const HOST_MODULES: [&str; 4] = ["virtio_pci", "virtio_console", "vfio_pci", "vfio_iommu_type1"];
/// Modules that a guest needs: its agent's channel.
pub(crate) const GUEST_MODULES: [&str; 2] = ["virtio_pci", "virtio_console"];

/// A kernel, ready to boot.
#[derive(Debug, Clone)]
pub struct Bootable {
    pub image: PathBuf,
    pub sha256: String,
    /// A cpio archive.
    pub modules: PathBuf,
    /// Modules that are needed and that the kernel has not at all, as far as its own lists tell.
    pub absent: Vec<String>,
    /// Version of the package that it comes from. None: it was given by its path.
    pub package: Option<String>,
}

impl Bootable {
    /// Names of the modules in its archive.
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

    /// For a report: where it comes from, and its digest.
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
    /// None: nobody has told.
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

/// What names a kernel's addresses.
#[derive(Debug, Clone, Default)]
pub struct KernelSymbols {
    /// Its `System.map`. Debian's packages have none: theirs is a line that says it is in another package.
    pub map: Option<Arc<Symbols>>,
    /// For gdb.
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

/// Reads the `System.map` at `path`, which may be anything.
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
    /// Reads the file at `path`, which may be anything.
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
    /// Kernels that could not be had, and why.
    missing: BTreeMap<String, CacheError>,
}

impl Images {
    /// From parts that are there already. `kernels` go by the names that they have in the plan.
    pub fn from_parts(
        qemu: Qemu,
        userland: Userland,
        agent: Agent,
        guest_kernel: Bootable,
        kernels: BTreeMap<String, KernelFiles>,
    ) -> Self {
        Self { qemu, userland, agent, guest_kernel, kernels, missing: BTreeMap::new() }
    }

    /// Gathers what `cells` need; there is one kernel of theirs at least. `folder` is where `kernels.yaml` is.
    pub async fn gather(
        cache: &Cache,
        kernels: &Kernels,
        folder: &Path,
        chosen: &[Chosen],
        cells: &[PlannedCell],
    ) -> Result<Self, CacheError> {
        let qemu = cache.qemu().await?;
        let guest_kernel = guest_kernel(cache, kernels, folder).await?;
        let (mut all, mut missing): (Vec<(&String, Wanted)>, _) = (Vec::new(), BTreeMap::new());
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

    /// What emulates the host.
    pub fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    /// The kernel of that name in the plan.
    pub fn kernel(&self, name: &str) -> Option<&KernelFiles> {
        self.kernels.get(name)
    }

    /// Why the kernel of that name is not there.
    pub fn missing(&self, name: &str) -> Option<&CacheError> {
        self.missing.get(name)
    }

    /// Facts for a report's environment.
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

    /// The host's initramfs in a memfd: user land, modules, the agent, and what guests boot.
    pub fn initramfs(&self, kernel: &KernelFiles) -> io::Result<OwnedFd> {
        let agent = outside::read(&self.agent.program, kinds::PROGRAM)?;
        let init = [
            // A kernel without a console starts init without descriptors. Rust's runtime then opens this, or aborts, which is a panic
            // of the kernel (std/src/sys/pal/unix/mod.rs, sanitize_standard_fds).
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

/// The kernels of these cells, each once.
fn names(cells: &[PlannedCell]) -> impl Iterator<Item = &String> {
    let mut known = BTreeSet::new();
    cells.iter().map(|cell| &cell.kernel).filter(move |name| known.insert(*name))
}

/// What the cache is asked for to have the kernel of this name.
fn asked(name: &str, kernels: &Kernels, folder: &Path, chosen: &[Chosen]) -> Result<Wanted, CacheError> {
    let given = chosen.iter().find(|chosen| chosen.label == name);
    given.map_or_else(|| wanted(kernels, name, folder), |chosen| Ok(chosen.wanted.clone()))
}

/// The kernels of these cells that were given as files. What else they ask for is looked at when it is gathered.
pub fn given(
    kernels: &Kernels,
    folder: &Path,
    chosen: &[Chosen],
    cells: &[PlannedCell],
) -> Vec<(String, ImageChoice)> {
    let given = |name: &String| match asked(name, kernels, folder, chosen) {
        Ok(Wanted::File(choice)) => Some((name.clone(), choice)),
        Ok(Wanted::Archive(_) | Wanted::Built(_)) | Err(_) => None,
    };
    names(cells).filter_map(given).collect()
}

/// Checks kernels that were given as files, before a run is made: what is wrong with them is the user's mistake.
///
/// # Errors
/// [`CacheError::Given`] for a file that is no kernel, modules that are not its own, and modules that a cell needs and nobody gave.
pub async fn check_given(
    cache: &Cache,
    given: &[(String, ImageChoice)],
    cells: &[PlannedCell],
) -> Result<(), CacheError> {
    for (name, choice) in given {
        let files = kernel(cache, &Wanted::File(choice.clone())).await?;
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

/// The kernel has the module, and it is not among what was given.
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

/// What is known of a kernel however it came here.
pub(crate) async fn kernel(cache: &Cache, wanted: &Wanted) -> Result<KernelFiles, CacheError> {
    match wanted {
        Wanted::Archive(debian) => KernelFiles::of_package(cache.kernel(debian, &HOST_MODULES).await?),
        Wanted::Built(build) => KernelFiles::of_package(cache.build_kernel(build, &HOST_MODULES).await?),
        Wanted::File(choice) => {
            let file = cache.image(&choice.image, choice.modules.as_deref(), &HOST_MODULES).await?;
            Ok(KernelFiles {
                config: given_or_embedded(choice, &file.image)?,
                symbols: KernelSymbols::of(choice)?,
                boot: file.into(),
            })
        }
    }
}

/// Of several kernels, of which one does not build perhaps, the others can be tested: each that is missing is told with its cells.
fn bearable<T>(
    files: &BTreeMap<String, T>,
    mut missing: BTreeMap<String, CacheError>,
) -> Result<BTreeMap<String, CacheError>, CacheError> {
    match files.is_empty() {
        true => missing.pop_first().map_or(Ok(BTreeMap::new()), |(_, error)| Err(error)),
        false => Ok(missing),
    }
}

/// The kernel that guests boot: the one that was brought, else the entry that `kernels` names.
async fn guest_kernel(cache: &Cache, kernels: &Kernels, folder: &Path) -> Result<Bootable, CacheError> {
    if let Some(given) = cache.given_guest(&GUEST_MODULES).await? {
        return Ok(given.into());
    }
    let kernel: Bootable = match wanted(kernels, &kernels.guest, folder)? {
        Wanted::Archive(debian) => cache.kernel(&debian, &GUEST_MODULES).await?.into(),
        Wanted::Built(build) => cache.build_kernel(&build, &GUEST_MODULES).await?.into(),
        Wanted::File(choice) => {
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

/// A kernel's configuration is what its user says, else what its Image says of itself.
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
        let told = bearable(&there, missing()).unwrap();
        assert_eq!(told.keys().collect::<Vec<_>>(), ["a", "b"]);
        let none = BTreeMap::<String, ()>::new();
        assert!(matches!(bearable(&none, missing()), Err(CacheError::Offline { missing }) if missing == "a"));
        assert!(bearable(&there, BTreeMap::new()).unwrap().is_empty());
    }
}
