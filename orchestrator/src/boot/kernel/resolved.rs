//! A kernel that is resolved: the request to the cache that an entry of `images/kernels.yaml`
//! makes.

use crate::home;
use s2lab_cache::{
    BuildConfig, CacheError, ConfigFile, DebianKernel, KernelBuild, KernelSource, SourcePackage,
    series::Series,
};
use s2lab_model::{
    kconfig::{Config, Setting},
    kernel::{KernelEntry, Kernels, Package, Provider, Source, Tree, Version},
    plan::Artifact,
};
use s2lab_os::outside::{self, kinds};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// The Image in the folder that a kernel was built in (Linux 6.1, arch/arm64/boot/Makefile).
const BUILT_IMAGE: &str = "arch/arm64/boot/Image";
const BUILT_CONFIG: &str = ".config";
const BUILT_SYMBOLS: &str = "System.map";

/// A kernel given by its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageChoice {
    /// The kernel's half of a key.
    pub label: String,
    pub image: PathBuf,
    /// A tree of modules. None: everything is built in.
    pub modules: Option<PathBuf>,
    /// Its configuration, if one was given.
    pub config: Option<PathBuf>,
    /// Its `System.map`, if one was given.
    pub system_map: Option<PathBuf>,
}

/// A kernel of which some files are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedImage {
    pub image: Place,
    /// A tree of modules, or an archive of one.
    pub modules: Option<Place>,
    pub label: String,
    pub config: Option<PathBuf>,
    pub system_map: Option<PathBuf>,
}

/// The place of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Path(PathBuf),
    Url(Artifact),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Url(artifact) => artifact.fmt(f),
        }
    }
}

/// A request to the cache for a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelRequest {
    /// A package of the archive.
    Archive(DebianKernel),
    /// A build from source.
    Built(KernelBuild),
    /// A file that already exists.
    File(ImageChoice),
    /// A file that is fetched.
    Fetched(FetchedImage),
}

impl KernelRequest {
    /// Returns the order in which kernels are built. A kernel that is built after another of the
    /// same source is built on top of it, and fewer patches between the two mean less work. Commits
    /// of a repository stay in their own order.
    pub(crate) fn order(&self) -> (Option<String>, Vec<&[u8]>) {
        match self {
            Self::Built(build) => {
                let patches = build.patches.iter().map(|patch| patch.diff.as_slice());
                let source = match &build.source {
                    KernelSource::Revision { repository, .. } => repository.display().to_string(),
                    source => format!("{source:?}"),
                };
                (Some(source), patches.collect())
            }
            Self::Archive(_) | Self::File(_) | Self::Fetched(_) => (None, Vec::new()),
        }
    }
}

/// Returns the request of the entry `name`. `folder` is the folder of `kernels.yaml`. Fragments of
/// configurations and patches are read.
///
/// # Errors
/// If there is no such entry, or a file that it names cannot be read.
pub fn wanted(kernels: &Kernels, name: &str, folder: &Path) -> Result<KernelRequest, CacheError> {
    let unknown = || CacheError::BadName { what: "kernel", name: name.to_owned() };
    Ok(match &kernels.entry(name).ok_or_else(unknown)?.provider {
        Provider::Debian(debian) => {
            let Package { name, version, suites } = &debian.package;
            KernelRequest::Archive(DebianKernel {
                package: name.clone(),
                version: fixed(version),
                suites: suites.clone(),
            })
        }
        Provider::Source(source) => {
            let Package { name: package, version, suites } = source.package.clone();
            KernelRequest::Built(KernelBuild {
                name: name.to_owned(),
                source: KernelSource::Package(SourcePackage { package, version: fixed(&version), suites }),
                config: fragments(folder, &source.config)?,
                patches: patches(source, folder)?.patches,
            })
        }
        Provider::Tree(tree) if tree.build => KernelRequest::Built(built_tree(name, folder, tree)?),
        Provider::Tree(tree) => {
            KernelRequest::File(tree_as_it_is(name, &folder.join(home::expand(&tree.path)))?)
        }
        Provider::Image(image) => KernelRequest::File(ImageChoice {
            label: name.to_owned(),
            image: folder.join(home::expand(&image.path)),
            modules: image.modules.as_ref().map(|path| folder.join(home::expand(path))),
            config: image.config.as_ref().map(|path| folder.join(home::expand(path))),
            system_map: image.system_map.as_ref().map(|path| folder.join(home::expand(path))),
        }),
    })
}

