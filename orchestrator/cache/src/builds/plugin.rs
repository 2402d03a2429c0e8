//! The plugin of QEMU, built for this machine from the source in s2lab.

use crate::{
    Cache, Plugin,
    builds::{
        cargo::{Build, Inputs},
        rustc::Rustc,
    },
    carried,
    error::{CacheError, Result},
};
use s2lab_os::{
    child::run::find_on_path,
    outside::{self, kinds},
};

/// The shared library.
pub(crate) const LIBRARY: &str = "libs2lab_plugin.so";
const PACKAGE: &str = "s2lab-plugin";
const PROFILE: &str = "plugin";
/// The linker that comes with rustc; Debian packages it apart.
const LINKER: &str = "rust-lld";
/// Nothing is linked from the machine: neither start files nor a C library. With LINKER no C
/// compiler is needed either.
const OWN_LINKER: [&str; 2] = ["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"];
const MACHINES_LINKER: [&str; 1] = ["-Clink-arg=-nostdlib"];

impl Cache {
    pub(crate) fn plugin_blocking(&self) -> Result<Plugin> {
        let Rustc { sysroot, version } = self.rustc()?;
        let target = version.lines().find_map(|line| line.strip_prefix("host: "));
        let target = target.ok_or_else(|| CacheError::malformed("rustc -vV", "it names no host"))?;
        let tools = format!("lib/rustlib/{target}/bin/{LINKER}");
        let own = sysroot.join(tools).exists();
        let linking: &[&str] = if own { &OWN_LINKER } else { &MACHINES_LINKER };
        // musl's targets link statically unless they are asked not to.
        let flags = linking.iter().chain(&["-Ctarget-feature=-crt-static"]);
        let flags: Vec<String> = flags.map(|&flag| flag.to_owned()).collect();
        let inputs = Inputs::of(carried::PLUGIN, target, &version, &flags);
        let object = self.objects.get("plugin", target, &inputs, |building| {
            if find_on_path("cargo").is_none() {
                let (program, purpose) = ("cargo".to_owned(), "build the plugin".to_owned());
                return Err(CacheError::NoProgram { program, purpose });
            }
            let built = self.cargo(&Build {
                what: "the plugin",
                files: carried::PLUGIN,
                arguments: &["rustc", "--profile", PROFILE, "--package", PACKAGE, "--crate-type", "cdylib"],
                target,
                flags: &flags,
                rustc: None,
            })?;
            outside::copy(&built.join(PROFILE).join(LIBRARY), &building.dir.join(LIBRARY), kinds::PROGRAM)?;
            Ok(())
        })?;
        Ok(Plugin { file: object.path.join(LIBRARY), sha256: object.sha256(LIBRARY)?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Quiet, parts::elf};
    use object::{Object, ObjectSymbol};
    use std::sync::Arc;

    /// Its undefined symbols are QEMU's and GLib's, and some of any C library, without a version:
    /// the library is loaded by every libc.
    #[test]
    fn the_plugin_needs_nothing_but_qemu() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), true, Arc::new(Quiet)).unwrap();
        let plugin = cache.plugin_blocking().unwrap();
        let bytes = std::fs::read(&plugin.file).unwrap();
        assert_eq!(elf::read(&bytes).unwrap(), elf::Dynamic::default());
        let file = object::File::parse(bytes.as_slice()).unwrap();
        for section in [".gnu.version", ".gnu.version_r"] {
            assert!(file.section_by_name(section).is_none(), "{section}");
        }
        let (mut defined, mut undefined) = (vec![], vec![]);
        for symbol in file.dynamic_symbols() {
            let names = if symbol.is_undefined() { &mut undefined } else { &mut defined };
            names.push(symbol.name().unwrap().to_owned());
        }
        defined.sort();
        assert_eq!(defined, ["qemu_plugin_install", "qemu_plugin_version"]);
        undefined.retain(|name| !name.starts_with("qemu_plugin_") && !name.starts_with("g_"));
        for name in undefined {
            assert!(
                ["abort", "mmap", "getenv", "strlen", "memcpy", "memset"].contains(&name.as_str()),
                "{name}"
            );
        }
        assert_eq!(crate::parts::given::given_plugin(&plugin.file).unwrap().sha256, plugin.sha256);
    }
}
