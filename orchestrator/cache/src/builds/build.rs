//! Kernels built from source.
//!
//! A build's result is an object of the cache like any other. What it is built in stays beside the
//! objects, so that the next build of the same source writes only what a patch changes: see
//! [`crate::builds::build_folder`].

use crate::{
    Cache, Kernel, KernelSource,
    builds::{
        build_folder::BuildFolder,
        config::BuildConfig,
        kernel_tools::KernelTools,
        make::{Make, fits},
        source::Base,
    },
    error::{CacheError, Result},
    objects::{
        digest, lock,
        object::{self, Building, Objects},
    },
    parts::{
        image,
        kernel::{CONFIG, IMAGE, KIND, MODULES_FOLDER, SYSTEM_MAP},
    },
    series::{Patch, Series},
};
use s2lab_os::{
    outside::{self, kinds},
    waits,
};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The version of the recipe, which is part of every build's digest: a new number makes every
/// kernel new.
const RECIPE: u32 = 1;
/// The lock of a build.
pub(crate) const BUILD_LOCK: &str = "kernel-build";
/// The longest wait for a lock. Only one build runs at a time, because it uses the whole machine;
/// another may wait for several, on a slow one.
pub(super) const LOCK_LIMIT: Duration = Duration::from_secs(4 * 60 * 60);
/// The file beside the folders of builds with the seconds that the last build of everything took.
const WHOLE_BUILD: &str = "whole-build";
/// The digits of a digest in a folder's name.
pub(super) const NAME_DIGITS: usize = 20;

/// A request for a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelBuild {
    /// The name in progress and errors.
    pub name: String,
    pub source: KernelSource,
    pub config: BuildConfig,
    /// The patches on top of the source, in order.
    pub patches: Vec<Patch>,
}

/// All inputs that decide the bytes of a kernel.
#[derive(Serialize)]
struct Inputs<'a> {
    recipe: u32,
    source: &'a str,
    version: &'a str,
    fragments: bool,
    config: String,
    /// The changes of the patches.
    changes: String,
    tools: &'a str,
}

impl<'a> Inputs<'a> {
    fn of(build: &'a KernelBuild, base: &'a Base, tools: &'a str) -> Self {
        Self {
            recipe: RECIPE,
            source: &base.digest,
            version: &base.version,
            fragments: matches!(build.config, BuildConfig::Fragments(_)),
            config: digest::bytes(build.config.text().as_bytes()),
            changes: changes(build),
            tools,
        }
    }

    /// Returns the name of the folder with the results of such builds, whatever their patches.
    fn out(&self) -> Result<String> {
        let key = digest::inputs(&(&self.config, self.fragments, self.tools, RECIPE))?;
        Ok(key[..NAME_DIGITS].to_owned())
    }
}

/// The parts of a build that the cache has.
pub(crate) struct KnownBuild {
    /// The folder of the kernel's object.
    pub(crate) object: Option<PathBuf>,
    /// There are results of a build of the same source and configuration.
    pub(crate) is_begun: bool,
}

/// Returns the digest of the patches' changes.
pub(super) fn changes(build: &KernelBuild) -> String {
    Series { patches: build.patches.clone(), ..Series::default() }.digest()
}

impl Cache {
    /// Returns the folder of the kernel's object, if it is built. It makes nothing, but it reads a
    /// tree on disk to identify it.
    pub fn built_folder(&self, build: &KernelBuild) -> Result<Option<PathBuf>> {
        Ok(self.known_build(build)?.object)
    }

    /// Returns the parts of a build that the cache has. It makes nothing, but it reads a tree on disk
    /// to identify it.
    pub(crate) fn known_build(&self, build: &KernelBuild) -> Result<KnownBuild> {
        let base = self.source_base(&build.source)?;
        let tools = self.kernel_tools_plan()?;
        let inputs = Inputs::of(build, &base, &tools.digest);
        let place = self.objects.place(KIND, &base.name, &inputs)?;
        Ok(KnownBuild {
            object: Some(place.path).filter(|path| path.is_dir()),
            is_begun: self.build_folder(&base).out(&inputs.out()?).is_dir(),
        })
    }

    /// Returns the time that the last build of everything took on this machine.
    pub(crate) fn last_whole_build(&self) -> Option<Duration> {
        let text = outside::read_text(&self.build_root().join(WHOLE_BUILD), kinds::NOTE).ok()?;
        text.trim().parse().ok().map(Duration::from_secs)
    }

    /// Keeps the time of a build of everything. It is only for an estimate, so a failure changes
    /// nothing.
    pub(crate) fn note_whole_build(&self, took: Duration) {
        let note = self.build_root().join(WHOLE_BUILD);
        let written = s2lab_os::private::make(&self.build_root())
            .map_err(CacheError::io("cannot create", self.build_root()))
            .and_then(|()| object::replace_file(&note, took.as_secs().to_string().as_bytes()));
        if let Err(error) = written {
            tracing::debug!("the time of a build is not kept: {error}");
        }
    }