/// Returns the patches of an entry. `folder` is the folder of `kernels.yaml`.
pub(super) fn patches(source: &Source, folder: &Path) -> Result<Series, CacheError> {
    let paths: Vec<PathBuf> = source.patches.iter().map(|path| folder.join(home::expand(path))).collect();
    Ok(Series::gather(&paths)?)
}

fn fixed(version: &Version) -> Option<String> {
    match version {
        Version::Fixed(version) => Some(version.clone()),
        Version::Newest => None,
    }
}

fn fragments(folder: &Path, files: &[String]) -> Result<BuildConfig, CacheError> {
    let read = |name: &String| config_file(&folder.join(home::expand(name)), name);
    files.iter().map(read).collect::<Result<_, _>>().map(BuildConfig::Fragments)
}

/// Returns the options that the fragments of an entry set, which its kernel has. Returns None for a kernel
/// that is not built from fragments: its options are known once it is there. `folder` is the folder of
/// `kernels.yaml`.
pub fn known_options(entry: &KernelEntry, folder: &Path) -> Result<Option<Config>, CacheError> {
    let files: &[String] = match &entry.provider {
        Provider::Source(source) => &source.config,
        Provider::Tree(tree) => &tree.config,
        Provider::Debian(_) | Provider::Image(_) => &[],
    };
    // Fragments are for arm64, and do not say so.
    let parse = |text: &str| Config::parse(&format!("{text}\nCONFIG_ARM64=y\n"));
    let (mut known, mut text) = (None, String::new());
    for file in files {
        let path = folder.join(home::expand(file));
        let fragment = outside::read_text(&path, kinds::CONFIG)?;
        text += &format!("{fragment}\n");
        let all = parse(&fragment).and_then(|_| parse(&text));
        known = Some(all.map_err(|why| CacheError::given(&path, why))?);
    }
    Ok(known)
}

fn config_file(path: &Path, name: &str) -> Result<ConfigFile, CacheError> {
    let text = outside::read_text(path, kinds::CONFIG)?;
    Ok(ConfigFile { name: name.to_owned(), text })
}

fn built_tree(name: &str, folder: &Path, tree: &Tree) -> Result<KernelBuild, CacheError> {
    let path = folder.join(home::expand(&tree.path));
    let config = match tree.config.is_empty() {
        true => {
            let file = path.join(BUILT_CONFIG);
            BuildConfig::Whole(config_file(&file, &file.display().to_string())?)
        }
        false => fragments(folder, &tree.config)?,
    };
    let source = KernelSource::Folder(path);
    Ok(KernelBuild { name: name.to_owned(), source, config, patches: Vec::new() })
}

/// Returns the kernel that was built in the folder `tree`.
///
/// # Errors
/// If there is none.
pub fn tree_as_it_is(label: &str, tree: &Path) -> Result<ImageChoice, CacheError> {
    let image = tree.join(BUILT_IMAGE);
    if !image.is_file() {
        return Err(CacheError::NotBuilt { kernel: label.to_owned(), image });
    }
    let config = Some(tree.join(BUILT_CONFIG)).filter(|path| path.is_file());
    let text = config.as_deref().and_then(|path| outside::read_text(path, kinds::CONFIG).ok());
    // Without modules there is no need to search its eighty thousand files.
    let has_none = text
        .and_then(|text| Config::parse(&text).ok())
        .is_some_and(|config| config.setting("MODULES") == Setting::Off);
    let modules = (!has_none).then(|| tree.to_owned());
    let system_map = Some(tree.join(BUILT_SYMBOLS)).filter(|path| path.is_file());
    Ok(ImageChoice { label: label.to_owned(), image, modules, config, system_map })
}

#[cfg(test)]
mod tests;
