//! A kernel that is ready: its files on the disk, and what is known of it.

use super::{
    memory_module::MemoryModule,
    resolved::{FetchedImage, ImageChoice, KernelRequest, Place, wanted},
    selftests::Selftests,
};
use s2lab_cache::{Cache, CacheError, ImageFile, Kernel, parts::image::embedded_config};
use s2lab_model::{crash::symbols::Symbols, kconfig::Config, kernel::Kernels};
use s2lab_os::outside::{self, Outside, kinds};
use std::{
    collections::BTreeSet,
    io,
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
    pub(in crate::boot) fn origin(&self) -> String {
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
    /// Those of its tree that its cells ask for.
    pub selftests: Selftests,
    /// s2lab's own module for it, if its cells ask for it.
    pub module: MemoryModule,
}

impl KernelFiles {
    fn of_package(kernel: Kernel) -> Result<Self, CacheError> {
        let config = kernel.config.as_deref().map(config).transpose()?;
        let symbols = KernelSymbols { map: KernelSymbols::map(kernel.system_map.as_deref())?, vmlinux: None };
        let (selftests, module) = (Selftests::default(), MemoryModule::None);
        Ok(Self { boot: kernel.into(), config, symbols, selftests, module })
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

/// Returns the known facts of a kernel from any source.
pub(in crate::boot) async fn kernel(
    cache: &Cache,
    wanted: &KernelRequest,
) -> Result<KernelFiles, CacheError> {
    match wanted {
        KernelRequest::Archive(debian) => KernelFiles::of_package(cache.kernel(debian, &HOST_MODULES).await?),
        KernelRequest::Built(build) => {
            KernelFiles::of_package(cache.build_kernel(build, &HOST_MODULES).await?)
        }
        KernelRequest::File(choice) => given(cache, choice).await,
        KernelRequest::Fetched(choice) => given(cache, &fetched(cache, choice).await?).await,
    }
}

/// Returns the known facts of a kernel given as a file.
async fn given(cache: &Cache, choice: &ImageChoice) -> Result<KernelFiles, CacheError> {
    let file = cache.image(&choice.image, choice.modules.as_deref(), &HOST_MODULES).await?;
    Ok(KernelFiles {
        config: given_or_embedded(choice, &file.image)?,
        symbols: KernelSymbols::of(choice)?,
        boot: file.into(),
        selftests: Selftests::default(),
        module: MemoryModule::None,
    })
}

/// Fetches the files of a kernel that the cache does not have yet.
pub(in crate::boot) async fn fetched(
    cache: &Cache,
    FetchedImage { image, modules, label, config, system_map }: &FetchedImage,
) -> Result<ImageChoice, CacheError> {
    let image = match image {
        Place::Path(path) => path.clone(),
        Place::Url(artifact) => cache.artifact(artifact, kinds::IMAGE).await?,
    };
    let modules = match modules {
        None => None,
        Some(Place::Path(path)) => Some(path.clone()),
        Some(Place::Url(artifact)) => Some(cache.artifact_modules(artifact).await?),
    };
    let (label, config, system_map) = (label.clone(), config.clone(), system_map.clone());
    Ok(ImageChoice { label, image, modules, config, system_map })
}

/// Returns the kernel that guests boot: the one that was brought, else the entry `name` of `kernels`.
pub(in crate::boot) async fn guest_kernel(
    cache: &Cache,
    kernels: &Kernels,
    name: &str,
    folder: &Path,
) -> Result<Bootable, CacheError> {
    if let Some(given) = cache.given_guest(&GUEST_MODULES).await? {
        return Ok(given.into());
    }
    let kernel: Bootable = match wanted(kernels, name, folder)? {
        KernelRequest::Archive(debian) => cache.kernel(&debian, &GUEST_MODULES).await?.into(),
        KernelRequest::Built(build) => cache.build_kernel(&build, &GUEST_MODULES).await?.into(),
        KernelRequest::File(choice) => {
            cache.image(&choice.image, choice.modules.as_deref(), &GUEST_MODULES).await?.into()
        }
        KernelRequest::Fetched(choice) => {
            let choice = fetched(cache, &choice).await?;
            cache.image(&choice.image, choice.modules.as_deref(), &GUEST_MODULES).await?.into()
        }
    };
    match kernel.absent.first() {
        None => Ok(kernel),
        Some(module) => {
            let place = format!("the guests' kernel ({name})");
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
}
