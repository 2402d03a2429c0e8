//! Kernels from Debian's archive.

use crate::{
    Cache, DebianKernel, ImageFile, Kernel,
    debian::{
        apt::{Deb, Question, Scope, Session},
        deb, suites,
    },
    error::{CacheError, Result},
    objects::{
        digest,
        object::{Building, Object},
    },
    parts::{
        image,
        modules::{self, Loaded, Modules},
    },
};
use s2lab_os::outside::{self, kinds};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The packages of a kernel. Up to Debian 12 the image has everything; later `linux-binary-*` and
/// `linux-modules-*` are separate.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];
/// The most packages: a metapackage leads to an image, which leads to its parts.
const MAX_PACKAGES: usize = 8;
pub(crate) const KIND: &str = "kernel";
/// The name of the Image in an object.
pub(crate) const IMAGE: &str = "Image";
pub(crate) const CONFIG: &str = "config";
pub(crate) const SYSTEM_MAP: &str = "System.map";
/// The folder with the modules at any depth.
pub(crate) const MODULES_FOLDER: &str = "modules";
const MODULES: &str = "modules.cpio";
/// The fact of an archive that lists the requested modules that the kernel does not have.
const ABSENT: &str = "absent";

#[derive(Serialize)]
struct TreeInputs<'a> {
    debs: &'a [Deb],
}

#[derive(Serialize)]
struct ModulesInputs<'a> {
    tree: &'a str,
    wanted: &'a [&'a str],
}

impl Cache {
    pub(crate) fn kernel_blocking(&self, kernel: &DebianKernel, wanted: &[&str]) -> Result<Kernel> {
        suites::check_package(&kernel.package)?;
        let scope = Scope::new(&kernel.suites, &["arm64"])?;
        let debs = self.apt.resolve(Question::package(&kernel.exact()), &scope, |apt| find(apt, kernel))?;
        let first =
            debs.first().ok_or_else(|| CacheError::malformed(&kernel.package, "no package of a kernel"))?;
        let tree = self.objects.get(KIND, &first.name, &TreeInputs { debs: &debs }, |building| {
            unpack(building, &debs, &self.apt.fetch(&kernel.package, &scope, &debs)?)
        })?;
        self.kernel_of(&tree, first.version.clone(), wanted)
    }

    pub(crate) fn move_kernel_blocking(&self, kernel: &DebianKernel) -> Result<()> {
        suites::check_package(&kernel.package)?;
        let scope = Scope::new(&kernel.suites, &["arm64"])?;
        self.apt.resolve_anew(Question::package(&kernel.exact()), &scope, |apt| find(apt, kernel))
    }

    /// Returns the kernel whose object is `tree`.
    pub(crate) fn kernel_of(
        &self,
        tree: &Object,
        package_version: String,
        wanted: &[&str],
    ) -> Result<Kernel> {
        let archive = self.module_archive(tree, wanted)?;
        let file = |name: &str| tree.manifest.files.contains_key(name).then(|| tree.path.join(name));
        Ok(Kernel {
            image: tree.path.join(IMAGE),
            image_sha256: tree.sha256(IMAGE)?.to_owned(),
            release: tree.fact("release")?.to_owned(),
            package_version,
            modules: archive.path.join(MODULES),
            absent: absent(&archive),
            config: file(CONFIG),
            system_map: file(SYSTEM_MAP),
        })
    }

    /// Returns the folder of a kernel's object, if the cache has it. It makes and fetches nothing,
    /// and does not verify the files.
    pub fn kernel_folder(&self, kernel: &DebianKernel) -> Result<Option<PathBuf>> {
        let debs = self.known_debs(kernel)?.unwrap_or_default();
        let Some(first) = debs.first() else { return Ok(None) };
        let place = self.objects.place(KIND, &first.name, &TreeInputs { debs: &debs })?;
        Ok(Some(place.path).filter(|path| path.is_dir()))
    }

