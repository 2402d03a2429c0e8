//! Kernels from Debian's archive.

use super::{
    DebianKernel, ImageFile, Kernel, Store,
    apt::{Deb, Question, Scope, Session},
    deb, digest,
    entry::{Building, Entry},
    error::{Result, StoreError},
    image,
    modules::{self, Loaded},
    suites,
};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Packages that make up a kernel: up to Debian 12 the image has everything, later `linux-binary-*` and
/// `linux-modules-*` are apart.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];
/// A metapackage leads to an image, which leads to its parts.
const MAX_PACKAGES: usize = 8;
const KIND: &str = "kernel";
/// Names of files in an entry.
const IMAGE: &str = "Image";
const CONFIG: &str = "config";
const MODULES: &str = "modules.cpio";
/// The fact of an archive: wanted modules that the kernel has not at all.
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

impl Store {
    pub(crate) fn kernel_blocking(&self, kernel: &DebianKernel, wanted: &[&str]) -> Result<Kernel> {
        suites::check_package(&kernel.package)?;
        let scope = Scope::new(&kernel.suites, &["arm64"])?;
        let debs =
            self.apt.resolve(Question::package(&kernel.package), &scope, |apt| find(apt, &kernel.package))?;
        let first =
            debs.first().ok_or_else(|| StoreError::malformed(&kernel.package, "no package of a kernel"))?;
        let tree = self.entries.get(KIND, &first.name, &TreeInputs { debs: &debs }, |building| {
            unpack(building, &debs, &self.apt.fetch(&kernel.package, &scope, &debs)?)
        })?;
        let archive = self.module_archive(&tree, wanted)?;
        Ok(Kernel {
            image: tree.path.join(IMAGE),
            image_sha256: tree.sha256(IMAGE)?.to_owned(),
            release: tree.fact("release")?.to_owned(),
            package_version: first.version.clone(),
            modules: archive.path.join(MODULES),
            absent: absent(&archive),
            config: tree.manifest.files.contains_key(CONFIG).then(|| tree.path.join(CONFIG)),
        })
    }

    /// The folder of a kernel's entry, if the store has it: nothing is made, fetched or read to its end.
    pub fn kernel_folder(&self, kernel: &DebianKernel) -> Result<Option<PathBuf>> {
        let scope = Scope::new(&kernel.suites, &["arm64"])?;
        let debs = self.apt.known(Question::package(&kernel.package), &scope)?.unwrap_or_default();
        let Some(first) = debs.first() else { return Ok(None) };
        let place = self.entries.place(KIND, &first.name, &TreeInputs { debs: &debs })?;
        Ok(Some(place.path).filter(|path| path.is_dir()))
    }

    fn module_archive(&self, tree: &Entry, wanted: &[&str]) -> Result<Entry> {
        let inputs = ModulesInputs { tree: &tree.manifest.digest, wanted };
        self.entries.get("modules", tree.fact("release")?, &inputs, |building| {
            let path = building.dir.join(MODULES);
            let mut archive = Vec::new();
            let loaded = modules::modules_for_image(Some(&tree.path), wanted, &mut archive)?;
            let order: Vec<_> = loaded.modules.iter().map(|module| module.name.as_str()).collect();
            building.facts.insert("order".to_owned(), order.join(" "));
            building.facts.insert(ABSENT.to_owned(), loaded.absent.join(" "));
            fs::write(&path, archive).map_err(StoreError::io("cannot write", &path))
        })
    }
}

/// Entries from before there was this fact are of kernels that have all.
fn absent(archive: &Entry) -> Vec<String> {
    let names = archive.manifest.facts.get(ABSENT).map(String::as_str).unwrap_or_default();
    names.split_whitespace().map(str::to_owned).collect()
}

/// From a metapackage to the packages with files.
fn find(apt: &Session<'_>, package: &str) -> Result<Vec<Deb>> {
    let mut queue = vec![format!("{package}:arm64")];
    let (mut found, mut looked) = (Vec::<Deb>::new(), 0);
    while let Some(name) = queue.pop() {
        looked += 1;
        if looked > MAX_PACKAGES {
            return Err(StoreError::malformed(package, "it depends on too many packages of kernels"));
        }
        for deb in apt.newest(&[name])? {
            let parts = apt.depends(&deb)?;
            let parts: Vec<_> =
                parts.into_iter().filter(|d| PARTS.iter().any(|p| d.starts_with(p))).collect();
            // A metapackage's name is another package's name without the version; it has no files of a kernel.
            let meta = parts.iter().any(|p| p.starts_with("linux-image-"));
            // `=` holds the parts to the version of what asks for them.
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
    fs::create_dir(&unpacked).map_err(StoreError::io("cannot create", &unpacked))?;
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
        .ok_or_else(|| StoreError::malformed(debs_names(debs), format_args!("no vmlinuz for {release}")))?;
    image::normalise(&image, &building.dir.join(IMAGE))?;
    fs::remove_file(&image).map_err(StoreError::io("cannot remove", &image))?;
    if let Some(config) = either("config", "config") {
        let target = building.dir.join(CONFIG);
        fs::rename(&config, &target).map_err(StoreError::io("cannot move", &config))?;
    }
    fs::rename(&tree, building.dir.join("modules")).map_err(StoreError::io("cannot move", &tree))?;
    super::entry::remove_tree(&unpacked)?;
    building.facts.insert("release".to_owned(), release);
    building.packages = debs.iter().map(Deb::package).collect();
    Ok(())
}

fn debs_names(debs: &[Deb]) -> String {
    debs.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn only_folder(dir: &Path) -> Result<String> {
    let mut names = Vec::new();
    for child in fs::read_dir(dir).map_err(StoreError::io("cannot list", dir))? {
        names.push(
            child.map_err(StoreError::io("cannot list", dir))?.file_name().to_string_lossy().into_owned(),
        );
    }
    match names.as_slice() {
        [name] => Ok(name.clone()),
        _ => {
            Err(StoreError::malformed(dir.display(), format_args!("one release was expected, not {names:?}")))
        }
    }
}

/// A kernel given as a file: its plain `Image` and its digest, and the archive of its modules.
impl Store {
    pub(crate) fn image_blocking(
        &self,
        image: &Path,
        dir: Option<&Path>,
        wanted: &[&str],
    ) -> Result<ImageFile> {
        let sha256 = digest::file(image)?;
        let name = image.file_name().map_or_else(|| "image".into(), |n| n.to_string_lossy().into_owned());
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
            .collect();
        // The list is made each time: the tree is the user's and may change under our feet.
        let mut archive = Vec::new();
        let Loaded { absent, .. } = modules::modules_for_image(dir, wanted, &mut archive)?;
        let inputs = (&sha256, digest::bytes(&archive));
        let entry = self.entries.get("image", &name, &inputs, |building| {
            image::normalise(image, &building.dir.join(IMAGE))?;
            let path = building.dir.join(MODULES);
            fs::write(&path, &archive).map_err(StoreError::io("cannot write", &path))
        })?;
        Ok(ImageFile {
            image: entry.path.join(IMAGE),
            image_sha256: entry.sha256(IMAGE)?.to_owned(),
            modules: entry.path.join(MODULES),
            absent,
        })
    }
}
