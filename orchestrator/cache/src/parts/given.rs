//! Parts that the user brings instead of those that apt and cargo would make. Each is checked
//! before anything boots.

use crate::{
    Agent, Cache, ImageFile, Plugin, Qemu, Userland,
    error::{CacheError, Result},
    objects::digest,
    parts::{
        elf,
        qemu::{OLDEST, new_enough, parse_version},
    },
};
use s2lab_os::{
    child::{
        self,
        run::{self, RunError},
    },
    outside::{self, kinds},
};
use s2lab_protocol::{VERSION, version_in};
use std::path::{Path, PathBuf};

/// The parts that were brought. The others come from the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// A `qemu-system-aarch64`, or a script that starts one.
    pub qemu: Option<PathBuf>,
    /// The host's user land, see `cache/rootfs.rs`.
    pub rootfs: Option<PathBuf>,
    /// The agent.
    pub agent: Option<PathBuf>,
    /// The kernel that guests boot.
    pub guest_kernel: Option<PathBuf>,
    /// Its modules, a folder. None: everything is built in.
    pub guest_modules: Option<PathBuf>,
    /// The plugin of QEMU.
    pub plugin: Option<PathBuf>,
}

/// A CPU model that every new enough QEMU for aarch64 has in s2lab's machine, and none for another
/// architecture.
const CPU: &str = "neoverse-n1";

impl Cache {
    /// Returns the same cache with these parts.
    pub fn with_parts(self, parts: Parts) -> Self {
        Self { parts, ..self }
    }

    /// Checks that the parts can be used, before anything else is made or fetched.
    ///
    /// # Errors
    /// [`CacheError::Part`] names the first part that cannot be used, and the reason.
    pub async fn check_parts(&self, guest_modules: &[&str]) -> Result<()> {
        if self.parts.qemu.is_some() {
            self.qemu().await?;
        }
        if self.parts.rootfs.is_some() {
            self.host_userland().await?;
        }
        if self.parts.agent.is_some() {
            self.agent().await?;
        }
        if self.parts.plugin.is_some() {
            self.plugin().await?;
        }
        self.given_guest(guest_modules).await.map(drop)
    }

    /// Returns the guests' kernel, if it was brought.
    pub async fn given_guest(&self, modules: &[&str]) -> Result<Option<ImageFile>> {
        let Some(image) = &self.parts.guest_kernel else { return Ok(None) };
        let given = self.image(image, self.parts.guest_modules.as_deref(), modules).await;
        let given = given.map_err(|error| match error {
            // The message already names the file.
            CacheError::Malformed { reason, .. } => lacking("--guest-kernel", image)(reason),
            CacheError::Given { path, why } if path == *image => lacking("--guest-kernel", image)(why),
            CacheError::Image { path, why } if path == *image => {
                lacking("--guest-kernel", image)(why.to_string())
            }
            error => lacking("--guest-kernel", image)(error.to_string()),
        })?;
        match given.absent.first() {
            Some(module) => {
                let why = format!("kernel module `{module}` is neither among its modules nor built in");
                Err(lacking("--guest-kernel", image)(why))
            }
            None => Ok(Some(given)),
        }
    }

    pub(crate) fn given_qemu(&self, path: &Path) -> Result<Qemu> {
        let error = lacking("--qemu", path);
        // It is started from other working folders.
        let program = std::path::absolute(path).map_err(CacheError::io("cannot find", path))?;
        let ask = |arguments: &[&str]| {
            let mut command = child::command(&program, child::QEMU);
            command.args(arguments);
            let said = run::ask(command, "identify itself", &|| self.progress.cancelled());
            said.map(|said| String::from_utf8_lossy(&said).into_owned())
        };
        let said = match ask(&["--version"]) {
            Ok(said) => said,
            Err(RunError::NoProgram { .. }) => return Err(error("there is no such program".into())),
            Err(RunError::Failed { output, .. }) => {
                return Err(error(format!("it does not print its version: {}", output.trim_end())));
            }
            Err(other) => return Err(other.into()),
        };
        let Some(version) = parse_version(&said) else {
            return Err(error("its version text is not QEMU's".into()));
        };
        if !new_enough(&version) {
            return Err(error(format!("QEMU {version} is older than {}.{}", OLDEST.0, OLDEST.1)));
        }
        let models = ask(&["-machine", "virt", "-cpu", "help"]);
        if !models.is_ok_and(|models| models.split_whitespace().any(|word| word == CPU)) {
            return Err(error(format!("it has no machine `virt` with a CPU `{CPU}`: is it for aarch64?")));
        }
        Ok(Qemu { program, env: Vec::new(), args: Vec::new(), version, packages: Vec::new() })
    }

    pub(crate) fn given_userland(&self, path: &Path) -> Result<Userland> {
        self.rootfs(path).map_err(|error| match error {
            CacheError::NoLibrary { library, needed_by } => {
                lacking("--rootfs", path)(format!("it lacks `{library}`, which `{needed_by}` needs"))
            }
            error => error,
        })
    }
}