    /// Returns the packages of the version that was taken, if one was.
    pub(crate) fn known_debs(&self, kernel: &DebianKernel) -> Result<Option<Vec<Deb>>> {
        let scope = Scope::new(&kernel.suites, &["arm64"])?;
        self.apt.known(Question::package(&kernel.exact()), &scope)
    }

    fn module_archive(&self, tree: &Object, wanted: &[&str]) -> Result<Object> {
        let inputs = ModulesInputs { tree: &tree.manifest.digest, wanted };
        self.objects.get("modules", tree.fact("release")?, &inputs, |building| {
            let path = building.dir.join(MODULES);
            let mut archive = Vec::new();
            let loaded = Modules::scan(&tree.path, Some(tree.fact("release")?))?.load_order(wanted)?;
            modules::write_archive(&mut archive, &loaded.modules)?;
            let order: Vec<_> = loaded.modules.iter().map(|module| module.name.as_str()).collect();
            building.facts.insert("order".to_owned(), order.join(" "));
            building.facts.insert(ABSENT.to_owned(), loaded.absent.join(" "));
            fs::write(&path, archive).map_err(CacheError::io("cannot write", &path))
        })
    }
}

/// Returns the missing modules. Objects from before there was this fact are of kernels that have
/// all.
fn absent(archive: &Object) -> Vec<String> {
    let names = archive.manifest.facts.get(ABSENT).map(String::as_str).unwrap_or_default();
    names.split_whitespace().map(str::to_owned).collect()
}

impl DebianKernel {
    /// Returns the question to the archive, under which the answer is kept.
    fn exact(&self) -> String {
        exact(&self.package, self.version.as_deref())
    }
}

/// Returns `name`, or `name=version`.
pub(crate) fn exact(package: &str, version: Option<&str>) -> String {
    version.map_or_else(|| package.to_owned(), |version| format!("{package}={version}"))
}

/// Finds the packages with files, from a metapackage on.
fn find(apt: &Session<'_>, kernel: &DebianKernel) -> Result<Vec<Deb>> {
    let version = kernel.version.iter().map(|version| format!("={version}"));
    let mut queue = vec![format!("{}:arm64{}", kernel.package, version.collect::<String>())];
    let (mut found, mut looked) = (Vec::<Deb>::new(), 0);
    while let Some(name) = queue.pop() {
        looked += 1;
        if looked > MAX_PACKAGES {
            return Err(CacheError::malformed(&kernel.package, "it depends on too many packages of kernels"));
        }
        for deb in apt.newest(&[name])? {
            let parts = apt.depends(&deb)?;
            let parts: Vec<_> =
                parts.into_iter().filter(|d| PARTS.iter().any(|p| d.starts_with(p))).collect();
            // A metapackage has another package's name without the version; it has no files of a
            // kernel.
            let meta = parts.iter().any(|p| p.starts_with("linux-image-"));
            // `=` fixes the parts to the version of the package that depends on them.
            queue.extend(parts.iter().map(|p| format!("{p}:arm64={}", deb.version)));
            if !meta {
                found.push(deb);
            }
        }
    }
    Ok(found)
}

