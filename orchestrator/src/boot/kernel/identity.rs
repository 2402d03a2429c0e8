//! The identity of a kernel before it is fetched or built: two checkouts with one identity ask for
//! the same kernel.

use super::{
    named::{CustomKernel, entry_origin, resolve},
    resolved::{FetchedImage, ImageChoice, KernelRequest, Place},
};
use s2lab_cache::{
    BuildConfig, CacheError, ConfigFile, DebianKernel, KernelBuild, KernelSource, SourcePackage,
};
use s2lab_model::{hash::digest, kernel::Kernels, shards::KernelIdentity};
use s2lab_os::outside::{self, kinds};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Returns the identity of the kernel `name`. `folder` is the folder of `kernels.yaml`. Patches,
/// configurations and a given Image are read; modules are known by their path.
///
/// # Errors
/// If there is no such kernel, or a file cannot be read.
pub fn identity(
    name: &str,
    kernels: &Kernels,
    folder: &Path,
    chosen: &[CustomKernel],
) -> Result<KernelIdentity, CacheError> {
    let request = resolve(name, kernels, folder, chosen)?;
    let is_built = matches!(request, KernelRequest::Built(_));
    let said = match request {
        KernelRequest::Archive(DebianKernel { package, version, suites }) => {
            json!({"package": package, "version": version, "suites": suites})
        }
        KernelRequest::Built(build) => of_build(&build),
        KernelRequest::File(ImageChoice { image, modules, config, system_map, .. }) => {
            let (image, modules) = (Place::Path(image), modules.map(Place::Path));
            of_image(&image, modules.as_ref(), [config.as_ref(), system_map.as_ref()])?
        }
        KernelRequest::Fetched(FetchedImage { image, modules, config, system_map, .. }) => {
            of_image(&image, modules.as_ref(), [config.as_ref(), system_map.as_ref()])?
        }
    };
    let given = chosen.iter().find(|kernel| kernel.label == name).map(CustomKernel::origin);
    let origin = given.or_else(|| entry_origin(kernels, name, folder));
    // serde_json may keep the order of insertion, which is fixed here.
    Ok(KernelIdentity { digest: digest(said.to_string().as_bytes()), origin, is_built })
}

fn of_build(build: &KernelBuild) -> Value {
    let source = match &build.source {
        KernelSource::Package(SourcePackage { package, version, suites }) => {
            json!({"package": package, "version": version, "suites": suites})
        }
        KernelSource::Revision { revision, .. } => json!({"revision": revision}),
        KernelSource::Folder(path) => json!({"folder": path}),
    };
    let text = |file: &ConfigFile| file.text.clone();
    let config = match &build.config {
        BuildConfig::Fragments(files) => json!({"fragments": files.iter().map(text).collect::<Vec<_>>()}),
        BuildConfig::Whole(file) => json!({"whole": text(file)}),
    };
    let patches: Vec<_> = build.patches.iter().map(|patch| digest(&patch.diff)).collect();
    json!({"source": source, "config": config, "patches": patches})
}

/// A kernel's file: its bytes are what counts, and the digest of a URL is theirs.
fn of_image(
    image: &Place,
    modules: Option<&Place>,
    files: [Option<&PathBuf>; 2],
) -> Result<Value, CacheError> {
    let read = |path: &PathBuf, kind| Ok::<_, CacheError>(digest(&outside::read(path, kind)?));
    let image = match image {
        Place::Path(path) => read(path, kinds::IMAGE)?,
        Place::Url(artifact) => artifact.sha256.clone(),
    };
    let modules = modules.map(|place| match place {
        Place::Path(path) => json!(path),
        Place::Url(artifact) => json!(artifact.sha256),
    });
    let [config, symbols] = files;
    let config = config.map(|path| read(path, kinds::CONFIG)).transpose()?;
    let symbols = symbols.map(|path| read(path, kinds::SYSTEM_MAP)).transpose()?;
    Ok(json!({"image": image, "modules": modules, "config": config, "system_map": symbols}))
}