/// Returns the agent at `path`, if this s2lab supports its protocol.
pub(crate) fn given_agent(path: &Path) -> Result<Agent> {
    let error = lacking("--agent", path);
    let bytes = outside::read(path, kinds::PROGRAM).map_err(|found| error(found.why.to_string()))?;
    if !elf::is_aarch64(&bytes) {
        return Err(error("it is not an ELF program for aarch64".into()));
    }
    let dynamic = elf::read(&bytes).map_err(|why| error(why.to_string()))?;
    if let Some(needed) = dynamic.interpreter.as_ref().or(dynamic.needed.first()) {
        return Err(error(format!("it is not static: it needs `{needed}`")));
    }
    match version_in(&bytes) {
        Some(VERSION) => {}
        Some(other) => {
            return Err(error(format!("it speaks version {other} of the protocol, s2lab speaks {VERSION}")));
        }
        None => return Err(error("it is not an agent of s2lab".into())),
    }
    Ok(Agent { program: path.to_owned(), sha256: digest::bytes(&bytes) })
}

/// The function that QEMU calls first (QEMU 10.0 plugins/loader.c, plugin_load).
const PLUGINS_START: &[u8] = b"\0qemu_plugin_install\0";

/// Returns the plugin at `path`, if it may be one. QEMU itself is asked before a host is made.
pub(crate) fn given_plugin(path: &Path) -> Result<Plugin> {
    let error = lacking("--plugin", path);
    // It is loaded in other working folders, and QEMU separates its arguments by commas.
    let file = std::path::absolute(path).map_err(CacheError::io("cannot find", path))?;
    if file.to_str().is_none_or(|text| text.contains(',')) {
        return Err(error("QEMU cannot load a file of this name: it has a comma, or is not UTF-8".into()));
    }
    let bytes = outside::read(&file, kinds::PROGRAM).map_err(|found| error(found.why.to_string()))?;
    if !elf::is_this_machines(&bytes) {
        return Err(error("it is not an ELF file for this machine".into()));
    }
    if memchr::memmem::find(&bytes, PLUGINS_START).is_none() {
        return Err(error("it is not a plugin of QEMU".into()));
    }
    Ok(Plugin { file, sha256: digest::bytes(&bytes) })
}

/// Returns an error of the part at `path`.
pub(crate) fn lacking(argument: &'static str, path: &Path) -> impl Fn(String) -> CacheError {
    move |why| CacheError::Part { argument, path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;
    use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

    /// Returns the smallest ELF file that has a header: 64 bits, little endian, of that machine.
    fn elf_header(machine: u16) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[52] = 64;
        bytes
    }

    #[test]
    fn an_agent_is_known_before_it_boots() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        let of = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            given_agent(&path).map(drop).map_err(|error| match error {
                CacheError::Part { argument: "--agent", why, .. } => why,
                other => panic!("{other}"),
            })
        };
        assert_eq!(of(b"#!/bin/sh\n"), Err("it is not an ELF program for aarch64".into()));
        let (aarch64, x86_64) = (elf_header(183), elf_header(62));
        assert_eq!(of(&x86_64), Err("it is not an ELF program for aarch64".into()));
        assert_eq!(of(&aarch64), Err("it is not an agent of s2lab".into()));
        let with = |mark: &str| [aarch64.as_slice(), mark.as_bytes()].concat();
        assert_eq!(of(&with(s2lab_protocol::MARK)), Ok(()));
        let other = s2lab_protocol::MARK.replace(&format!(" {VERSION}."), " 77.");
        let why = format!("it speaks version 77 of the protocol, s2lab speaks {VERSION}");
        assert_eq!(of(&with(&other)), Err(why));
        fs::remove_file(&path).unwrap();
        assert!(given_agent(&path).is_err());
    }

    #[test]
    fn a_plugin_is_known_before_qemu_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            given_plugin(&path).map(drop).map_err(|error| match error {
                CacheError::Part { argument: "--plugin", why, .. } => why,
                other => panic!("{other}"),
            })
        };
        let (own, other) = if cfg!(target_arch = "aarch64") { (183, 62) } else { (62, 183) };
        let not_ours = Err("it is not an ELF file for this machine".into());
        assert_eq!(of("a", b"#!/bin/sh\n"), not_ours);
        assert_eq!(of("a", &[&elf_header(other), PLUGINS_START].concat()), not_ours);
        assert_eq!(of("a", &elf_header(own)), Err("it is not a plugin of QEMU".into()));
        assert_eq!(of("a", &[&elf_header(own), PLUGINS_START].concat()), Ok(()));
        assert!(of("a,b", &[&elf_header(own), PLUGINS_START].concat()).unwrap_err().contains("comma"));
        assert!(given_plugin(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_qemu_is_asked_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), true, Arc::new(Quiet)).unwrap();
        let path = dir.path().join("qemu");
        let of = |script: &str| {
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            cache.given_qemu(&path).map(|qemu| qemu.version).map_err(|error| error.to_string())
        };
        let script = |version: &str, models: &str| {
            format!("case $1 in --version) echo QEMU emulator version {version};; *) echo '{models}';; esac")
        };
        assert_eq!(of(&script("10.1.0", "  cortex-a57\n  neoverse-n1")), Ok("10.1.0".into()));
        for (script, why) in [
            (script("9.2.4", "neoverse-n1"), "QEMU 9.2.4 is older than 10.0"),
            (
                script("10.0.2", "rv64"),
                "it has no machine `virt` with a CPU `neoverse-n1`: is it for aarch64?",
            ),
            ("echo GNU ed 1.19".into(), "its version text is not QEMU's"),
            ("echo no >&2; exit 1".into(), "it does not print its version: no"),
        ] {
            assert_eq!(of(&script), Err(format!("--qemu {}: {why}", path.display())));
        }
        let none = cache.given_qemu(&dir.path().join("none")).unwrap_err();
        assert!(none.to_string().ends_with("none: there is no such program"), "{none}");
    }
}