fn unpack(building: &mut Building, debs: &[Deb], files: &[PathBuf]) -> Result<()> {
    let unpacked = building.dir.join("unpacked");
    fs::create_dir(&unpacked).map_err(CacheError::io("cannot create", &unpacked))?;
    for file in files {
        deb::unpack(file, &unpacked, |path| {
            path.starts_with("boot/") || path.starts_with("usr/lib/modules/") && !path.ends_with("/build")
        })?;
    }
    let trees = unpacked.join("usr/lib/modules");
    let release = only_folder(&trees)?;
    let tree = trees.join(&release);
    let either = |name: &str, inside: &str| {
        let boot = unpacked.join("boot").join(format!("{name}-{release}"));
        [boot, tree.join(inside)].into_iter().find(|p| p.is_file())
    };
    let image = either("vmlinuz", "vmlinuz")
        .ok_or_else(|| CacheError::malformed(debs_names(debs), format_args!("no vmlinuz for {release}")))?;
    image::normalise(&image, &building.dir.join(IMAGE))?;
    fs::remove_file(&image).map_err(CacheError::io("cannot remove", &image))?;
    if let Some(config) = either("config", "config") {
        let target = building.dir.join(CONFIG);
        fs::rename(&config, &target).map_err(CacheError::io("cannot move", &config))?;
    }
    fs::rename(&tree, building.dir.join(MODULES_FOLDER)).map_err(CacheError::io("cannot move", &tree))?;
    crate::objects::object::remove_tree(&unpacked)?;
    building.facts.insert("release".to_owned(), release);
    building.packages = debs.iter().map(Deb::package).collect();
    Ok(())
}

fn debs_names(debs: &[Deb]) -> String {
    debs.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ")
}

pub(crate) fn only_folder(dir: &Path) -> Result<String> {
    let mut names = Vec::new();
    for child in fs::read_dir(dir).map_err(CacheError::io("cannot list", dir))? {
        names.push(
            child.map_err(CacheError::io("cannot list", dir))?.file_name().to_string_lossy().into_owned(),
        );
    }
    match names.as_slice() {
        [name] => Ok(name.clone()),
        _ => {
            Err(CacheError::malformed(dir.display(), format_args!("one release was expected, not {names:?}")))
        }
    }
}

/// A kernel given as a file: its plain `Image` and its digest, and the archive of its modules.
impl Cache {
    pub(crate) fn image_blocking(
        &self,
        image: &Path,
        dir: Option<&Path>,
        wanted: &[&str],
    ) -> Result<ImageFile> {
        // The file is read once: it is the user's and may change meanwhile. The booted bytes have
        // the digest in the report.
        let bytes = outside::read(image, kinds::IMAGE).map_err(CacheError::not_read)?;
        let sha256 = digest::bytes(&bytes);
        let plain = image::plain(bytes).map_err(|why| CacheError::Image { path: image.to_owned(), why })?;
        let release = image::release(&plain);
        let name = image.file_name().map_or_else(|| "image".into(), |n| n.to_string_lossy().into_owned());
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
            .collect();
        let mut archive = Vec::new();
        let Loaded { modules, absent } = match dir {
            Some(dir) => given_modules(image, dir, release.as_deref(), wanted)?,
            None => Loaded::default(),
        };
        modules::write_archive(&mut archive, &modules)?;
        let inputs = (&sha256, digest::bytes(&archive));
        let object = self.objects.get("image", &name, &inputs, |building| {
            for (name, bytes) in [(IMAGE, &plain), (MODULES, &archive)] {
                let path = building.dir.join(name);
                fs::write(&path, bytes).map_err(CacheError::io("cannot write", &path))?;
            }
            Ok(())
        })?;
        Ok(ImageFile {
            image: object.path.join(IMAGE),
            image_sha256: object.sha256(IMAGE)?.to_owned(),
            modules: object.path.join(MODULES),
            absent,
        })
    }
}

/// Returns the modules of `wanted` in a folder that was given with an Image.
fn given_modules(image: &Path, dir: &Path, release: Option<&str>, wanted: &[&str]) -> Result<Loaded> {
    let modules = Modules::scan(dir, release)?;
    let loaded = modules.load_order(wanted).map_err(|error| match error {
        CacheError::NoModule { .. } | CacheError::Malformed { .. } => CacheError::given(dir, error),
        CacheError::Read(error) => CacheError::not_read(error),
        error => error,
    })?;
    // The tree that the Image was built in may have no modules, or old ones of options that are
    // built in now.
    if loaded.modules.is_empty() && !image.starts_with(dir) {
        modules.is_of_the_kernel()?;
    }
    Ok(loaded)
}