    /// Returns the folder in which kernels of this source are built.
    pub(super) fn build_folder(&self, base: &Base) -> BuildFolder {
        let name = format!("{}-{}", &base.room[..NAME_DIGITS], base.name);
        BuildFolder::new(self.build_root().join(name))
    }

    /// Returns the same, with the source and the patches of a build.
    pub(super) fn prepared_folder(&self, build: &KernelBuild, base: &Base) -> Result<BuildFolder> {
        let (folder, bring) = (self.build_folder(base), |into: &Path| self.bring(base, into));
        folder.prepare(&base.digest, &build.patches, base.changes_in_place(), bring, &*self.progress)?;
        Ok(folder)
    }

    pub(crate) fn build_blocking(&self, build: &KernelBuild, wanted: &[&str]) -> Result<Kernel> {
        fits(&self.build_root())?;
        let base = self.source_base(&build.source)?;
        let tools = self.kernel_tools_plan()?;
        let inputs = Inputs::of(build, &base, &tools.digest);
        let object = match self.objects.find(KIND, &base.name, &inputs)? {
            Some(object) => object,
            None => {
                let lock = lock::path(self.objects.root(), BUILD_LOCK);
                let _lock = lock::acquire(&lock, "a kernel", LOCK_LIMIT, &*self.progress)?;
                self.objects.get(KIND, &base.name, &inputs, |building| {
                    let tools = self.kernel_tools(&tools)?;
                    self.make_kernel(building, build, &base, &tools, &inputs.out()?)
                })?
            }
        };
        let version = match build.patches.len() {
            0 => base.version.clone(),
            n => {
                let patches = if n == 1 { "patch" } else { "patches" };
                format!("{} with {n} {patches} sha256:{}", base.version, &inputs.changes[..NAME_DIGITS])
            }
        };
        self.kernel_of(&object, version, wanted)
    }

    /// Returns the folder in which kernels are built.
    pub(crate) fn build_root(&self) -> PathBuf {
        folder(&self.objects).join("kernel")
    }

    fn make_kernel(
        &self,
        building: &mut Building,
        build: &KernelBuild,
        base: &Base,
        tools: &KernelTools,
        key: &str,
    ) -> Result<()> {
        let folder = self.prepared_folder(build, base)?;
        let make = Make {
            what: &build.name,
            tools,
            source: &folder.source(),
            out: &folder.out(key),
            progress: &*self.progress,
        };
        let (is_whole, began) = (!make.out.is_dir(), waits::now());
        make.build(&build.config)?;
        if is_whole {
            self.note_whole_build(began.elapsed());
        }
        let titles: Vec<&str> = build.patches.iter().map(|patch| patch.title.as_str()).collect();
        building.facts.insert("patches".to_owned(), titles.join("; "));
        collect(building, &make)
    }
}

/// Returns the folder for the files that builds keep. It is beside the objects, because it has
/// none.
pub(crate) fn folder(objects: &Objects) -> PathBuf {
    objects.root().with_file_name("build")
}

/// Takes the results out of the folder of the build.
fn collect(building: &mut Building, make: &Make<'_>) -> Result<()> {
    let out = make.out;
    let copy = |from: &str, to: &str| {
        Ok::<_, CacheError>(outside::copy(&out.join(from), &building.dir.join(to), kinds::SYSTEM_MAP)?)
    };
    image::normalise(&out.join("arch/arm64/boot/Image"), &building.dir.join(IMAGE))?;
    copy(".config", CONFIG)?;
    copy("System.map", SYSTEM_MAP)?;
    let release = out.join("include/config/kernel.release");
    let text = outside::read_text(&release, kinds::NOTE)?;
    building.facts.insert("release".to_owned(), text.trim().to_owned());
    let modules = building.dir.join(MODULES_FOLDER);
    match make.has_modules()? {
        true => {
            let staged = building.dir.join("staged");
            make.install_modules(&staged)?;
            let tree = staged.join("lib/modules").join(text.trim());
            for link in ["build", "source"] {
                // They lead to the folder of the build.
                let _ = fs::remove_file(tree.join(link));
            }
            fs::rename(&tree, &modules).map_err(CacheError::io("cannot move", &tree))?;
            object::remove_tree(&staged)
        }
        false => {
            fs::create_dir(&modules).map_err(CacheError::io("cannot create", &modules))?;
            // The file lists the built-in modules. Kernels before 5.x had it only with modules.
            match out.join("modules.builtin").is_file() {
                true => copy("modules.builtin", &format!("{MODULES_FOLDER}/modules.builtin")),
                false => Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
