//! s2lab's own kernel module, built for a kernel by itself: with the kernel's source, patches, configuration and
//! tools, but without the kernel. So a change of it builds no kernel again.

use crate::{
    Cache, KernelBuild,
    builds::{
        build::{BUILD_LOCK, LOCK_LIMIT, NAME_DIGITS, changes},
        config::BuildConfig,
        make::{Make, fits},
    },
    error::{CacheError, Result},
    objects::{digest, lock, object::Building},
};
use s2lab_os::outside::{self, kinds};
use s2lab_protocol::MODULE_FILE;
use serde::Serialize;
use std::{fs, path::PathBuf};

const KIND: &str = "memory-module";
/// The version of the recipe, which is part of every object's digest.
const RECIPE: u32 = 1;
const SOURCE: &str = include_str!("../../../../images/module/s2lab_memory.c");
/// The source's file, and kbuild's list of what is built.
const FILES: [(&str, &str); 2] = [("s2lab_memory.c", SOURCE), ("Makefile", "obj-m := s2lab_memory.o\n")];
/// The folder in which it is built.
const FOLDER: &str = "s2lab-memory";

/// All inputs that decide the bytes of the module.
#[derive(Serialize)]
struct Inputs<'a> {
    recipe: u32,
    module: String,
    source: &'a str,
    /// The changes of the patches.
    changes: String,
    fragments: bool,
    config: String,
    tools: &'a str,
}

impl Cache {
    pub(crate) fn memory_module_blocking(&self, build: &KernelBuild) -> Result<PathBuf> {
        fits(&self.build_root())?;
        let base = self.source_base(&build.source)?;
        let plan = self.kernel_tools_plan()?;
        let inputs = Inputs {
            recipe: RECIPE,
            module: digest::bytes(SOURCE.as_bytes()),
            source: &base.digest,
            changes: changes(build),
            fragments: matches!(build.config, BuildConfig::Fragments(_)),
            config: digest::bytes(build.config.text().as_bytes()),
            tools: &plan.digest,
        };
        let object = match self.objects.find(KIND, &base.name, &inputs)? {
            Some(object) => object,
            None => {
                // In the folder of the kernel's build.
                let lock = lock::path(self.objects.root(), BUILD_LOCK);
                let _lock = lock::acquire(&lock, "s2lab's kernel module", LOCK_LIMIT, &*self.progress)?;
                let out = digest::inputs(&(KIND, RECIPE, &inputs.config, inputs.fragments, inputs.tools))?;
                self.objects.get(KIND, &base.name, &inputs, |building| {
                    let tools = self.kernel_tools(&plan)?;
                    let room = self.prepared_folder(build, &base)?;
                    let make = Make {
                        what: &format!("s2lab's module for {}", build.name),
                        tools: &tools,
                        source: &room.source(),
                        out: &room.out(&out[..NAME_DIGITS]),
                        progress: &*self.progress,
                    };
                    make_module(building, &make, &build.config)
                })?
            }
        };
        Ok(object.path.join(MODULE_FILE))
    }
}

/// Builds the module.
fn make_module(building: &mut Building, make: &Make<'_>, config: &BuildConfig) -> Result<()> {
    make.begin()?;
    make.configure(config)?;
    if !make.has_modules()? {
        make.end()?;
        return Err(CacheError::malformed(make.what, "CONFIG_MODULES is off"));
    }
    make.progress.step(&format!("building {}, log in {}", make.what, make.log().display()));
    make.run(&["modules_prepare"], &[], &mut |_| {})?;
    let folder = make.out.join(FOLDER);
    s2lab_os::private::make(&folder).map_err(CacheError::io("cannot create", &folder))?;
    for (name, text) in FILES {
        let file = folder.join(name);
        fs::write(&file, text).map_err(CacheError::io("cannot write", &file))?;
    }
    // No kernel was built, so modpost knows no symbol of it. The kernel itself refuses a module whose symbols it
    // does not have (Linux 6.1 scripts/Makefile.modpost).
    let here = format!("M={}", folder.display());
    make.run(&[&here, "KBUILD_MODPOST_WARN=1", "modules"], &[], &mut |_| {})?;
    make.end()?;
    Ok(outside::copy(&folder.join(MODULE_FILE), &building.dir.join(MODULE_FILE), kinds::MODULE)?)
}

#[cfg(test)]
mod tests;
